#include "select.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

namespace {

template <class Value>
struct Kept {
    Value value;
    std::size_t place;
    // The heap's top is the least value, the latest of equals.
    bool operator<(const Kept& other) const {
        return value != other.value ? value > other.value : place < other.place;
    }
};

template <class Value>
void keep(const Value* values, const bool* open, std::size_t n, std::size_t k, std::vector<Kept<Value>>& heap) {
    heap.clear();
    std::size_t i = 0;
    for (; i < n && heap.size() < k; ++i)
        if (!open || open[i]) heap.push_back({values[i], i});
    if (heap.empty()) return;
    std::make_heap(heap.begin(), heap.end());
    for (; i < n; ++i) {
        if (!(values[i] > heap.front().value) || (open && !open[i])) continue;
        std::pop_heap(heap.begin(), heap.end());
        heap.back() = {values[i], i};
        std::push_heap(heap.begin(), heap.end());
    }
}

}  // namespace

std::size_t greatest(const std::uint32_t* values, const bool* open, std::size_t n, std::size_t k, std::int64_t* places) {
    std::vector<Kept<std::uint32_t>> heap;
    heap.reserve(k);
    keep(values, open, n, k, heap);
    for (std::size_t i = 0; i < heap.size(); ++i) places[i] = std::int64_t(heap[i].place);
    std::sort(places, places + heap.size());
    return heap.size();
}

std::size_t among_best(const float* estimates, const float* wrong, bool alike, const bool* open, std::size_t n,
                       std::size_t k, std::int64_t* places) {
    constexpr float none = -std::numeric_limits<float>::infinity();
    constexpr std::size_t block = 64;
    const auto greatest_of = [&](const float* values, std::size_t count) {
        float lanes[8];
        std::fill_n(lanes, 8, none);
        std::size_t i = 0;
        for (; i + 8 <= count; i += 8)
            for (std::size_t j = 0; j < 8; ++j) lanes[j] = values[i + j] > lanes[j] ? values[i + j] : lanes[j];
        for (; i < count; ++i) lanes[0] = std::max(lanes[0], values[i]);
        return *std::max_element(lanes, lanes + 8);
    };
    const float most_wrong = alike ? *wrong : greatest_of(wrong, n);
    const auto off = [&](std::size_t i) { return alike ? *wrong : wrong[i]; };
    const auto found = [&](std::size_t i) { return estimates[i] > none && (!open || open[i]); };
    // Most blocks hold nobody, which their greatest estimate tells.
    std::vector<float> tops((n + block - 1) / block);
    // The k greatest lower bounds so far among others; cut back to them whenever there are twice as many.
    std::vector<float> lows;
    const std::size_t room = std::min(2 * k, n) + 256;
    lows.reserve(room + block);
    float least = none;
    const auto cut = [&] {
        if (lows.size() < k) return;
        std::nth_element(lows.begin(), lows.begin() + std::ptrdiff_t(k - 1), lows.end(), std::greater<float>());
        lows.resize(k), least = lows[k - 1];
    };
    for (std::size_t b = 0; b < tops.size(); ++b) {
        const std::size_t first = b * block, last = std::min(n, first + block);
        tops[b] = greatest_of(estimates + first, last - first);
        if (!(tops[b] > least)) continue;
        for (std::size_t i = first; i < last; ++i) {
            const float low = estimates[i] - off(i);
            if (low > least && found(i)) lows.push_back(low);
        }
        if (lows.size() >= room) cut();
    }
    cut();
    std::size_t count = 0;
    for (std::size_t b = 0; b < tops.size(); ++b) {
        if (!(tops[b] + most_wrong >= least)) continue;
        for (std::size_t i = b * block; i < std::min(n, (b + 1) * block); ++i)
            if (estimates[i] + off(i) >= least && found(i)) places[count++] = std::int64_t(i);
    }
    return count;
}

void probe_lists(const float* scores, std::size_t rows, std::size_t lists, std::size_t k, std::int64_t* list_of,
                 std::int64_t* row_of, float* least) {
    std::vector<Kept<float>> heap;
    heap.reserve(k);
    std::vector<std::int64_t> chosen;
    chosen.reserve(rows * k);
    std::vector<std::size_t> starts(lists + 1);
    for (std::size_t r = 0; r < rows; ++r) {
        keep(scores + r * lists, nullptr, lists, k, heap);
        least[r] = heap.front().value;
        for (const auto& of : heap) {
            chosen.push_back(std::int64_t(of.place));
            ++starts[of.place + 1];
        }
    }
    for (std::size_t l = 0; l < lists; ++l) starts[l + 1] += starts[l];
    for (std::size_t p = 0; p < chosen.size(); ++p) {
        const std::size_t at = starts[std::size_t(chosen[p])]++;
        list_of[at] = chosen[p];
        row_of[at] = std::int64_t(p / k);
    }
}
