// Exact scores of contextualised exact match (COIL), and of global vectors: chosen documents, read where they lie.
#include "coil.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "dispatch.h"

namespace {

constexpr std::size_t together = 16;  // documents whose rows are asked of the memory before the first is multiplied
constexpr std::size_t line = 64;

void fetch(const void* from, std::size_t size) {
    for (std::size_t at = 0; at < size; at += line) __builtin_prefetch(static_cast<const char*>(from) + at);
}

// A query's rows by id, to be looked up by its lower bits.
class Asked {
  public:
    explicit Asked(const KeyedQuery& query) : order_(query.rows), first_(mask + 1) {
        std::iota(order_.begin(), order_.end(), std::size_t(0));
        std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
            return (query.ids[a] & mask) < (query.ids[b] & mask);
        });
        for (std::size_t at = query.rows; at-- > 0;) first_[query.ids[order_[at]] & mask] = std::uint32_t(at);
        for (const std::size_t i : order_) ids_.push_back(query.ids[i]);
        distinct_ = ids_;
        std::sort(distinct_.begin(), distinct_.end());
        distinct_.erase(std::unique(distinct_.begin(), distinct_.end()), distinct_.end());
    }

    const std::vector<std::uint32_t>& distinct() const { return distinct_; }

    // Calls each(i) for the query rows with this id, which is one of them.
    template <class Each>
    void rows_of(std::uint32_t id, const Each& each) const {
        for (std::size_t at = first_[id & mask]; at < ids_.size() && (ids_[at] & mask) == (id & mask); ++at)
            if (ids_[at] == id) each(order_[at]);
    }

  private:
    static constexpr std::uint32_t mask = (1 << 12) - 1;
    std::vector<std::size_t> order_;
    std::vector<std::uint32_t> first_, ids_, distinct_;
};

double product(const KeyedRows& rows, std::size_t row, const float* query, float* room) {
    const RowKernels& k = kernels().rows;
    if (rows.floats) return k.dot(rows.floats + row * rows.dim, query, rows.dim);
    if (rows.halves) return k.dot_half(rows.halves + row * rows.dim, query, rows.dim);
    const std::int8_t* from = rows.bytes.values + row * rows.bytes.stride;
    const float scale = rows.bytes.scale(row);
    for (std::size_t d = 0; d < rows.dim; ++d) room[d] = scale * float(from[d]);
    return k.dot(room, query, rows.dim);
}

void fetch_row(const KeyedRows& rows, std::size_t row) {
    if (rows.floats) fetch(rows.floats + row * rows.dim, rows.dim * sizeof(float));
    else if (rows.halves) fetch(rows.halves + row * rows.dim, rows.dim * sizeof(std::uint16_t));
    else fetch(rows.bytes.values + row * rows.bytes.stride, rows.bytes.stride);
}

struct Best {
    double product = 0;
    std::int64_t token = -1;
};

struct Hit {
    std::size_t document, row;
};

}  // namespace

void coil_scan(const KeyedRows& rows, const std::int64_t* offsets, const std::int64_t* documents, std::size_t count,
                  const KeyedQuery& query, double* scores, double* products, std::int64_t* tokens) {
    const RowKernels& k = kernels().rows;
    const Asked asked(query);
    std::vector<Hit> hits;
    std::vector<std::uint32_t> places;
    std::vector<float> room(rows.dim);
    const auto first_of = [&](std::size_t c) { return std::size_t(offsets[documents[c]]); };
    const auto last_of = [&](std::size_t c) { return std::size_t(offsets[documents[c] + 1]); };
    const auto fetch_ids = [&](std::size_t from, std::size_t to) {
        for (std::size_t c = from; c < std::min(to, count); ++c)
            fetch(rows.ids + first_of(c), (last_of(c) - first_of(c)) * sizeof(std::uint32_t));
    };
    std::vector<Best> best(together * query.rows);
    fetch_ids(0, together);
    for (std::size_t start = 0; start < count; start += together) {
        const std::size_t end = std::min(count, start + together);
        hits.clear();
        std::fill(best.begin(), best.end(), Best{});
        for (std::size_t c = start; c < end; ++c) {
            const std::size_t first = first_of(c), n = last_of(c) - first;
            if (places.size() < n) places.resize(n);
            const std::size_t found =
                k.find_ids(rows.ids + first, n, asked.distinct().data(), asked.distinct().size(), places.data());
            for (std::size_t h = 0; h < found; ++h) {
                hits.push_back({c, first + places[h]});
                fetch_row(rows, first + places[h]);
            }
        }
        fetch_ids(end, end + together);
        for (const Hit& hit : hits)
            asked.rows_of(rows.ids[hit.row], [&](std::size_t i) {
                const double found = product(rows, hit.row, query.vectors + i * rows.dim, room.data());
                Best& so_far = best[(hit.document - start) * query.rows + i];
                if (so_far.token < 0 || found > so_far.product)
                    so_far = {found, std::int64_t(hit.row - first_of(hit.document))};
            });
        for (std::size_t c = start; c < end; ++c) {
            double sum = 0;
            bool met = false;
            for (std::size_t i = 0; i < query.rows; ++i) {
                const Best& of = best[(c - start) * query.rows + i];
                sum += std::max(of.product, 0.0), met |= of.token >= 0;
                if (products) products[c * query.rows + i] = of.product;
                if (tokens) tokens[c * query.rows + i] = of.token;
            }
            scores[c] = met ? sum : -std::numeric_limits<double>::infinity();
        }
    }
}

void half_products(const std::uint16_t* rows, std::size_t dim, const std::int64_t* places, std::size_t count,
                   const float* query, double* out) {
    const RowKernels& k = kernels().rows;
    const auto row_of = [&](std::size_t c) { return rows + std::size_t(places[c]) * dim; };
    for (std::size_t c = 0; c < count; ++c) {
        if (c + 1 < count) fetch(row_of(c + 1), dim * sizeof(std::uint16_t));
        out[c] = k.dot_half(row_of(c), query, dim);
    }
}
