#pragma once
#include "kernels.h"

struct RowScan {
    const std::uint16_t* halves;  // (rows, dim), or nullptr when the rows are something else
    ByteRows bytes;
    const std::uint8_t* codes;  // (rows, subs) product codes, or (rows, 4 + dim / per) with residuals, or nullptr
    const float* centroids;     // (subs, 256, dim / subs), or with residuals (numbers, dim)
    std::size_t subs;
    const float* residuals;  // (256, per), or nullptr
    std::size_t per;
    const std::int64_t* offsets;
    const std::int64_t* documents;  // (count,) the documents to score
    std::size_t count, dim;
    const float* query;  // (rows, dim)
    std::size_t rows;
};

// out[c] = MaxSim of documents[c]; minus infinity without tokens.
void row_scan(const RowScan& scan, unsigned threads, float* out);

// The same of byte rows with a query of bytes, in integers: what row_scan says lies within errors[c] of out[c].
void row_estimates(const RowScan& scan, unsigned threads, float* out, float* errors);
