// Byte permutes over 64-entry tables: one look-up instruction serves four sub-quantisers of 16 tokens, and one byte
// dot product adds them up in 32 bits.
#include <immintrin.h>

#include "pq4_loop.h"

namespace {

// The byte orders that put four codes of a token side by side: two bytes of the first row, two of the second.
// Half 0 takes tokens 0-3, 8-11, 16-19, 24-27, half 1 the rest: the order in which packing interleaves them again.
struct Gather {
    alignas(64) std::uint8_t half[2][64];
    constexpr Gather() : half() {
        for (int h = 0; h < 2; ++h)
            for (int i = 0; i < 64; ++i) {
                const int token = i / 16 * 8 + h * 4 + i / 4 % 4;
                half[h][i] = std::uint8_t((token < 16 ? 2 * token : 2 * (token - 16) + 1) + i % 4 / 2 * 32);
            }
    }
};
constexpr Gather gather;

// places[2g + h] = where in the 64-byte table of sub-quantisers 4g .. 4g + 3 the tokens of half h look.
void unpack(const std::uint8_t* block, std::size_t subs, __m512i* places) {
    const __m512i nibble = _mm512_set1_epi8(15), part = _mm512_set1_epi32(0x30201000);
    const __m512i order[2] = {_mm512_load_si512(gather.half[0]), _mm512_load_si512(gather.half[1])};
    constexpr __mmask64 odd = 0xaaaaaaaaaaaaaaaa;
    constexpr int first_and_second_or_third = 0xea;
    for (std::size_t g = 0; g < subs / 4; ++g, block += 64, places += 2)
        for (int h = 0; h < 2; ++h) {
            const __m512i both = _mm512_permutexvar_epi8(order[h], _mm512_loadu_si512(block));
            const __m512i codes = _mm512_mask_blend_epi8(odd, both, _mm512_srli_epi16(both, 4));
            places[h] = _mm512_ternarylogic_epi32(codes, nibble, part, first_and_second_or_third);
        }
}

template <int N>
void rows_of(const __m512i* places, std::size_t subs, const std::uint8_t* table, std::uint16_t* losses) {
    const __m512i one = _mm512_set1_epi8(1);
    __m512i sums[N][2];
    for (int i = 0; i < N; ++i) sums[i][0] = sums[i][1] = _mm512_setzero_si512();
    for (std::size_t g = 0; g < subs / 4; ++g)
        for (int i = 0; i < N; ++i) {
            const __m512i entries = _mm512_loadu_si512(table + (std::size_t(i) * subs + 4 * g) * 16);
            for (int h = 0; h < 2; ++h)
                sums[i][h] = _mm512_dpbusd_epi32(sums[i][h], _mm512_permutexvar_epi8(places[2 * g + h], entries), one);
        }
    for (int i = 0; i < N; ++i)
        _mm512_storeu_si512(losses + i * block_tokens, _mm512_packus_epi32(sums[i][0], sums[i][1]));
}

void losses(const std::uint8_t* block, std::size_t subs, const std::uint8_t* table, std::size_t rows,
            std::uint16_t* losses) {
    __m512i places[most_subs / 2];
    unpack(block, subs, places);
    std::size_t i = 0;
    for (; i + 4 <= rows; i += 4) rows_of<4>(places, subs, table + i * subs * 16, losses + i * block_tokens);
    for (; i + 2 <= rows; i += 2) rows_of<2>(places, subs, table + i * subs * 16, losses + i * block_tokens);
    if (i < rows) rows_of<1>(places, subs, table + i * subs * 16, losses + i * block_tokens);
}

std::uint32_t fold(const std::uint16_t* losses, std::size_t rows, unsigned first, unsigned last, bool opens,
                   bool closes, std::uint16_t* best) {
    const __mmask32 inside = (0xffffffffu >> (block_tokens - last)) & (0xffffffffu << first);
    const __m512i worst = _mm512_set1_epi32(-1);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < rows; ++i, losses += block_tokens, best += block_tokens) {
        __m512i least = _mm512_mask_loadu_epi16(worst, inside, losses);
        if (!opens) least = _mm512_min_epu16(least, _mm512_loadu_si512(best));
        if (!closes) {
            _mm512_storeu_si512(best, least);
            continue;
        }
        const __m256i sixteen = _mm256_min_epu16(_mm512_castsi512_si256(least), _mm512_extracti64x4_epi64(least, 1));
        const __m128i eight = _mm_min_epu16(_mm256_castsi256_si128(sixteen), _mm256_extracti128_si256(sixteen, 1));
        sum += unsigned(_mm_cvtsi128_si32(_mm_minpos_epu16(eight))) & 0xffff;
    }
    return sum;
}

}  // namespace

const Pq4Kernels pq4_avx512 = {losses, fold, assign};
