#include "kernels.h"

namespace {
typedef float Lanes __attribute__((vector_size(32)));
constexpr unsigned tile_rows = 12;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_avx2.widen(row, dim, to); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_avx2 = {max_half, max_byte, multiply};
