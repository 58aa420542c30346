#include <immintrin.h>

#include "kernels.h"
#include "pq4.h"

namespace {

// Compresses in registers and stores whole vectors: compressing stores are slow on Zen 4.
std::size_t below(const std::uint16_t* losses, const std::uint32_t* documents, std::uint32_t open, std::uint16_t floor,
                  std::uint32_t count, std::uint32_t* found, std::uint32_t* gains) {
    const __m512i all = _mm512_loadu_si512(losses), bound = _mm512_set1_epi16(short(floor));
    const __mmask32 low = _mm512_mask_cmplt_epu16_mask(open, all, bound);
    if (!low) return 0;
    const __m512i gain = _mm512_sub_epi16(bound, all), last = _mm512_set1_epi32(int(count));
    const __m256i halves[2] = {_mm512_castsi512_si256(gain), _mm512_extracti64x4_epi64(gain, 1)};
    std::size_t n = 0;
    for (int h = 0; h < 2; ++h) {
        const __m512i mine = _mm512_loadu_si512(documents + 16 * h);
        const __mmask16 stay = _mm512_mask_cmplt_epu32_mask(__mmask16(low >> 16 * h), mine, last);
        _mm512_storeu_si512(found + n, _mm512_maskz_compress_epi32(stay, mine));
        _mm512_storeu_si512(gains + n, _mm512_maskz_compress_epi32(stay, _mm512_cvtepu16_epi32(halves[h])));
        n += std::size_t(__builtin_popcount(stay));
    }
    return n;
}

}  // namespace

const ListKernels lists_avx512 = {below};
