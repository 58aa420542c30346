// Exact MaxSim of chosen documents, read where they lie.
#include "rows.h"

#include <algorithm>
#include <cmath>
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

// The query in bytes: row j stands for steps[j] * its integers.
struct ByteQuery {
    std::vector<std::int32_t> quads;  // (ceil(dim / 4), lanes)
    std::vector<float> steps;
    double left = 0, length = 0;  // lengths of what the integers leave over, and of the rows: sums over the rows
};

ByteQuery in_bytes(const RowScan& scan, std::size_t lanes) {
    ByteQuery q{std::vector<std::int32_t>((scan.dim + 3) / 4 * lanes), std::vector<float>(scan.rows)};
    for (std::size_t j = 0; j < scan.rows; ++j) {
        const float* row = scan.query + j * scan.dim;
        float most = 0;
        for (std::size_t d = 0; d < scan.dim; ++d) most = std::max(most, std::fabs(row[d]));
        const float step = q.steps[j] = most / 127, per = step > 0 ? 1 / step : 0;
        double left = 0, length = 0;
        for (std::size_t d = 0; d < scan.dim; ++d) {
            const long value = std::max(-127l, std::min(127l, std::lrint(row[d] * per)));
            const double over = double(row[d]) - double(step) * double(value);
            left += over * over, length += double(row[d]) * row[d];
            q.quads[d / 4 * lanes + j] |= std::int32_t(std::uint32_t(value & 255) << 8 * (d % 4));
        }
        q.left += std::sqrt(left), q.length += std::sqrt(length);
    }
    return q;
}

// Asks the memory for a document that is scored next: documents lie apart, and no prefetcher sees them coming.
void fetch(const ByteRows& rows, const std::int64_t* offsets, std::int64_t document) {
    constexpr std::size_t line = 64, most = 256;
    const std::size_t from = std::size_t(offsets[document]) * rows.stride;
    const std::size_t size = std::size_t(offsets[document + 1]) * rows.stride - from;
    for (std::size_t at = 0; at < std::min(size, line * most); at += line) __builtin_prefetch(rows.values + from + at);
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
        else if (scan.residuals)
            k.max_residual(scan.codes + at * (4 + scan.dim / scan.per), n, scan.dim, scan.per, scan.centroids,
                           scan.residuals, query.data(), lanes, best.data());
        else if (scan.codes)
            k.max_product(scan.codes + at * scan.subs, n, scan.subs, scan.dim / scan.subs, scan.centroids, query.data(),
                          lanes, best.data());
        else k.max_byte(scan.bytes.from(at), n, scan.dim, query.data(), lanes, best.data());
        float sum = n ? 0 : none;
        for (std::size_t j = 0; n && j < scan.rows; ++j) sum += best[j];
        out[c] = sum;
    });
}

void row_estimates(const RowScan& scan, unsigned threads, float* out, float* errors) {
    const RowKernels& k = kernels().rows;
    const std::size_t lanes = (scan.rows + 15) / 16 * 16;
    const ByteQuery query = in_bytes(scan, lanes);
    constexpr float none = -std::numeric_limits<float>::infinity();
    // By Cauchy and Schwarz, what a query row leaves over moves a product by at most its length times the row's. And the
    // roundings of floats here and in row_scan.
    const double roundings = double(scan.dim + 2 * scan.rows + 16) / (1 << 24);
    const double error = (query.left + roundings * (query.length + query.left)) * (1 + 1e-6);
    parallel(scan.count, threads, [&](std::size_t c) {
        const std::int64_t from = scan.offsets[scan.documents[c]], to = scan.offsets[scan.documents[c] + 1];
        const std::size_t n = std::size_t(to - from);
        if (c + 1 < scan.count) fetch(scan.bytes, scan.offsets, scan.documents[c + 1]);
        std::vector<float> best(lanes, none);
        float longest = 0;
        k.max_quads(scan.bytes.from(std::size_t(from)), n, scan.dim, query.quads.data(), lanes, best.data(), &longest);
        float sum = n ? 0 : none;
        for (std::size_t j = 0; n && j < scan.rows; ++j) sum += query.steps[j] * best[j];
        out[c] = sum;
        errors[c] = float(error * std::sqrt(double(longest)) * (1 + 1e-6));
    });
}
