#include <immintrin.h>

#include "kernels.h"
#include "pairs.h"

namespace {
typedef float Lanes __attribute__((vector_size(32)));
typedef std::int32_t Ints __attribute__((vector_size(32)));
constexpr unsigned tile_rows = 12;
void widen_row(const std::uint16_t* row, std::size_t dim, float* to) { ragged_avx2.widen(row, dim, to); }
Lanes fused(Lanes a, Lanes b, Lanes sum) { return (Lanes)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)sum); }

constexpr unsigned quad_rows = 4;
typedef Halves<Ints> Quads;
Quads query_quads(Ints q) { return halves_of(q); }
Quads row_quads(Ints row) { return halves_of(row); }
Ints dot_quads(Ints sum, const Quads& row, const Quads& q) {
    return sum + (Ints)_mm256_madd_epi16((__m256i)row.even, (__m256i)q.even) +
           (Ints)_mm256_madd_epi16((__m256i)row.odd, (__m256i)q.odd);
}
std::int32_t squares_of(const std::int8_t* row, std::size_t dim, std::int32_t* start) {
    return plain_squares(row, dim, start);
}
unsigned lanes_set(Ints hit) { return unsigned(_mm256_movemask_ps((__m256)hit)); }
}  // namespace

#include "rows_loop.h"

const RowKernels rows_avx2 = {widen, most, products, max_quads, multiply, dot, dot_half, find_ids};
