// Exact MaxSim of chosen documents, read where they lie.
#include "rows.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "parallel.h"

namespace {

constexpr std::size_t scored_together = 64;  // rows whose products are looked through while they are in the cache

std::size_t panels_of(std::size_t rows) { return (rows + panel_lanes - 1) / panel_lanes; }

// A query's rows across the lanes, as RowKernels reads them.
std::vector<float> across(const float* query, std::size_t rows, std::size_t dim) {
    std::vector<float> panels(panels_of(rows) * dim * panel_lanes);
    for (std::size_t j = 0; j < rows; ++j) {
        float* to = panels.data() + j / panel_lanes * dim * panel_lanes + j % panel_lanes;
        for (std::size_t d = 0; d < dim; ++d) to[d * panel_lanes] = query[j * dim + d];
    }
    return panels;
}

// The query in bytes: row j stands for steps[j] * its integers.
struct ByteQuery {
    std::vector<std::int32_t> quads;  // (ceil(dim / 4), lanes)
    std::vector<float> steps;
    double left = 0, length = 0;  // lengths of what the integers leave over, and of the rows: sums over the rows
};

ByteQuery in_bytes(const float* query, std::size_t rows, std::size_t dim, std::size_t lanes) {
    ByteQuery q{std::vector<std::int32_t>((dim + 3) / 4 * lanes), std::vector<float>(rows)};
    for (std::size_t j = 0; j < rows; ++j) {
        const float* row = query + j * dim;
        float most = 0;
        for (std::size_t d = 0; d < dim; ++d) most = std::max(most, std::fabs(row[d]));
        const float step = q.steps[j] = most / 127, per = step > 0 ? 1 / step : 0;
        double left = 0, length = 0;
        for (std::size_t d = 0; d < dim; ++d) {
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

struct Found {
    float score;
    std::int64_t place;
};

bool better(const Found& a, const Found& b) { return a.score > b.score || (a.score == b.score && a.place < b.place); }

// The best of one query row so far. Kept are more than k, so that sorting them pays.
struct Best {
    std::vector<Found> kept;
    float cut = -std::numeric_limits<float>::infinity();

    void shrink(std::size_t k) {
        if (kept.size() <= k) return;
        std::nth_element(kept.begin(), kept.begin() + std::ptrdiff_t(k) - 1, kept.end(), better);
        kept.resize(k);
        cut = kept[k - 1].score;
    }

    // An entry equal to the cut loses to those kept, whose places are lower.
    void add(Found found, std::size_t k) {
        kept.push_back(found);
        if (kept.size() >= 2 * k + 1024) shrink(k);
    }
};

// Rows from .. to - 1 in rising order into best[j] of query row j.
void find_best(const StoredRows& rows, std::size_t from, std::size_t to, const bool* allowed,
               const std::vector<float>& query, std::size_t k, std::vector<Best>& best) {
    const RowKernels& kernel = kernels().rows;
    const std::size_t panels = panels_of(best.size()), lanes = panels * panel_lanes;
    std::vector<float> products(scored_together * lanes), cuts(lanes, std::numeric_limits<float>::infinity());
    for (std::size_t j = 0; j < best.size(); ++j) cuts[j] = best[j].cut;
    for (std::size_t row = from; row < to;) {
        for (; allowed && row < to && !allowed[row];) ++row;
        std::size_t end = row;
        for (; end < std::min(to, row + scored_together) && (!allowed || allowed[end]);) ++end;
        kernel.products(rows, row, end - row, query.data(), panels, products.data());
        for (const float* line = products.data(); row < end; ++row, line += lanes)
            for (std::size_t j = 0; j < best.size(); ++j)
                if (line[j] > cuts[j]) {
                    best[j].add({line[j], std::int64_t(row)}, k);
                    cuts[j] = best[j].cut;
                }
    }
}

}  // namespace

void row_scan(const StoredRows& rows, const Documents& documents, const Queries& queries, unsigned threads, float* out) {
    const RowKernels& k = kernels().rows;
    const std::size_t asked = std::size_t(queries.bounds[queries.count]), panels = panels_of(asked);
    const std::vector<float> query = across(queries.vectors, asked, rows.dim);
    constexpr float none = -std::numeric_limits<float>::infinity();
    parallel(documents.count, threads, [&](std::size_t c) {
        const std::int64_t from = documents.offsets[documents.chosen[c]], to = documents.offsets[documents.chosen[c] + 1];
        float* scores = out + c * queries.count;
        if (from == to) {
            std::fill(scores, scores + queries.count, none);
            return;
        }
        std::vector<float> best(panels * panel_lanes, none);
        k.most(rows, std::size_t(from), std::size_t(to - from), query.data(), panels, best.data());
        for (std::size_t q = 0; q < queries.count; ++q) {
            double sum = 0;
            for (std::int64_t j = queries.bounds[q]; j < queries.bounds[q + 1]; ++j) sum += double(best[std::size_t(j)]);
            scores[q] = float(sum);
        }
    });
}

void row_estimates(const ByteRows& rows, std::size_t dim, const Documents& documents, const float* vectors,
                   std::size_t count, unsigned threads, float* out, float* errors) {
    const RowKernels& k = kernels().rows;
    const std::size_t lanes = panels_of(count) * panel_lanes;
    const ByteQuery query = in_bytes(vectors, count, dim, lanes);
    constexpr float none = -std::numeric_limits<float>::infinity();
    // By Cauchy and Schwarz, what a query row leaves over moves a product by at most its length times the row's. And the
    // roundings of floats here and in row_scan.
    const double roundings = double(dim + 2 * count + 16) / (1 << 24);
    const double error = (query.left + roundings * (query.length + query.left)) * (1 + 1e-6);
    parallel(documents.count, threads, [&](std::size_t c) {
        const std::int64_t from = documents.offsets[documents.chosen[c]], to = documents.offsets[documents.chosen[c] + 1];
        const std::size_t n = std::size_t(to - from);
        if (c + 1 < documents.count) fetch(rows, documents.offsets, documents.chosen[c + 1]);
        std::vector<float> best(lanes, none);
        float longest = 0;
        k.max_quads(rows.from(std::size_t(from)), n, dim, query.quads.data(), lanes, best.data(), &longest);
        float sum = n ? 0 : none;
        for (std::size_t j = 0; n && j < count; ++j) sum += query.steps[j] * best[j];
        out[c] = sum;
        errors[c] = float(error * std::sqrt(double(longest)) * (1 + 1e-6));
    });
}

void row_products(const StoredRows& rows, std::size_t n, const float* query, std::size_t count, float* out) {
    const RowKernels& kernel = kernels().rows;
    const std::size_t panels = panels_of(count), lanes = panels * panel_lanes;
    const std::vector<float> asked = across(query, count, rows.dim);
    std::vector<float> products(std::min(n, scored_together) * lanes);
    for (std::size_t row = 0; row < n; row += scored_together) {
        const std::size_t some = std::min(n - row, scored_together);
        kernel.products(rows, row, some, asked.data(), panels, products.data());
        for (std::size_t r = 0; r < some; ++r)
            std::copy_n(products.data() + r * lanes, count, out + (row + r) * count);
    }
}

void best_rows(const StoredRows& rows, std::size_t n, const bool* allowed, const float* query, std::size_t count,
               std::size_t k, unsigned threads, float* scores, std::int64_t* places) {
    const std::vector<float> asked = across(query, count, rows.dim);
    // A range for each thread; fewer where what all of them keep would take more than some 100 MB.
    const std::size_t room = std::max<std::size_t>(1, (std::size_t(1) << 23) / ((2 * k + 1024) * std::max<std::size_t>(count, 1)));
    const std::size_t ranges = std::min<std::size_t>({std::max(1u, threads), room, n / scored_together + 1});
    std::vector<std::vector<Best>> found(ranges, std::vector<Best>(count));
    parallel(ranges, threads, [&](std::size_t range) {
        find_best(rows, range * n / ranges, (range + 1) * n / ranges, allowed, asked, k, found[range]);
    });
    for (std::size_t j = 0; j < count; ++j) {
        Best& all = found[0][j];
        for (std::size_t range = 1; range < ranges; ++range) {
            const std::vector<Found>& more = found[range][j].kept;
            all.kept.insert(all.kept.end(), more.begin(), more.end());
        }
        all.shrink(k);
        std::sort(all.kept.begin(), all.kept.end(), better);
        for (std::size_t i = 0; i < k; ++i) {
            const bool there = i < all.kept.size();
            scores[j * k + i] = there ? all.kept[i].score : -std::numeric_limits<float>::infinity();
            places[j * k + i] = there ? all.kept[i].place : -1;
        }
    }
}
