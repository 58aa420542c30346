// The scan around the kernels: documents in order, query rows in passes, one task per range of documents.
#include "pq4.h"

#include <algorithm>
#include <limits>

#include "dispatch.h"
#include "parallel.h"

namespace {

constexpr std::size_t table_bytes = 16 * 1024;  // of one pass: stays in L1 beside the losses and the block
constexpr std::int64_t task_tokens = 8192;      // codes of one task stay in L2 while the passes go over them
constexpr std::size_t ahead = 2048;             // bytes between what is scored and what is fetched

// Documents [bounds[t], bounds[t + 1]) are task t.
std::vector<std::size_t> cut(const Pq4Scan& scan) {
    std::vector<std::size_t> bounds{0};
    for (std::size_t d = 1; d < scan.documents; ++d)
        if (scan.offsets[d] - scan.offsets[bounds.back()] >= task_tokens) bounds.push_back(d);
    bounds.push_back(scan.documents);
    return bounds;
}

// Adds each document's sum of losses over query rows [row, row + rows) to sums.
void pass(const Pq4Kernels& kernels, const Pq4Scan& scan, std::size_t begin, std::size_t end, std::size_t row,
          std::size_t rows, std::uint32_t* sums) {
    std::vector<std::uint16_t> memory(2 * rows * block_tokens + 32);
    const auto misfit = reinterpret_cast<std::uintptr_t>(memory.data()) % 64 / 2;
    std::uint16_t* losses = memory.data() + (misfit ? 32 - misfit : 0);
    std::uint16_t* best = losses + rows * block_tokens;
    const std::uint8_t* table = scan.table + row * scan.subs * 16;
    std::int64_t ready = -1;
    for (std::size_t d = begin; d < end; ++d) {
        if (scan.allowed && !scan.allowed[d]) continue;
        const std::int64_t from = scan.offsets[d], to = scan.offsets[d + 1];
        for (std::int64_t at = from; at < to;) {
            const std::int64_t block = at / block_tokens, start = block * block_tokens;
            const std::int64_t stop = std::min<std::int64_t>(to, start + block_tokens);
            if (block != ready) {
                const std::uint8_t* codes = scan.codes + std::size_t(start) * scan.subs / 2;
                // Hardware prefetchers stop at every page.
                for (std::size_t line = 0; line < scan.subs * 16; line += 64) __builtin_prefetch(codes + ahead + line);
                kernels.losses(codes, scan.subs, table, rows, losses);
                ready = block;
            }
            sums[d - begin] += kernels.fold(losses, rows, unsigned(at - start), unsigned(stop - start), at == from,
                                            stop == to, best);
            at = stop;
        }
    }
}

}  // namespace

float pq4_table(const float* products, std::size_t rows, std::size_t subs, std::uint8_t* losses, float* tops) {
    std::vector<float> best(rows * subs), worst(subs);
    float span = 0;
    for (std::size_t i = 0; i < rows; ++i) {
        const float* row = products + i * 16 * subs;
        float* most = best.data() + i * subs;
        std::copy(row, row + subs, most);
        std::copy(row, row + subs, worst.begin());
        for (std::size_t c = 1; c < 16; ++c)
            for (std::size_t m = 0; m < subs; ++m) {
                const float value = row[c * subs + m];
                most[m] = value > most[m] ? value : most[m];
                worst[m] = value < worst[m] ? value : worst[m];
            }
        tops[i] = 0;
        for (std::size_t g = 0; g < subs; g += 4) {
            float four = 0;
            for (std::size_t m = g; m < g + 4; ++m) four += most[m] - worst[m], tops[i] += most[m];
            span = std::max(span, four);
        }
    }
    // Four roundings may add 2 to a sum. Spans whose inverse is no float are no loss at all.
    const float scale = span > 1e-30f ? span / 253 : 1, per = 1 / scale;
    for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t c = 0; c < 16; ++c) {
            const float* row = products + (i * 16 + c) * subs;
            std::uint8_t* to = losses + i * 16 * subs + c;
            for (std::size_t m = 0; m < subs; ++m)
                to[m * 16] = std::uint8_t((best[i * subs + m] - row[m]) * per + 0.5f);
        }
    return scale;
}

void pq4_scan(const Pq4Scan& scan, unsigned threads, float* out) {
    const Pq4Kernels& k = kernels().pq4;
    const std::vector<std::size_t> bounds = cut(scan);
    const std::size_t step = std::max<std::size_t>(4, table_bytes / (scan.subs * 16));
    parallel(bounds.size() - 1, threads, [&](std::size_t task) {
        const std::size_t begin = bounds[task], end = bounds[task + 1];
        std::vector<std::uint32_t> sums(end - begin);
        for (std::size_t row = 0; row < scan.rows; row += step)
            pass(k, scan, begin, end, row, std::min(step, scan.rows - row), sums.data());
        for (std::size_t d = begin; d < end; ++d) {
            const bool none = scan.offsets[d] == scan.offsets[d + 1] || (scan.allowed && !scan.allowed[d]);
            out[d] = none ? -std::numeric_limits<float>::infinity() : scan.top - scan.scale * float(sums[d - begin]);
        }
    });
}
