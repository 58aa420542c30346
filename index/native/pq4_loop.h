#pragma once
#include "pq4.h"

// What the instruction sets share; each file that includes this compiles it with its own flags. Nothing here may be
// contracted to fused multiply-adds (the build says so), or codes would differ between machines.
namespace {

#if defined(__AVX512F__)
constexpr std::size_t lane_bytes = 64;
#elif defined(__AVX2__)
constexpr std::size_t lane_bytes = 32;
#else
constexpr std::size_t lane_bytes = 16;
#endif
typedef float Floats __attribute__((vector_size(lane_bytes)));
typedef std::int32_t Numbers __attribute__((vector_size(lane_bytes)));
constexpr std::size_t wide = lane_bytes / sizeof(float);

// Up to `wide` tokens under way: |x|^2, and the product of x with what its codes leave over.
struct Tile {
    Floats norm, left;
};

Floats load(const float* from, std::size_t count) {
    Floats to = {};
    __builtin_memcpy(&to, from, count * sizeof(float));
    return to;
}

// Chooses codes for one sub-space, y its first row: least |c|^2 / 2 - x.c + pull / (2 |x|^2) (left - x.c)^2, the lowest c
// on ties, where `left` leaves this sub-space's centroid out. Then takes the chosen centroid off `left`. `known`: the
// width where the compiler is to know it, or 0.
template <std::size_t known>
Numbers choose(Tile& tile, const float* y, std::size_t stride, std::size_t count, std::size_t width,
               const float* centroids, const float* halves, std::size_t entries, float pull) {
    const std::size_t w = known ? known : width;
    Floats values[known ? known : 1], least = Floats{} + __builtin_inff(), taken = {};
    for (std::size_t d = 0; d < known; ++d) values[d] = load(y + d * stride, count);
    Numbers codes = {};
    const Floats weight = tile.norm > 0 ? pull / (2 * tile.norm) : Floats{};
    for (std::size_t c = 0; c < entries; ++c) {
        Floats dot = {};
        for (std::size_t d = 0; d < w; ++d) dot += (known ? values[d] : load(y + d * stride, count)) * *centroids++;
        const Floats over = tile.left - dot, cost = halves[c] - dot + weight * over * over;
        codes = cost < least ? Numbers{} + std::int32_t(c) : codes;
        taken = cost < least ? dot : taken;
        least = cost < least ? cost : least;
    }
    tile.left -= taken;
    return codes;
}

// Puts the present centroid back before its sub-space is chosen anew.
void put_back(Tile& tile, const float* y, std::size_t stride, std::size_t count, std::size_t width,
              const float* centroids, const std::uint8_t* codes) {
    for (std::size_t i = 0; i < count; ++i) {
        const float* centroid = centroids + codes[i] * width;
        float dot = 0;
        for (std::size_t d = 0; d < width; ++d) dot += y[d * stride + i] * centroid[d];
        tile.left[i] += dot;
    }
}

void assign(const float* y, std::size_t n, std::size_t subs, std::size_t width, const float* centroids,
            const float* halves, std::size_t entries, float pull, int passes, std::uint8_t* codes) {
    const auto chosen = width == 1 ? choose<1> : width == 2 ? choose<2> : width == 4 ? choose<4> : choose<0>;
    for (std::size_t t = 0; t < n; t += wide) {
        const std::size_t count = n - t < wide ? n - t : wide;
        Tile tile = {};
        for (std::size_t d = 0; d < subs * width; ++d) {
            const Floats value = load(y + d * n + t, count);
            tile.norm += value * value;
        }
        tile.left = tile.norm;
        for (int pass = 0; pass <= passes; ++pass)
            for (std::size_t m = 0; m < subs; ++m) {
                const float *rows = y + m * width * n + t, *some = centroids + m * entries * width;
                std::uint8_t* to = codes + m * n + t;
                if (pass) put_back(tile, rows, n, count, width, some, to);
                const Numbers found =
                    chosen(tile, rows, n, count, width, some, halves + m * entries, entries, pass ? pull : 0);
                for (std::size_t i = 0; i < count; ++i) to[i] = std::uint8_t(found[i]);
            }
    }
}

}  // namespace
