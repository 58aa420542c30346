#include <arm_neon.h>

#include "kernels.h"
#include "plain_quads.h"

namespace {
typedef float Lanes __attribute__((vector_size(16)));
constexpr unsigned tile_rows = 16;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_neon.widen(row, dim, to); }
Lanes fused(Lanes a, Lanes b, Lanes sum) { return (Lanes)vfmaq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_neon = {widen, most, products, max_quads, multiply, dot, dot_half, find_ids};
