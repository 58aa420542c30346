#include <immintrin.h>

#include "kernels.h"

namespace {
typedef float Lanes __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));
constexpr unsigned tile_rows = 8;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_avx512.widen(row, dim, to); }
Lanes fused(Lanes a, Lanes b, Lanes sum) { return (Lanes)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)sum); }

// The byte dot product takes one side without a sign.
constexpr unsigned quad_rows = 8;
typedef Ints Quads;
Quads query_quads(Ints q) { return q ^ std::int32_t(0x80808080); }  // each byte + 128
Quads row_quads(Ints row) { return row; }
Ints dot_quads(Ints sum, Quads row, Quads q) {
    return (Ints)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)q, (__m512i)row);
}
std::int32_t squares_of(const std::int8_t* row, std::size_t dim, std::int32_t* start) {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i squares = _mm512_setzero_si512(), sum = squares;
    for (std::size_t d = 0; d < dim; d += 64) {
        const __mmask64 inside = dim - d < 64 ? ~0ull >> (64 - (dim - d)) : ~0ull;
        const __m512i values = _mm512_maskz_loadu_epi8(inside, row + d), sizes = _mm512_abs_epi8(values);
        squares = _mm512_dpbusd_epi32(squares, sizes, sizes);
        sum = _mm512_dpbusd_epi32(sum, ones, values);
    }
    *start = -128 * _mm512_reduce_add_epi32(sum);
    return _mm512_reduce_add_epi32(squares);
}
unsigned lanes_set(Ints hit) { return _mm512_test_epi32_mask((__m512i)hit, (__m512i)hit); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_avx512 = {widen, most, products, max_quads, multiply, dot, dot_half, find_ids};
