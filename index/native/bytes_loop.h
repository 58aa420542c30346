#pragma once
#include "kernels.h"

namespace {

// Products of bytes widened to two bytes each, which every instruction set adds up in pairs.
void dots(const std::int8_t* rows, std::size_t n, std::size_t dim, const std::int16_t* query, std::int32_t* out) {
    for (std::size_t r = 0; r < n; ++r, rows += dim) {
        std::int32_t sum = 0;
        for (std::size_t d = 0; d < dim; ++d) {
            const std::int16_t value = rows[d];
            sum += std::int32_t(value) * std::int32_t(query[d]);
        }
        out[r] = sum;
    }
}

}  // namespace
