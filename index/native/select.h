#pragma once
#include <cstddef>
#include <cstdint>

// Choosing the greatest of many values: a heap of those kept, whose least is what the next value must exceed. Of equal
// values the earlier stays.

// The `k` greatest values that are open (all without `open`), k <= n; places rise. Returns how many there are.
std::size_t greatest(const std::uint32_t* values, const bool* open, std::size_t n, std::size_t k, std::int64_t* places);

// Who may be among the `k` best of `n` open values, k >= 1, known by estimates that are off by no more than wrong[i], or
// wrong[0] if `alike`: those whose upper bound reaches the k-th greatest lower one. Minus infinity is not found. Places
// rise and have room for n. Returns how many there are.
std::size_t among_best(const float* estimates, const float* wrong, bool alike, const bool* open, std::size_t n,
                       std::size_t k, std::int64_t* places);

// For each of `rows` rows of `lists` scores the `k` greatest, k <= lists: pairs of list and row, by rising list and row,
// and what the least of each row scores.
void probe_lists(const float* scores, std::size_t rows, std::size_t lists, std::size_t k, std::int64_t* list_of,
                 std::int64_t* row_of, float* least);
