#include "kernels.h"
#include "plain_fused.h"
#include "plain_quads.h"

namespace {
typedef PlainLanes Lanes;
constexpr unsigned tile_rows = 8;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_scalar.widen(row, dim, to); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_scalar = {widen, most, products, max_quads, multiply, dot, dot_half, find_ids};
