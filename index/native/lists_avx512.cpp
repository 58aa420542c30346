#include <immintrin.h>

#include "kernels.h"
#include "pq4.h"

namespace {

// Compresses in registers and stores whole vectors: compressing stores are slow on Zen 4.
std::size_t below(const std::uint16_t* losses, const std::uint32_t* documents, std::uint32_t open, std::uint16_t floor,
                  std::uint32_t count, std::uint32_t* found, std::uint16_t* gains) {
    const __m512i all = _mm512_loadu_si512(losses), bound = _mm512_set1_epi16(short(floor));
    const __mmask32 low = _mm512_mask_cmplt_epu16_mask(open, all, bound);
    if (!low) return 0;
    const __m512i left = _mm512_loadu_si512(documents), right = _mm512_loadu_si512(documents + 16);
    const __m512i last = _mm512_set1_epi32(int(count));
    const __mmask16 first = _mm512_mask_cmplt_epu32_mask(__mmask16(low), left, last);
    const __mmask16 second = _mm512_mask_cmplt_epu32_mask(__mmask16(low >> 16), right, last);
    const auto n = std::size_t(__builtin_popcount(first));
    _mm512_storeu_si512(found, _mm512_maskz_compress_epi32(first, left));
    _mm512_storeu_si512(found + n, _mm512_maskz_compress_epi32(second, right));
    const __mmask32 stay = __mmask32(first) | __mmask32(second) << 16;
    _mm512_storeu_si512(gains, _mm512_maskz_compress_epi16(stay, _mm512_sub_epi16(bound, all)));
    return n + std::size_t(__builtin_popcount(second));
}

}  // namespace

const ListKernels lists_avx512 = {below};
