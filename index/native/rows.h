#pragma once
#include "kernels.h"

// Document d owns the rows offsets[d] to offsets[d + 1] - 1; `count` chosen documents are scored.
struct Documents {
    const std::int64_t* offsets;
    const std::int64_t* chosen;
    std::size_t count;
};

// Query q has the rows bounds[q] to bounds[q + 1] - 1 of vectors (., dim).
struct Queries {
    const float* vectors;
    const std::int64_t* bounds;
    std::size_t count;
};

// out (documents, queries): MaxSim, the maxima added up in double in the order of the query's rows and rounded once;
// minus infinity without tokens.
void row_scan(const StoredRows& rows, const Documents& documents, const Queries& queries, unsigned threads, float* out);

// The same of byte rows with a query (count, dim) of bytes, in integers: row_scan's score lies within errors[c] of out[c].
void row_estimates(const ByteRows& rows, std::size_t dim, const Documents& documents, const float* query,
                   std::size_t count, unsigned threads, float* out, float* errors);

// out (n, count) = the products of rows 0 .. n - 1 with a query (count, dim).
void row_products(const StoredRows& rows, std::size_t n, const float* query, std::size_t count, float* out);

// The k greatest products of each of `count` query rows with rows 0 .. n - 1: scores and places (count, k), the greatest
// first, the lower place of equals; minus infinity and -1 fill up. allowed (n,) or nullptr: only these count.
void best_rows(const StoredRows& rows, std::size_t n, const bool* allowed, const float* query, std::size_t count,
               std::size_t k, unsigned threads, float* scores, std::int64_t* places);
