#pragma once
#include "kernels.h"

// Lists of small vectors by key (COIL), as index/coil/lists.py lays them out.
struct NativeCoilLists {
    const std::int64_t* term_runs;  // (terms + 1,)
    const std::uint32_t* windows;   // (runs,)
    const std::int64_t* starts;     // (runs + 1,)
    const std::uint16_t* offsets;   // (occurrences,)
    const std::int8_t* codes;       // (occurrences, dim)
    std::size_t terms, dim, documents;
};

struct CoilQuery {
    const std::int64_t* terms;     // (rows,)
    const std::int16_t* vectors;  // (rows, dim)
    const float* factors;         // (rows,)
    std::size_t rows;
};

// scores[d] = sum over query rows i of factors[i] * max(0, max over d's occurrences j of terms[i] of
// codes[j] . vectors[i]); minus infinity for a document that holds none of the terms.
void coil_list_scan(const NativeCoilLists& lists, const CoilQuery& query, unsigned threads, float* scores);

// out[r] = factor * scales[r] * codes[r] . query for n rows.
void byte_products(const std::int8_t* codes, const float* scales, std::size_t n, std::size_t dim,
                   const std::int16_t* query, float factor, unsigned threads, float* out);
