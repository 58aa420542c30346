#pragma once
#include "kernels.h"

// MaxSim of stored rows with the query across the lanes: a tile of rows is widened to floats once, then every value
// is broadcast against all query rows. No horizontal sums, and any number of dimensions. And products of few query rows
// with many columns, which a BLAS spreads over threads that then wait for each other longer than they work.
namespace {

// A file that includes this names the vectors of its instruction set, Lanes (floats) and Ints (32 bits), as wide as each
// other; tile_rows, chosen so that tile_rows accumulators stay in registers; and dot_pairs(sum, a, b): in every lane,
// sum + a.low * b.low + a.high * b.high of 16-bit halves.
constexpr std::size_t width = sizeof(Lanes) / sizeof(float);

// best = max(best, products of `tile_rows` float rows with query rows [0, width)).
void max_tile(const float* tile, std::size_t dim, const float* query, std::size_t lanes, float* best) {
    Lanes sums[tile_rows] = {};
    for (std::size_t d = 0; d < dim; ++d) {
        Lanes q;
        __builtin_memcpy(&q, query + d * lanes, sizeof q);
        for (std::size_t r = 0; r < tile_rows; ++r) sums[r] += tile[r * dim + d] * q;
    }
    Lanes most;
    __builtin_memcpy(&most, best, sizeof most);
    for (std::size_t r = 0; r < tile_rows; ++r) most = sums[r] > most ? sums[r] : most;
    __builtin_memcpy(best, &most, sizeof most);
}

// `fill(row, to)` writes one row as floats. The last tile repeats its last row: a maximum does not mind.
template <class Fill>
void max_rows(std::size_t n, std::size_t dim, const float* query, std::size_t lanes, float* best, const Fill& fill) {
    float tile[tile_rows * most_dim];
    for (std::size_t row = 0; row < n; row += tile_rows) {
        for (std::size_t r = 0; r < tile_rows; ++r) fill(row + r < n ? row + r : n - 1, tile + r * dim);
        for (std::size_t j = 0; j < lanes; j += width) max_tile(tile, dim, query + j, lanes, best + j);
    }
}

void max_half(const std::uint16_t* rows, std::size_t n, std::size_t dim, const float* query, std::size_t lanes,
              float* best) {
    max_rows(n, dim, query, lanes, best, [&](std::size_t row, float* to) { widen_row(rows + row * dim, dim, to); });
}

void max_byte(const ByteRows& rows, std::size_t n, std::size_t dim, const float* query, std::size_t lanes,
              float* best) {
    max_rows(n, dim, query, lanes, best, [&](std::size_t row, float* to) {
        const float scale = rows.scale(row);
        const std::int8_t* from = rows.values + row * rows.stride;
        for (std::size_t d = 0; d < dim; ++d) to[d] = scale * float(from[d]);
    });
}

// The floats that codes stand for. `known`: the width where the compiler is to know it, or 0.
template <std::size_t known>
void look_up(const std::uint8_t* codes, std::size_t subs, std::size_t width, const float* centroids, float* to) {
    const std::size_t w = known ? known : width;
    for (std::size_t m = 0; m < subs; ++m, centroids += 256 * w, to += w)
        __builtin_memcpy(to, centroids + codes[m] * w, w * sizeof(float));
}

void max_product(const std::uint8_t* rows, std::size_t n, std::size_t subs, std::size_t width, const float* centroids,
                 const float* query, std::size_t lanes, float* best) {
    const auto fill = width == 2 ? look_up<2> : width == 4 ? look_up<4> : look_up<0>;
    max_rows(n, subs * width, query, lanes, best,
             [&](std::size_t row, float* to) { fill(rows + row * subs, subs, width, centroids, to); });
}

// The unit vector along a centroid and what its residual codes add, `per` dimensions a byte.
template <std::size_t per>
void unit_along(const std::uint8_t* codes, std::size_t dim, const float* centroid, const float* residuals, float* to) {
    for (std::size_t d = 0; d < dim; d += per, ++codes)
        for (std::size_t i = 0; i < per; ++i) to[d + i] = centroid[d + i] + residuals[*codes * per + i];
    // In double: sums of floats in order would differ from any other sum by more than a score may.
    double square = 0;
    for (std::size_t d = 0; d < dim; ++d) square += double(to[d]) * to[d];
    const float factor = square > 0 ? float(1 / __builtin_sqrt(square)) : 0;
    for (std::size_t d = 0; d < dim; ++d) to[d] *= factor;
}

void max_residual(const std::uint8_t* rows, std::size_t n, std::size_t dim, std::size_t per, const float* centroids,
                  const float* residuals, const float* query, std::size_t lanes, float* best) {
    const auto fill = per == 2 ? unit_along<2> : per == 4 ? unit_along<4> : unit_along<8>;
    max_rows(n, dim, query, lanes, best, [&](std::size_t row, float* to) {
        const std::uint8_t* record = rows + row * (4 + dim / per);
        std::uint32_t number;
        __builtin_memcpy(&number, record, sizeof number);
        fill(record + 4, dim, centroids + std::size_t(number) * dim, residuals, to);
    });
}

// best = max(best, products of `tile_rows` rows with query rows [0, width), each times its row's scale).
void max_pair_tile(const std::int32_t* tile, const float* scales, std::size_t pairs, const std::int32_t* query,
                   std::size_t lanes, float* best) {
    Ints sums[tile_rows] = {};
    for (std::size_t p = 0; p < pairs; ++p) {
        Ints q;
        __builtin_memcpy(&q, query + p * lanes, sizeof q);
        for (std::size_t r = 0; r < tile_rows; ++r) sums[r] = dot_pairs(sums[r], Ints{} + tile[r * pairs + p], q);
    }
    Lanes most;
    __builtin_memcpy(&most, best, sizeof most);
    for (std::size_t r = 0; r < tile_rows; ++r) {
        const Lanes found = __builtin_convertvector(sums[r], Lanes) * scales[r];
        most = found > most ? found : most;
    }
    __builtin_memcpy(best, &most, sizeof most);
}

void max_pairs(const ByteRows& rows, std::size_t n, std::size_t dim, const std::int32_t* query, std::size_t lanes,
               float* best, float* largest) {
    const std::size_t pairs = (dim + 1) / 2;
    std::int32_t tile[tile_rows * most_dim / 2];
    float scales[tile_rows];
    for (std::size_t row = 0; row < n; row += tile_rows) {
        for (std::size_t r = 0; r < tile_rows; ++r) {
            const std::size_t at = row + r < n ? row + r : n - 1;
            const std::int8_t* from = rows.values + at * rows.stride;
            std::int16_t wide[most_dim + 1];
            for (std::size_t d = 0; d < dim; ++d) wide[d] = from[d];
            wide[dim] = 0;
            __builtin_memcpy(tile + r * pairs, wide, pairs * sizeof *tile);
            scales[r] = rows.scale(at);
            *largest = scales[r] > *largest ? scales[r] : *largest;
        }
        for (std::size_t j = 0; j < lanes; j += width) max_pair_tile(tile, scales, pairs, query + j, lanes, best + j);
    }
}

// Products of four query rows (the last one repeated) with 2 * width columns of a panel.
void multiply_tile(const float* const query[4], std::size_t dim, const float* panel, float* const out[4]) {
    Lanes left[4] = {}, right[4] = {};
    for (std::size_t d = 0; d < dim; ++d) {
        Lanes a, b;
        __builtin_memcpy(&a, panel + d * panel_columns, sizeof a);
        __builtin_memcpy(&b, panel + d * panel_columns + width, sizeof b);
        for (unsigned r = 0; r < 4; ++r) {
            const float q = query[r][d];
            left[r] += q * a;
            right[r] += q * b;
        }
    }
    for (unsigned r = 0; r < 4; ++r) {
        __builtin_memcpy(out[r], &left[r], sizeof left[r]);
        __builtin_memcpy(out[r] + width, &right[r], sizeof right[r]);
    }
}

void multiply(const float* query, std::size_t rows, std::size_t dim, const float* panels, std::size_t columns,
              float* out) {
    for (std::size_t first = 0; first < columns; first += panel_columns, panels += dim * panel_columns) {
        const std::size_t count = columns - first < panel_columns ? columns - first : panel_columns;
        for (std::size_t row = 0; row < rows; row += 4) {
            float found[4][panel_columns];
            const float* from[4];
            for (std::size_t r = 0; r < 4; ++r) from[r] = query + (row + r < rows ? row + r : rows - 1) * dim;
            for (std::size_t c = 0; c < panel_columns; c += 2 * width) {
                float* const to[4] = {found[0] + c, found[1] + c, found[2] + c, found[3] + c};
                multiply_tile(from, dim, panels + c, to);
            }
            for (std::size_t r = 0; r < 4 && row + r < rows; ++r)
                __builtin_memcpy(out + (row + r) * columns + first, found[r], count * sizeof(float));
        }
    }
}

}  // namespace
