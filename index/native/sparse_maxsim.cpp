#include "sparse_maxsim.h"

#include <algorithm>
#include <limits>

SparseMaxSim::SparseMaxSim(const SparseRows& query) : slots_(1024), sums_(query.rows), most_(query.rows) {
    const std::size_t n = std::size_t(query.bounds[query.rows] - query.bounds[0]);
    for (; slots_.size() < n * 4; slots_.resize(slots_.size() * 2)) --shift_;
    struct Cell {
        std::uint32_t key;
        Entry entry;
    };
    std::vector<Cell> cells;
    cells.reserve(n);
    for (std::size_t r = 0; r < query.rows; ++r)
        for (std::int64_t e = query.bounds[r]; e < query.bounds[r + 1]; ++e)
            cells.push_back({query.keys[e], {std::uint32_t(r), query.weights[e]}});
    std::stable_sort(cells.begin(), cells.end(), [](const Cell& a, const Cell& b) { return a.key < b.key; });
    entries_.reserve(n);
    for (std::size_t first = 0, c = 0; c < n; ++c) {
        entries_.push_back(cells[c].entry);
        if (c + 1 < n && cells[c + 1].key == cells[c].key) continue;
        slots_[place(cells[c].key)] = {cells[c].key, std::uint32_t(first), std::uint32_t(c + 1)};
        first = c + 1;
    }
}

template <class Value>
bool SparseMaxSim::score(const std::uint32_t* keys, const Value* values, const std::int64_t* bounds, std::size_t rows,
                         float* out) {
    std::fill(most_.begin(), most_.end(), rows ? -std::numeric_limits<double>::infinity() : 0);
    bool found = false;
    for (std::size_t r = 0; r < rows; ++r) {
        std::fill(sums_.begin(), sums_.end(), std::array<double, 4>{});
        for (std::int64_t e = bounds[r]; e < bounds[r + 1]; ++e) {
            const Slot& at = slots_[place(keys[e])];
            const double value = double(values[e]);
            found |= at.last != 0;
            for (std::uint32_t q = at.first; q < at.last; ++q)
                sums_[entries_[q].row][(e - bounds[r]) % 4] += value * double(entries_[q].weight);
        }
        for (std::size_t i = 0; i < sums_.size(); ++i) {
            const auto& s = sums_[i];
            most_[i] = std::max(most_[i], (s[0] + s[1]) + (s[2] + s[3]));
        }
    }
    double total = 0;
    for (const double m : most_) total += m;
    *out = float(total);
    return found;
}

template bool SparseMaxSim::score(const std::uint32_t*, const float*, const std::int64_t*, std::size_t, float*);
template bool SparseMaxSim::score(const std::uint32_t*, const double*, const std::int64_t*, std::size_t, float*);
