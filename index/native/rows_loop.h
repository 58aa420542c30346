#pragma once
#include "kernels.h"

// Products of stored rows with the query across the lanes: a tile of rows is widened to floats once, then every value is
// broadcast against all query rows. No horizontal sums, and any number of dimensions. And products of few query rows with
// many columns, which a BLAS spreads over threads that then wait for each other longer than they work.
namespace {

// A file that includes this names the vectors of its instruction set, Lanes (floats) and Ints (32 bits), as wide as each
// other; fused(a, b, sum), a * b + sum rounded once; tile_rows and quad_rows, chosen so that tile_rows and 2 * quad_rows
// accumulators stay in registers; and for products of bytes, four in each lane of an Ints: Quads, query_quads(ints),
// row_quads(ints) and dot_quads(sum, row, query), where a row's sums begin with the start that squares_of(row, dim,
// &start) finds beside the sum of its squares; and lanes_set(ints), a bit for each lane that is not zero but all ones.
// Nothing else here may be contracted to fused multiply-adds (the build says so).
constexpr std::size_t width = sizeof(Lanes) / sizeof(float);

Lanes load_lanes(const float* from) {
    Lanes to;
    __builtin_memcpy(&to, from, sizeof to);
    return to;
}

// A value in every lane. Taking zero off changes no bit, and compilers know it.
Lanes spread(float value) { return value - Lanes{}; }

// Products of `tile_rows` float rows with lanes [0, width) of a panel.
void tile_products(const float* tile, std::size_t dim, const float* panel, Lanes sums[tile_rows]) {
    Lanes found[tile_rows] = {};
    for (std::size_t d = 0; d < dim; ++d) {
        const Lanes q = load_lanes(panel + d * panel_lanes);
        for (std::size_t r = 0; r < tile_rows; ++r) found[r] = fused(spread(tile[r * dim + d]), q, found[r]);
    }
    for (std::size_t r = 0; r < tile_rows; ++r) sums[r] = found[r];
}

// Eight sums, each of every eighth dimension, whatever the width of a vector.
double dot(const float* row, const float* query, std::size_t dim) {
    typedef float Eight __attribute__((vector_size(32)));
    typedef double Sums __attribute__((vector_size(64)));
    typedef double Four __attribute__((vector_size(32)));
    typedef double Two __attribute__((vector_size(16)));
    Sums sums = {};
    std::size_t d = 0;
    for (; d + 8 <= dim; d += 8) {
        Eight a, b;
        __builtin_memcpy(&a, row + d, sizeof a);
        __builtin_memcpy(&b, query + d, sizeof b);
        sums += __builtin_convertvector(a, Sums) * __builtin_convertvector(b, Sums);
    }
    for (std::size_t left = 0; d < dim; ++d, ++left) sums[left] += double(row[d]) * double(query[d]);
    Four half[2];
    __builtin_memcpy(half, &sums, sizeof sums);
    half[0] += half[1];
    Two quarter[2];
    __builtin_memcpy(quarter, half, sizeof quarter);
    quarter[0] += quarter[1];
    return quarter[0][0] + quarter[0][1];
}

double dot_half(const std::uint16_t* row, const float* query, std::size_t dim) {
    float room[most_dim];
    widen_row(row, dim, room);
    return dot(room, query, dim);
}

void widen_bytes(const StoredRows& rows, std::size_t row, float* to) {
    const float scale = rows.bytes.scale(row);
    const std::int8_t* from = rows.bytes.values + row * rows.bytes.stride;
    for (std::size_t d = 0; d < rows.dim; ++d) to[d] = scale * float(from[d]);
}

// `known`: the width where the compiler is to know it, or 0.
template <std::size_t known>
void look_up(const StoredRows& rows, std::size_t row, float* to) {
    const std::size_t w = known ? known : rows.dim / rows.subs;
    const std::uint8_t* codes = rows.codes + row * rows.subs;
    const float* centroids = rows.centroids;
    for (std::size_t m = 0; m < rows.subs; ++m, centroids += 256 * w, to += w)
        __builtin_memcpy(to, centroids + codes[m] * w, w * sizeof(float));
}

template <std::size_t per>
void unit_along(const StoredRows& rows, std::size_t row, float* to) {
    const std::size_t dim = rows.dim;
    const std::uint8_t* codes = rows.codes + row * (4 + dim / per);
    std::uint32_t number;
    __builtin_memcpy(&number, codes, sizeof number);
    const float* centroid = rows.centroids + std::size_t(number) * dim;
    codes += sizeof number;
    for (std::size_t d = 0; d < dim; d += per, ++codes)
        for (std::size_t i = 0; i < per; ++i) to[d + i] = centroid[d + i] + rows.residuals[*codes * per + i];
    const double square = dot(to, to, dim);
    const float factor = square > 0 ? float(1 / __builtin_sqrt(square)) : 0;
    for (std::size_t d = 0; d < dim; ++d) to[d] *= factor;
}

// Calls use(fill), where fill(row, to) writes what one row stands for.
template <class Use>
void with_fill(const StoredRows& rows, const Use& use) {
    const auto by = [&](void (*fill)(const StoredRows&, std::size_t, float*)) {
        use([&rows, fill](std::size_t row, float* to) { fill(rows, row, to); });
    };
    if (rows.floats)
        use([&](std::size_t row, float* to) {
            __builtin_memcpy(to, rows.floats + row * rows.dim, rows.dim * sizeof(float));
        });
    else if (rows.halves)
        use([&](std::size_t row, float* to) { widen_row(rows.halves + row * rows.dim, rows.dim, to); });
    else if (rows.residuals) by(rows.per == 2 ? unit_along<2> : rows.per == 4 ? unit_along<4> : unit_along<8>);
    else if (rows.codes) by(rows.dim == 2 * rows.subs ? look_up<2> : rows.dim == 4 * rows.subs ? look_up<4> : look_up<0>);
    else by(widen_bytes);
}

void widen(const StoredRows& rows, std::size_t first, std::size_t n, float* to) {
    with_fill(rows, [&](const auto& fill) {
        for (std::size_t r = 0; r < n; ++r) fill(first + r, to + r * rows.dim);
    });
}

// Calls each(row, lane, sums) for all tiles of rows and lanes. The last tile repeats its last row.
template <class Each>
void all_products(const StoredRows& rows, std::size_t first, std::size_t n, const float* query, std::size_t panels,
                  const Each& each) {
    float tile[tile_rows * most_dim];
    with_fill(rows, [&](const auto& fill) {
        for (std::size_t row = 0; row < n; row += tile_rows) {
            for (std::size_t r = 0; r < tile_rows; ++r)
                fill(first + (row + r < n ? row + r : n - 1), tile + r * rows.dim);
            for (std::size_t p = 0; p < panels; ++p)
                for (std::size_t v = 0; v < panel_lanes; v += width) {
                    Lanes sums[tile_rows];
                    tile_products(tile, rows.dim, query + p * rows.dim * panel_lanes + v, sums);
                    each(row, p * panel_lanes + v, sums);
                }
        }
    });
}

// A maximum does not mind repeated rows.
void most(const StoredRows& rows, std::size_t first, std::size_t n, const float* query, std::size_t panels, float* best) {
    all_products(rows, first, n, query, panels, [&](std::size_t, std::size_t lane, const Lanes* sums) {
        Lanes most = load_lanes(best + lane);
        for (std::size_t r = 0; r < tile_rows; ++r) most = sums[r] > most ? sums[r] : most;
        __builtin_memcpy(best + lane, &most, sizeof most);
    });
}

void products(const StoredRows& rows, std::size_t first, std::size_t n, const float* query, std::size_t panels,
              float* out) {
    all_products(rows, first, n, query, panels, [&](std::size_t row, std::size_t lane, const Lanes* sums) {
        float* to = out + row * panels * panel_lanes + lane;
        for (std::size_t r = 0; r < tile_rows && row + r < n; ++r, to += panels * panel_lanes)
            __builtin_memcpy(to, &sums[r], sizeof sums[r]);
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
        const Lanes a = load_lanes(panel + d * panel_columns), b = load_lanes(panel + d * panel_columns + width);
        for (unsigned r = 0; r < 4; ++r) {
            const Lanes q = spread(query[r][d]);
            left[r] = fused(q, a, left[r]);
            right[r] = fused(q, b, right[r]);
        }
    }
    for (unsigned r = 0; r < 4; ++r) {
        __builtin_memcpy(out[r], &left[r], sizeof left[r]);
        __builtin_memcpy(out[r] + width, &right[r], sizeof right[r]);
    }
}

// Some rows at a time meet all panels, so that both stay in the cache.
void multiply(const float* query, std::size_t rows, std::size_t dim, const float* panels, std::size_t columns,
              float* out) {
    constexpr std::size_t together = 32;
    for (std::size_t start = 0; start < rows; start += together) {
        const std::size_t end = rows - start < together ? rows : start + together;
        const float* panel = panels;
        for (std::size_t first = 0; first < columns; first += panel_columns, panel += dim * panel_columns) {
            const std::size_t count = columns - first < panel_columns ? columns - first : panel_columns;
            for (std::size_t row = start; row < end; row += 4) {
                float found[4][panel_columns];
                const float* from[4];
                for (std::size_t r = 0; r < 4; ++r) from[r] = query + (row + r < end ? row + r : end - 1) * dim;
                for (std::size_t c = 0; c < panel_columns; c += 2 * width) {
                    float* const to[4] = {found[0] + c, found[1] + c, found[2] + c, found[3] + c};
                    multiply_tile(from, dim, panel + c, to);
                }
                for (std::size_t r = 0; r < 4 && row + r < end; ++r)
                    __builtin_memcpy(out + (row + r) * columns + first, found[r], count * sizeof(float));
            }
        }
    }
}

// The places from `first` on of asked ids among the `there` of a vector.
std::size_t find_in(const std::uint32_t* ids, std::size_t there, const std::uint32_t* asked, std::size_t count,
                    std::size_t first, std::uint32_t* places) {
    Ints block = {}, hit = {};
    if (there == width) __builtin_memcpy(&block, ids, sizeof block);
    else for (std::size_t j = 0; j < there; ++j) block[j] = std::int32_t(ids[j]);
    for (std::size_t a = 0; a < count; ++a) hit |= block == Ints{} + std::int32_t(asked[a]);
    std::size_t found = 0;
    for (unsigned bits = lanes_set(hit) & ((1u << there) - 1); bits; bits &= bits - 1)
        places[found++] = std::uint32_t(first) + unsigned(__builtin_ctz(bits));
    return found;
}

std::size_t find_ids(const std::uint32_t* ids, std::size_t n, const std::uint32_t* asked, std::size_t count,
                     std::uint32_t* places) {
    std::size_t found = 0, j = 0;
    for (; j + width <= n; j += width) found += find_in(ids + j, width, asked, count, j, places + found);
    if (j < n) found += find_in(ids + j, n - j, asked, count, j, places + found);
    return found;
}

}  // namespace
