#include <immintrin.h>

#include "kernels.h"

namespace {
typedef float Lanes __attribute__((vector_size(32)));
typedef std::int32_t Ints __attribute__((vector_size(32)));
constexpr unsigned tile_rows = 12;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_avx2.widen(row, dim, to); }
Ints dot_pairs(Ints sum, Ints a, Ints b) { return sum + (Ints)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_avx2 = {max_half, max_byte, max_pairs, max_product, max_residual, multiply};
