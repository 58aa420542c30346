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

// The query in 16 bits: row j stands for steps[j] * its integers, each off by at most half a step. `limit`: the largest
// integer, such that no product with a row of bytes leaves 32 bits.
struct PairQuery {
    std::vector<std::int32_t> pairs;  // (ceil(dim / 2), lanes)
    std::vector<float> steps;
    double limit, sum_of_steps;
};

PairQuery in_pairs(const RowScan& scan, std::size_t lanes) {
    PairQuery q{std::vector<std::int32_t>((scan.dim + 1) / 2 * lanes), std::vector<float>(scan.rows),
                std::min(32767.0, double(std::numeric_limits<std::int32_t>::max() / (127 * scan.dim))), 0};
    for (std::size_t j = 0; j < scan.rows; ++j) {
        const float* row = scan.query + j * scan.dim;
        float most = 0;
        for (std::size_t d = 0; d < scan.dim; ++d) most = std::max(most, std::fabs(row[d]));
        const double step = most / q.limit;
        q.steps[j] = float(step), q.sum_of_steps += step;
        for (std::size_t d = 0; d < scan.dim && step > 0; ++d) {
            const auto value = std::uint16_t(std::int16_t(std::lrint(row[d] / step)));
            q.pairs[d / 2 * lanes + j] |= std::int32_t(std::uint32_t(value) << (d % 2 ? 16 : 0));
        }
    }
    return q;
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
    const PairQuery query = in_pairs(scan, lanes);
    constexpr float none = -std::numeric_limits<float>::infinity();
    // Half a step in every dimension, and the roundings of floats here and in row_scan.
    const double roundings = double(scan.dim + scan.rows + 8) / (1 << 24);
    const double error = 127.0 * double(scan.dim) * query.sum_of_steps * (0.5 + query.limit * roundings);
    parallel(scan.count, threads, [&](std::size_t c) {
        const std::int64_t from = scan.offsets[scan.documents[c]], to = scan.offsets[scan.documents[c] + 1];
        const std::size_t n = std::size_t(to - from);
        std::vector<float> best(lanes, none);
        float largest = 0;
        k.max_pairs(scan.bytes.from(std::size_t(from)), n, scan.dim, query.pairs.data(), lanes, best.data(), &largest);
        float sum = n ? 0 : none;
        for (std::size_t j = 0; n && j < scan.rows; ++j) sum += query.steps[j] * best[j];
        out[c] = sum;
        errors[c] = float(error * largest);
    });
}
