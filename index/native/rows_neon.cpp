#include "kernels.h"
#include "plain_quads.h"

namespace {
typedef float Lanes __attribute__((vector_size(16)));
constexpr unsigned tile_rows = 16;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_neon.widen(row, dim, to); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_neon = {max_half, max_byte, max_quads, max_product, max_residual, multiply, dot, dot_half, find_ids};
