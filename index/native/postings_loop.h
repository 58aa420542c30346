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

// What the key's slot weighs in a perfect table, without a branch: which keys a query has is anybody's guess.
float slot_weight(const QueryTable& table, std::uint32_t key) {
    const QueryTable::Slot slot = table.slots[std::uint32_t(key * table.factor) >> table.shift];
    std::uint32_t bits;
    std::memcpy(&bits, &slot.weight, sizeof bits);
    bits &= -std::uint32_t(slot.key == key);
    float weight;
    std::memcpy(&weight, &bits, sizeof weight);
    return weight;
}

float sought_weight(const QueryTable& table, std::uint32_t key) {
    std::size_t at = std::uint32_t(key * table.factor) >> table.shift;
    while (table.slots[at].weight != 0 && table.slots[at].key != key) at = (at + 1) & (table.size - 1);
    return table.slots[at].weight;
}

// Four sums side by side, so that one addition does not wait for the last; SparseMaxSim adds up in the same order.
template <class Weight, class Value>
double sum_up(const std::uint32_t* keys, std::size_t n, const Weight& weight, const Value& value, bool* found) {
    double sums[4] = {0, 0, 0, 0};
    bool any = false;
    const auto take = [&](std::size_t e, double* sum) {
        const float w = weight(keys[e]);
        any |= w != 0;
        *sum += double(w) * value(e);
    };
    std::size_t e = 0;
    for (; e + 4 <= n; e += 4) take(e, sums), take(e + 1, sums + 1), take(e + 2, sums + 2), take(e + 3, sums + 3);
    for (; e < n; ++e) take(e, sums);
    *found = any;
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

double row_score(const std::uint32_t* keys, const float* values, std::size_t n, double norm, const QueryTable& table,
                 bool* found) {
    const auto sought = [&](std::uint32_t key) { return sought_weight(table, key); };
    const auto slot = [&](std::uint32_t key) { return slot_weight(table, key); };
    const auto kept = [&](std::size_t e) { return double(values[e]); };
    if (table.perfect && values && norm < 0) return sum_up(keys, n, slot, kept, found);
    const auto any = [&](std::size_t e) {
        const double value = values ? values[e] : 1;
        return norm < 0 ? value : value / (value + norm);
    };
    return table.perfect ? sum_up(keys, n, slot, any, found) : sum_up(keys, n, sought, any, found);
}

}  // namespace
