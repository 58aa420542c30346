#pragma once
#include "pairs.h"

// What rows_loop.h asks of an instruction set, in plain vectors of four lanes.
namespace {
typedef PlainInts Ints;
typedef Halves<Ints> Quads;
constexpr unsigned quad_rows = 4;

Quads query_quads(Ints q) { return halves_of(q); }
Quads row_quads(Ints row) { return halves_of(row); }

Ints dot_halves(Ints sum, Ints a, Ints b) {
    typedef std::uint32_t Bits __attribute__((vector_size(16)));
    const Ints low_a = (Ints)((Bits)a << 16) >> 16, low_b = (Ints)((Bits)b << 16) >> 16;
    return sum + low_a * low_b + (a >> 16) * (b >> 16);
}

Ints dot_quads(Ints sum, const Quads& a, const Quads& b) {
    return dot_halves(dot_halves(sum, a.even, b.even), a.odd, b.odd);
}

std::int32_t squares_of(const std::int8_t* row, std::size_t dim, std::int32_t* start) {
    return plain_squares(row, dim, start);
}

unsigned lanes_set(Ints hit) {
    unsigned bits = 0;
    for (unsigned j = 0; j < sizeof hit / 4; ++j) bits |= (hit[j] & 1u) << j;
    return bits;
}

}  // namespace
