#include <immintrin.h>

#include "pq4_loop.h"

namespace {

const __m256i* at256(const void* p) { return static_cast<const __m256i*>(p); }

// Sums four sub-quantisers in bytes, then widens: `even` gathers whole 16-bit words (the odd byte above comes off at the
// end), `odd` their upper bytes. N query rows share each load and split of the codes.
template <int N>
void rows_of(const std::uint8_t* block, std::size_t subs, const std::uint8_t* table, std::uint16_t* losses) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i even[N], odd[N];
    for (int i = 0; i < N; ++i) even[i] = odd[i] = _mm256_setzero_si256();
    for (std::size_t m = 0; m < subs; m += 4, block += 64) {
        const __m256i x = _mm256_loadu_si256(at256(block)), y = _mm256_loadu_si256(at256(block + 32));
        const __m256i codes[4] = {_mm256_and_si256(x, nibble), _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble),
                                  _mm256_and_si256(y, nibble), _mm256_and_si256(_mm256_srli_epi16(y, 4), nibble)};
        for (int i = 0; i < N; ++i) {
            const std::uint8_t* entries = table + (std::size_t(i) * subs + m) * 16;
            __m256i sum = _mm256_setzero_si256();
            for (int s = 0; s < 4; ++s) {
                const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(entries + 16 * s));
                sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(some), codes[s]));
            }
            even[i] = _mm256_add_epi16(even[i], sum);
            odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16(sum, 8));
        }
    }
    for (int i = 0; i < N; ++i, losses += block_tokens) {
        const __m256i low = _mm256_sub_epi16(even[i], _mm256_slli_epi16(odd[i], 8));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(losses), low);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(losses + 16), odd[i]);
    }
}

void losses(const std::uint8_t* block, std::size_t subs, const std::uint8_t* table, std::size_t rows,
            std::uint16_t* losses) {
    std::size_t i = 0;
    for (; i + 2 <= rows; i += 2) rows_of<2>(block, subs, table + i * subs * 16, losses + i * block_tokens);
    if (i < rows) rows_of<1>(block, subs, table + i * subs * 16, losses + i * block_tokens);
}

std::uint32_t fold(const std::uint16_t* losses, std::size_t rows, unsigned first, unsigned last, bool opens,
                   bool closes, std::uint16_t* best) {
    alignas(32) std::uint16_t outside[block_tokens];
    for (unsigned t = 0; t < block_tokens; ++t) outside[t] = first <= t && t < last ? 0 : 0xffff;
    const __m256i low = _mm256_load_si256(at256(outside)), high = _mm256_load_si256(at256(outside + 16));
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < rows; ++i, losses += block_tokens, best += 16) {
        __m256i least = _mm256_min_epu16(_mm256_or_si256(_mm256_loadu_si256(at256(losses)), low),
                                         _mm256_or_si256(_mm256_loadu_si256(at256(losses + 16)), high));
        if (!opens) least = _mm256_min_epu16(least, _mm256_loadu_si256(at256(best)));
        if (!closes) {
            _mm256_storeu_si256(reinterpret_cast<__m256i*>(best), least);
            continue;
        }
        const __m128i eight = _mm_min_epu16(_mm256_castsi256_si128(least), _mm256_extracti128_si256(least, 1));
        sum += unsigned(_mm_cvtsi128_si32(_mm_minpos_epu16(eight))) & 0xffff;
    }
    return sum;
}

}  // namespace

const Pq4Kernels pq4_avx2 = {losses, fold, assign};
