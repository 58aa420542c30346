#pragma once
#include "kernels.h"

// Codes lie in blocks of 32 tokens; blocks do not care where documents end, and the last one is filled up with zeros.
// A block has subs / 2 rows of 32 bytes. Row r holds sub-quantisers 2r (low nibbles) and 2r + 1 (high nibbles);
// byte 2j + h of it belongs to token 16h + j, so that sums over the even bytes are tokens 0 .. 15 in order.
constexpr unsigned block_tokens = 32;
constexpr std::size_t most_subs = 256;

struct Pq4Scan {
    const std::uint8_t* codes;
    const std::int64_t* offsets;  // (documents + 1,)
    std::size_t documents;
    const bool* allowed;  // (documents,) or nullptr
    std::size_t subs;
    const std::uint8_t* table;  // (rows, subs, 16)
    std::size_t rows;
    float top, scale;  // a document's score is top - scale * its sum of losses
};

// The table of products (rows, 16, subs), an entry of every sub-quantiser after the other: losses (rows, subs, 16) against
// the best entry, whose sums over four sub-quantisers 4g .. 4g + 3 are at most 255; tops (rows,) the products without any
// loss. Returns the product that one unit stands for; every loss is off by at most half a unit.
float pq4_table(const float* products, std::size_t rows, std::size_t subs, std::uint8_t* losses, float* tops);

// out[d] = approximate MaxSim of document d; minus infinity without tokens or when not allowed.
void pq4_scan(const Pq4Scan& scan, unsigned threads, float* out);
