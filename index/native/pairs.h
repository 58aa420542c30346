#pragma once
#include <cstdint>

// dot_pairs (rows_loop.h) in plain vectors, for instruction sets without an instruction for it.
namespace {
typedef std::int32_t PlainInts __attribute__((vector_size(16)));

inline PlainInts dot_halves(PlainInts sum, PlainInts a, PlainInts b) {
    // Unsigned, because a shift of a negative number to the left is undefined.
    typedef std::uint32_t Bits __attribute__((vector_size(16)));
    const PlainInts low_a = (PlainInts)((Bits)a << 16) >> 16, low_b = (PlainInts)((Bits)b << 16) >> 16;
    return sum + low_a * low_b + (a >> 16) * (b >> 16);
}
}  // namespace
