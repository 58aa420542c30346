#pragma once
#include <algorithm>
#include <cstring>

#include "kernels.h"

namespace {

constexpr std::size_t stride = 64;

void add(const std::uint16_t* offsets, const std::uint8_t* impacts, std::size_t n, std::uint32_t factor,
         std::uint32_t constant, std::uint16_t* sums) {
    if (!impacts || !factor) {
        const auto one = std::uint16_t((factor + constant) >> 8);
        for (std::size_t p = 0; p < n; ++p) sums[offsets[p]] = std::uint16_t(sums[offsets[p]] + one);
        return;
    }
    std::size_t p = 0;
    for (; p + 4 <= n; p += 4)
        for (std::size_t i = p; i < p + 4; ++i)
            sums[offsets[i]] = std::uint16_t(sums[offsets[i]] + ((factor * impacts[i] + constant) >> 8));
    for (; p < n; ++p) sums[offsets[p]] = std::uint16_t(sums[offsets[p]] + ((factor * impacts[p] + constant) >> 8));
}

void add_saturated(const std::uint16_t* offsets, const std::uint8_t* frequencies, std::size_t n, std::uint32_t factor,
                   const std::uint8_t* saturation, const std::uint8_t* length_codes, std::uint16_t* sums) {
    for (std::size_t p = 0; p < n; ++p) {
        const std::uint32_t impact = saturation[frequencies[p] << 8 | length_codes[offsets[p]]];
        sums[offsets[p]] = std::uint16_t(sums[offsets[p]] + ((factor * impact + 255) >> 8));
    }
}

std::size_t count_from(const std::uint16_t* sums, std::size_t n, std::uint16_t least) {
    std::size_t count = 0, at = 0;
    for (; at + stride <= n; at += stride) {
        std::uint16_t here = 0;
        for (std::size_t i = 0; i < stride; ++i) here = std::uint16_t(here + (sums[at + i] >= least));
        count += here;
    }
    for (; at < n; ++at) count += sums[at] >= least;
    return count;
}

std::size_t find_from(const std::uint16_t* sums, std::size_t n, std::uint16_t least, std::uint16_t* found) {
    std::size_t count = 0;
    for (std::size_t at = 0; at < n; at += stride) {
        const std::size_t end = std::min(n, at + stride);
        if (end == at + stride) {
            std::uint16_t most = 0;
            for (std::size_t i = 0; i < stride; ++i) most = std::max(most, sums[at + i]);
            if (most < least) continue;
        }
        for (std::size_t i = at; i < end; ++i) {
            found[count] = std::uint16_t(i);
            count += sums[i] >= least;
        }
    }
    return count;
}

void keep_allowed(const bool* allowed, std::size_t n, std::uint16_t* sums) {
    for (std::size_t i = 0; i < n; ++i) sums[i] = std::uint16_t(sums[i] & -int(allowed[i]));
}

// In a perfect table without branches: which keys of a row are in the query is anybody's guess.
double row_score(const std::uint32_t* keys, const float* values, std::size_t n, double norm, const QueryTable& table,
                 bool* found) {
    double sum = 0;
    std::uint32_t any = 0;
    const auto place = [&](std::uint32_t key) { return std::uint32_t(key * table.factor) >> table.shift; };
    const auto value = [&](std::size_t e) {
        const double v = values ? values[e] : 1;
        return norm < 0 ? v : v / (v + norm);
    };
    if (table.perfect && norm < 0 && values) {
        for (std::size_t e = 0; e < n; ++e) {
            const QueryTable::Slot slot = table.slots[place(keys[e])];
            std::uint32_t bits;
            std::memcpy(&bits, &slot.weight, sizeof bits);
            bits &= slot.key == keys[e] ? ~0u : 0u;
            any |= bits;
            float weight;
            std::memcpy(&weight, &bits, sizeof weight);
            sum += double(weight) * double(values[e]);
        }
    } else {
        for (std::size_t e = 0; e < n; ++e) {
            std::size_t at = place(keys[e]);
            while (table.slots[at].weight != 0 && table.slots[at].key != keys[e]) at = (at + 1) & (table.size - 1);
            if (table.slots[at].weight == 0) continue;
            any = 1;
            sum += double(table.slots[at].weight) * value(e);
        }
    }
    *found = any != 0;
    return sum;
}

}  // namespace
