#pragma once
#include "kernels.h"

struct RowScan {
    const std::uint16_t* halves;  // (rows, dim), or nullptr when the rows are bytes
    const std::int8_t* bytes;     // (rows, dim)
    const float* scales;          // (rows,) with bytes
    const std::int64_t* offsets;
    const std::int64_t* documents;  // (count,) the documents to score
    std::size_t count, dim;
    const float* query;  // (rows, dim)
    std::size_t rows;
};

// out[c] = MaxSim of documents[c]; minus infinity without tokens.
void row_scan(const RowScan& scan, unsigned threads, float* out);
