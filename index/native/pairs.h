#pragma once
#include <cstddef>
#include <cstdint>

// Products of bytes (rows_loop.h) for instruction sets that multiply no bytes: as two products of 16-bit halves.
namespace {

// Bytes 0 and 2 of every 32-bit lane as 16-bit halves, and bytes 1 and 3.
template <class Ints>
struct Halves {
    Ints even, odd;
};

template <class Ints>
Halves<Ints> halves_of(Ints quads) {
    typedef std::int16_t Shorts __attribute__((vector_size(sizeof(Ints))));
    typedef std::uint16_t Bits __attribute__((vector_size(sizeof(Ints))));
    // Unsigned, because a shift of a negative number to the left is undefined.
    return {(Ints)((Shorts)((Bits)quads << 8) >> 8), (Ints)((Shorts)quads >> 8)};
}

typedef std::int32_t PlainInts __attribute__((vector_size(16)));

inline std::int32_t plain_squares(const std::int8_t* row, std::size_t dim, std::int32_t* start) {
    std::int32_t sum = 0;
    for (std::size_t d = 0; d < dim; ++d) sum += std::int32_t(row[d]) * row[d];
    *start = 0;
    return sum;
}

}  // namespace
