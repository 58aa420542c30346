// Sums of best matches over lists of small vectors, a window of documents after the other.
#include "coil_lists.h"

#include <algorithm>
#include <limits>

#include "dispatch.h"
#include "parallel.h"

namespace {

constexpr std::size_t window_documents = 1 << 16;
constexpr std::size_t block = 256;
constexpr float none = -std::numeric_limits<float>::infinity();

// Adds the best product of each document of one run to its score. `count`: documents of the window; a damaged file may
// name others.
void add_run(const NativeCoilLists& lists, std::size_t run, float factor, const std::int16_t* query, std::size_t count,
             float* scores) {
    const ByteKernels& k = kernels().bytes;
    std::int32_t products[block];
    std::size_t open = window_documents;
    std::int32_t best = 0;
    float before = 0;
    const std::size_t last = std::size_t(lists.starts[run + 1]);
    for (std::size_t first = std::size_t(lists.starts[run]); first < last; first += block) {
        const std::size_t n = std::min(block, last - first);
        k.dots(lists.codes + first * lists.dim, n, lists.dim, query, products);
        // Where a document ends is hard to foretell, so its score is written with every occurrence, without a branch.
        for (std::size_t j = 0; j < n; ++j) {
            const std::size_t document = lists.offsets[first + j];
            if (document >= count) continue;
            const bool same = document == open;
            const float held = scores[document];
            before = same ? before : std::max(held, 0.0f);
            best = std::max(products[j], same ? best : 0);
            scores[document] = before + factor * float(best);
            open = document;
        }
    }
}

}  // namespace

void coil_list_scan(const NativeCoilLists& lists, const CoilQuery& query, unsigned threads, float* scores) {
    const std::size_t windows = (lists.documents + window_documents - 1) / window_documents;
    parallel(windows, threads, [&](std::size_t w) {
        const std::size_t first = w * window_documents, count = std::min(window_documents, lists.documents - first);
        std::fill_n(scores + first, count, none);
        for (std::size_t i = 0; i < query.rows; ++i) {
            const std::uint32_t* from = lists.windows + lists.term_runs[query.terms[i]];
            const std::uint32_t* to = lists.windows + lists.term_runs[query.terms[i] + 1];
            const std::uint32_t* at = std::lower_bound(from, to, std::uint32_t(w));
            if (at == to || *at != w) continue;
            const std::size_t run = std::size_t(at - lists.windows);
            add_run(lists, run, query.factors[i], query.vectors + i * lists.dim, count, scores + first);
        }
    });
}

void byte_products(const std::int8_t* codes, const float* scales, std::size_t n, std::size_t dim,
                   const std::int16_t* query, float factor, unsigned threads, float* out) {
    const ByteKernels& k = kernels().bytes;
    parallel((n + block - 1) / block, threads, [&](std::size_t b) {
        std::int32_t products[block];
        const std::size_t first = b * block, count = std::min(block, n - first);
        k.dots(codes + first * dim, count, dim, query, products);
        for (std::size_t r = 0; r < count; ++r) out[first + r] = factor * scales[first + r] * float(products[r]);
    });
}
