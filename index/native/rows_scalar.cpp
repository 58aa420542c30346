#include "kernels.h"
#include "pairs.h"

namespace {
typedef float Lanes __attribute__((vector_size(16)));
typedef PlainInts Ints;
constexpr unsigned tile_rows = 8;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_scalar.widen(row, dim, to); }
Ints dot_pairs(Ints sum, Ints a, Ints b) { return dot_halves(sum, a, b); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_scalar = {max_half, max_byte, max_pairs, max_product, max_residual, multiply};
