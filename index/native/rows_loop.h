#pragma once
#include "kernels.h"

// MaxSim of stored rows with the query across the lanes: a tile of rows is widened to floats once, then every value
// is broadcast against all query rows. No horizontal sums, and any number of dimensions. And products of few query rows
// with many columns, which a BLAS spreads over threads that then wait for each other longer than they work.
namespace {

// A file that includes this names the vectors of its instruction set, Lanes (floats) and Ints (32 bits), as wide as each
// other; tile_rows and quad_rows, chosen so that tile_rows and 2 * quad_rows accumulators stay in registers; and for
// products of bytes, four in each lane of an Ints: Quads, query_quads(ints), row_quads(ints) and dot_quads(sum, row, query),
// where a row's sums begin with the start that squares_of(row, dim, &start) finds beside the sum of its squares.
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

// best = max(best, products of `quad_rows` rows with query rows [0, N * width), each times its row's scale).
template <unsigned N>
void max_quad_tile(const std::int8_t* const* rows, const float* scales, std::size_t quads, const std::int32_t* query,
                   const std::int32_t* starts, std::size_t lanes, float* best) {
    Ints sums[quad_rows][N];
    for (std::size_t r = 0; r < quad_rows; ++r)
        for (unsigned v = 0; v < N; ++v) sums[r][v] = Ints{} + starts[r];
    for (std::size_t p = 0; p < quads; ++p) {
        Quads q[N];
        for (unsigned v = 0; v < N; ++v) {
            Ints lane;
            __builtin_memcpy(&lane, query + p * lanes + v * width, sizeof lane);
            q[v] = query_quads(lane);
        }
        for (std::size_t r = 0; r < quad_rows; ++r) {
            std::int32_t quad;
            __builtin_memcpy(&quad, rows[r] + 4 * p, sizeof quad);
            const Quads row = row_quads(Ints{} + quad);
            for (unsigned v = 0; v < N; ++v) sums[r][v] = dot_quads(sums[r][v], row, q[v]);
        }
    }
    for (unsigned v = 0; v < N; ++v) {
        Lanes most;
        __builtin_memcpy(&most, best + v * width, sizeof most);
        for (std::size_t r = 0; r < quad_rows; ++r) {
            const Lanes found = __builtin_convertvector(sums[r][v], Lanes) * scales[r];
            most = found > most ? found : most;
        }
        __builtin_memcpy(best + v * width, &most, sizeof most);
    }
}

// The last tile repeats its last row. Rows are read in place, but for those that end inside of four bytes.
void max_quads(const ByteRows& rows, std::size_t n, std::size_t dim, const std::int32_t* query,
               std::size_t lanes, float* best, float* longest) {
    std::int8_t filled[quad_rows][most_dim + 3];
    const std::int8_t* tile[quad_rows];
    float scales[quad_rows];
    std::int32_t starts[quad_rows];
    const std::size_t quads = (dim + 3) / 4;
    for (std::size_t row = 0; row < n; row += quad_rows) {
        for (std::size_t r = 0; r < quad_rows; ++r) {
            const std::size_t at = row + r < n ? row + r : n - 1;
            tile[r] = rows.values + at * rows.stride, scales[r] = rows.scale(at);
            const float length = scales[r] * scales[r] * float(squares_of(tile[r], dim, &starts[r]));
            *longest = length > *longest ? length : *longest;
            if (dim % 4 == 0) continue;
            __builtin_memcpy(filled[r], tile[r], dim);
            __builtin_memset(filled[r] + dim, 0, 3);
            tile[r] = filled[r];
        }
        std::size_t j = 0;
        for (; j + 2 * width <= lanes; j += 2 * width)
            max_quad_tile<2>(tile, scales, quads, query + j, starts, lanes, best + j);
        if (j < lanes) max_quad_tile<1>(tile, scales, quads, query + j, starts, lanes, best + j);
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

// Eight sums, each of every eighth dimension, whatever the width of a vector.
double dot(const float* row, const float* query, std::size_t dim) {
    typedef double Sums __attribute__((vector_size(64)));
    typedef float Eight __attribute__((vector_size(32)));
    Sums sums = {};
    std::size_t d = 0;
    for (; d + 8 <= dim; d += 8) {
        Eight a, b;
        __builtin_memcpy(&a, row + d, sizeof a);
        __builtin_memcpy(&b, query + d, sizeof b);
        sums += __builtin_convertvector(a, Sums) * __builtin_convertvector(b, Sums);
    }
    for (std::size_t left = 0; d < dim; ++d, ++left) sums[left] += double(row[d]) * double(query[d]);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

}  // namespace
