#pragma once
#include "kernels.h"

// Stored rows with an id each. One of halves, bytes and floats is there.
struct KeyedRows {
    const std::uint32_t* ids;     // (rows,)
    const std::uint16_t* halves;  // (rows, dim)
    ByteRows bytes;
    const float* floats;  // (rows, dim)
    std::size_t dim;
};

struct KeyedQuery {
    const std::uint32_t* ids;  // (rows,) in any order
    const float* vectors;      // (rows, dim)
    std::size_t rows;
};

// For `count` documents, document d owning the rows offsets[d] to offsets[d + 1] - 1: the greatest product of each query
// row with a row of equal id, and which that is, the first of equals, counted within the document; 0 and -1 without any.
// scores[c] is the sum of those above 0, minus infinity without any product. products and tokens are (count, query rows), or
// nullptr.
void coil_scan(const KeyedRows& rows, const std::int64_t* offsets, const std::int64_t* documents, std::size_t count,
                  const KeyedQuery& query, double* scores, double* products, std::int64_t* tokens);

// out[c] = the product of row places[c] of `rows` (., dim) with a query (dim,), in doubles.
void half_products(const std::uint16_t* rows, std::size_t dim, const std::int64_t* places, std::size_t count,
                   const float* query, double* out);
