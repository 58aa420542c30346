#pragma once
#include "kernels.h"

// The loops that every instruction set shares; each file that includes this compiles them with its own flags.
// Anonymous namespace and no inline library code: the linker must not keep one file's copy for another.
namespace {

inline float half_to_float(std::uint16_t h) {
    const std::uint32_t sign = std::uint32_t(h & 0x8000u) << 16;
    const std::uint32_t exponent = (h >> 10) & 31u, fraction = h & 1023u;
    union { std::uint32_t bits; float value; } x;
    if (exponent == 31) x.bits = sign | 0x7f800000u | (fraction << 13);
    else if (exponent) x.bits = sign | ((exponent + 112) << 23) | (fraction << 13);
    else {
        // Subnormal halves: fraction * 2^-24, exact in float.
        x.value = float(fraction) * 5.9604644775390625e-8f;
        x.bits |= sign;
    }
    return x.value;
}

void segmented_max(const float* scores, std::size_t columns, const std::int64_t* offsets,
                   std::size_t documents, float* out) {
    for (std::size_t d = 0; d < documents; ++d, out += columns) {
        std::int64_t row = offsets[d];
        const std::int64_t end = offsets[d + 1];
        if (row == end) {
            for (std::size_t c = 0; c < columns; ++c) out[c] = -__builtin_inff();
            continue;
        }
        const float* first = scores + std::size_t(row) * columns;
        for (std::size_t c = 0; c < columns; ++c) out[c] = first[c];
        for (++row; row < end; ++row) {
            const float* s = scores + std::size_t(row) * columns;
            for (std::size_t c = 0; c < columns; ++c) out[c] = s[c] > out[c] ? s[c] : out[c];
        }
    }
}

}  // namespace
