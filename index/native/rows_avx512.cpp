#include <immintrin.h>

#include "kernels.h"

namespace {
typedef float Lanes __attribute__((vector_size(64)));
typedef std::int32_t Ints __attribute__((vector_size(64)));
constexpr unsigned tile_rows = 8;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_avx512.widen(row, dim, to); }
Ints dot_pairs(Ints sum, Ints a, Ints b) { return (Ints)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_avx512 = {max_half, max_byte, max_pairs, max_product, max_residual, multiply};
