#include "kernels.h"
#include "pairs.h"

namespace {
typedef float Lanes __attribute__((vector_size(16)));
typedef PlainInts Ints;
constexpr unsigned tile_rows = 8;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_scalar.widen(row, dim, to); }

constexpr unsigned quad_rows = 4;
typedef Halves<Ints> Quads;
Quads query_quads(Ints q) { return halves_of(q); }
Quads row_quads(Ints row) { return halves_of(row); }
std::int32_t squares_of(const std::int8_t* row, std::size_t dim, std::int32_t* start) {
    return plain_squares(row, dim, start);
}
}  // namespace

#include "rows_loop.h"

const RowKernels rows_scalar = {max_half, max_byte, max_quads, max_product, max_residual, multiply, dot};
