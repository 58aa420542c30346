// Exact scores of contextualised exact match (COIL), and of global vectors: chosen documents, read where they lie.
#include "same_id.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "dispatch.h"

namespace {

constexpr std::size_t together = 16;  // documents whose rows are asked of the memory before the first is multiplied
constexpr std::size_t line = 64;

void fetch(const void* from, std::size_t size) {
    for (std::size_t at = 0; at < size; at += line) __builtin_prefetch(static_cast<const char*>(from) + at);
}

// A query's ids in rising order, behind a bit for each value of their lower bits: most tokens are told apart by those.
class Asked {
  public:
    explicit Asked(const KeyedQuery& query) : bits_((mask + 1) / 64), order_(query.rows), ids_(query.rows) {
        std::iota(order_.begin(), order_.end(), std::size_t(0));
        std::stable_sort(order_.begin(), order_.end(),
                         [&](std::size_t a, std::size_t b) { return query.ids[a] < query.ids[b]; });
        for (std::size_t i = 0; i < query.rows; ++i) ids_[i] = query.ids[order_[i]];
        for (const std::uint32_t id : ids_) bits_[(id & mask) / 64] |= 1ull << (id % 64);
    }

    bool perhaps(std::uint32_t id) const { return bits_[(id & mask) / 64] >> (id % 64) & 1; }

    // Calls each(i) for the query rows with this id.
    template <class Each>
    void rows_of(std::uint32_t id, const Each& each) const {
        std::size_t at = std::size_t(std::lower_bound(ids_.begin(), ids_.end(), id) - ids_.begin());
        for (; at < ids_.size() && ids_[at] == id; ++at) each(order_[at]);
    }

  private:
    static constexpr std::uint32_t mask = (1 << 15) - 1;
    std::vector<std::uint64_t> bits_;
    std::vector<std::size_t> order_;
    std::vector<std::uint32_t> ids_;
};

// One row as floats: where it lies, or written to `room`.
const float* as_floats(const KeyedRows& rows, std::size_t row, float* room) {
    if (rows.floats) return rows.floats + row * rows.dim;
    if (rows.halves) {
        kernels().ragged.widen(rows.halves + row * rows.dim, rows.dim, room);
        return room;
    }
    const std::int8_t* from = rows.bytes.values + row * rows.bytes.stride;
    const float scale = rows.bytes.scale(row);
    for (std::size_t d = 0; d < rows.dim; ++d) room[d] = scale * float(from[d]);
    return room;
}

void fetch_row(const KeyedRows& rows, std::size_t row) {
    if (rows.floats) fetch(rows.floats + row * rows.dim, rows.dim * sizeof(float));
    else if (rows.halves) fetch(rows.halves + row * rows.dim, rows.dim * sizeof(std::uint16_t));
    else fetch(rows.bytes.values + row * rows.bytes.stride, rows.bytes.stride);
}

struct Hit {
    std::size_t document, row;
};

}  // namespace

void same_id_scan(const KeyedRows& rows, const std::int64_t* offsets, const std::int64_t* documents, std::size_t count,
                  const KeyedQuery& query, double* scores, double* products, std::int64_t* tokens) {
    const RowKernels& k = kernels().rows;
    const Asked asked(query);
    std::vector<Hit> hits;
    std::vector<float> room(rows.dim);
    const auto first_of = [&](std::size_t c) { return std::size_t(offsets[documents[c]]); };
    const auto last_of = [&](std::size_t c) { return std::size_t(offsets[documents[c] + 1]); };
    const auto fetch_ids = [&](std::size_t from, std::size_t to) {
        for (std::size_t c = from; c < std::min(to, count); ++c)
            fetch(rows.ids + first_of(c), (last_of(c) - first_of(c)) * sizeof(std::uint32_t));
    };
    std::fill_n(products, count * query.rows, 0.0);
    std::fill_n(tokens, count * query.rows, std::int64_t(-1));
    fetch_ids(0, together);
    for (std::size_t start = 0; start < count; start += together) {
        const std::size_t end = std::min(count, start + together);
        std::size_t found = 0;
        for (std::size_t c = start; c < end; ++c) {
            const std::size_t last = last_of(c), before = found;
            if (hits.size() < found + last - first_of(c)) hits.resize(found + last - first_of(c));
            for (std::size_t row = first_of(c); row < last; ++row) {
                hits[found] = {c, row};
                found += asked.perhaps(rows.ids[row]);
            }
            for (std::size_t h = before; h < found; ++h) fetch_row(rows, hits[h].row);
        }
        fetch_ids(end, end + together);
        for (std::size_t h = 0; h < found; ++h) {
            const Hit hit = hits[h];
            const float* vector = nullptr;
            asked.rows_of(rows.ids[hit.row], [&](std::size_t i) {
                if (!vector) vector = as_floats(rows, hit.row, room.data());
                const double product = k.dot(vector, query.vectors + i * rows.dim, rows.dim);
                const std::size_t cell = hit.document * query.rows + i;
                if (tokens[cell] >= 0 && product <= products[cell]) return;
                products[cell] = product;
                tokens[cell] = std::int64_t(hit.row - first_of(hit.document));
            });
        }
        for (std::size_t c = start; c < end; ++c) {
            double sum = 0;
            for (std::size_t i = 0; i < query.rows; ++i) sum += std::max(products[c * query.rows + i], 0.0);
            scores[c] = sum;
        }
    }
}

void half_products(const std::uint16_t* rows, std::size_t dim, const std::int64_t* places, std::size_t count,
                   const float* query, double* out) {
    const Kernels& k = kernels();
    std::vector<float> room(dim);
    const auto row_of = [&](std::size_t c) { return rows + std::size_t(places[c]) * dim; };
    for (std::size_t c = 0; c < count; ++c) {
        if (c + 1 < count) fetch(row_of(c + 1), dim * sizeof(std::uint16_t));
        k.ragged.widen(row_of(c), dim, room.data());
        out[c] = k.rows.dot(room.data(), query, dim);
    }
}
