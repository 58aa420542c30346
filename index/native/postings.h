#pragma once
#include "kernels.h"
#include "sparse_maxsim.h"

// An inverted index over windows of documents beside the rows it was built from. A run is one term's postings in one
// window; runs lie term by term and rise by window. A posting is an offset in its window and an impact of at least 1.
// Impacts are rounded up: impact * scale is at least the weight, so that sums of postings are bounds of scores, and a
// sum of zero means that no term matched.
struct PostingIndex {
    const std::uint32_t* keys;        // (terms,) rising
    const std::int64_t* term_runs;    // (terms + 1,) term t has the runs term_runs[t] .. term_runs[t + 1] - 1
    const std::uint32_t* windows;     // (runs,)
    const std::int64_t* starts;       // (runs + 1,) run r has the postings starts[r] .. starts[r + 1] - 1
    const std::uint8_t* maxima;       // (runs,) greatest impact
    const float* scales;              // (terms,) at least 0
    const float* lows;                // (terms,) least weight, at most 0
    const std::uint16_t* offsets;     // (postings,)
    const std::uint8_t* impacts;      // (postings,) or nullptr: all are 1
    const std::uint8_t* saturation;   // nullptr, or (256, 256): impacts are term frequencies, see index/sparse/bm25.py
    const std::uint8_t* length_codes;  // (documents,) with saturation
    const float* norms;               // (documents,) with saturation
    std::size_t terms, documents, window;
    const std::int64_t* token_rows;   // nullptr: document d is row d; or (documents + 1,): rows token_rows[d] and on
    const std::int64_t* row_bounds;   // (rows + 1,)
    const std::uint32_t* row_keys;    // (entries,)
    const float* values;              // (entries,) or nullptr
    const std::uint16_t* halves;      // (entries,) or nullptr; without either every weight is 1
};

constexpr std::size_t most_window = 65536;

struct PostingQuery {
    SparseRows rows;            // what documents are scored with
    const std::uint32_t* keys;  // (terms,) rising: what finds them
    const float* gains;         // (terms,) at least 0: a weight w of a document adds no more to a score than
    const float* losses;        // (terms,) at most 0:    gain * max(w, 0) + loss * min(w, 0); both nullptr: those
                                // of the one row, whose keys find
    std::size_t terms, k;
    double alpha;               // 1: exact; less: documents bounded below k-th score / alpha are skipped
    std::size_t candidates;     // 0: all that could be among the k best are scored; or only so many of the greatest sums
    const bool* allowed;        // (documents,) or nullptr
};

// What a search did, for measurements.
struct PostingWork {
    std::int64_t postings = 0, rescored = 0;
};

// The k best documents of those with a key that finds them, best first, ties by rising number, scored from their rows in
// double and rounded to float. Returns how many there are; docs and scores have room for min(k, documents).
std::size_t posting_search(const PostingIndex& index, const PostingQuery& query, unsigned threads, std::int64_t* docs,
                           float* scores, PostingWork* work);
