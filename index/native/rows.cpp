// Exact MaxSim of chosen documents, read where they lie.
#include "rows.h"

#include <limits>

#include "dispatch.h"
#include "parallel.h"

namespace {

// The query as (dim, lanes): row j in lane j, zeros in the lanes that fill up the last sixteen.
std::vector<float> across(const RowScan& scan, std::size_t lanes) {
    std::vector<float> query(scan.dim * lanes);
    for (std::size_t j = 0; j < scan.rows; ++j)
        for (std::size_t d = 0; d < scan.dim; ++d) query[d * lanes + j] = scan.query[j * scan.dim + d];
    return query;
}

}  // namespace

void row_scan(const RowScan& scan, unsigned threads, float* out) {
    const RowKernels& k = kernels().rows;
    const std::size_t lanes = (scan.rows + 15) / 16 * 16;
    const std::vector<float> query = across(scan, lanes);
    constexpr float none = -std::numeric_limits<float>::infinity();
    parallel(scan.count, threads, [&](std::size_t c) {
        const std::int64_t from = scan.offsets[scan.documents[c]], to = scan.offsets[scan.documents[c] + 1];
        const std::size_t at = std::size_t(from), n = std::size_t(to - from);
        std::vector<float> best(lanes, none);
        if (scan.halves) k.max_half(scan.halves + at * scan.dim, n, scan.dim, query.data(), lanes, best.data());
        else k.max_byte(scan.bytes + at * scan.dim, scan.scales + at, n, scan.dim, query.data(), lanes, best.data());
        float sum = n ? 0 : none;
        for (std::size_t j = 0; n && j < scan.rows; ++j) sum += best[j];
        out[c] = sum;
    });
}
