#include "select.h"

#include <algorithm>
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
