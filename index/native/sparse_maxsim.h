#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

// Exact scores between queries and documents of several sparse rows: sum_i max_j q_i . d_j. Products are exact in double
// and are added up in four sums, by the place of an entry in its row, as PostingKernels::row_score does: a score depends on
// nothing but the two, and is the same wherever the document lies.

struct SparseRows {
    const std::uint32_t* keys;   // (entries,) rising within a row
    const float* weights;        // (entries,)
    const std::int64_t* bounds;  // (rows + 1,) row r has the entries bounds[r] .. bounds[r + 1] - 1
    std::size_t rows;
};

class SparseMaxSim {
  public:
    explicit SparseMaxSim(const SparseRows& query);

    // Rows 0 .. rows - 1 of one document by its own bounds; a row without a common key counts 0. False if none has one.
    template <class Value>
    bool score(const std::uint32_t* keys, const Value* values, const std::int64_t* bounds, std::size_t rows,
               float* out);

  private:
    struct Entry {
        std::uint32_t row;
        float weight;
    };
    // Where the entries of a key begin and end; an empty slot has none.
    struct Slot {
        std::uint32_t key = 0, first = 0, last = 0;
    };
    std::size_t place(std::uint32_t key) const {
        std::size_t at = std::uint32_t(key * 2654435769u) >> shift_;
        while (slots_[at].last && slots_[at].key != key) at = (at + 1) & (slots_.size() - 1);
        return at;
    }

    std::vector<Slot> slots_;  // 2^(32 - shift_)
    unsigned shift_ = 22;
    std::vector<Entry> entries_;
    std::vector<std::array<double, 4>> sums_;
    std::vector<double> most_;
};
