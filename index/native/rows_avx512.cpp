#include "kernels.h"

namespace {
typedef float Lanes __attribute__((vector_size(64)));
constexpr unsigned tile_rows = 8;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_avx512.widen(row, dim, to); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_avx512 = {max_half, max_byte, multiply};
