#pragma once
#include "pq4.h"

// What the instruction sets share; each file that includes this compiles it with its own flags. Nothing here may be
// contracted to fused multiply-adds (the build says so), or codes would differ between machines.
namespace {

// Up to 64 tokens under way: dots with the 16 centroids of one sub-space, the codes chosen so far, |x|^2 and the
// product of x with what its codes leave over.
struct Tile {
    float dots[16][64], norm[64], left[64];
};

void dots_of(const float* y, std::size_t stride, std::size_t count, std::size_t width, const float* centroids,
             Tile& tile) {
    for (int c = 0; c < 16; ++c) {
        for (int i = 0; i < 64; ++i) tile.dots[c][i] = 0;
        for (std::size_t d = 0; d < width; ++d) {
            const float* values = y + d * stride;
            const float by = *centroids++;
            if (count == 64)
                for (int i = 0; i < 64; ++i) tile.dots[c][i] += values[i] * by;
            else
                for (std::size_t i = 0; i < count; ++i) tile.dots[c][i] += values[i] * by;
        }
    }
}

// Chooses codes[i] for one sub-space: least |c|^2 / 2 - x.c + pull / (2 |x|^2) (left - x.c)^2, the lowest c on ties,
// where `left` leaves this sub-space's centroid out. Then takes the chosen centroid off `left`.
void choose(Tile& tile, const float* halves, float pull, std::int32_t* codes) {
    float least[64], taken[64], weight[64];
    for (int i = 0; i < 64; ++i) {
        least[i] = __builtin_inff(), taken[i] = 0, codes[i] = 0;
        weight[i] = tile.norm[i] > 0 ? pull / (2 * tile.norm[i]) : 0;
    }
    for (int c = 0; c < 16; ++c)
        for (int i = 0; i < 64; ++i) {
            const float dot = tile.dots[c][i], over = tile.left[i] - dot;
            const float cost = halves[c] - dot + weight[i] * over * over;
            codes[i] = cost < least[i] ? c : codes[i];
            taken[i] = cost < least[i] ? dot : taken[i];
            least[i] = cost < least[i] ? cost : least[i];
        }
    for (int i = 0; i < 64; ++i) tile.left[i] -= taken[i];
}

// Puts the present centroid back before its sub-space is chosen anew.
void put_back(Tile& tile, const std::uint8_t* codes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) tile.left[i] += tile.dots[codes[i]][i];
}

void assign(const float* y, std::size_t n, std::size_t subs, std::size_t width, const float* centroids,
            const float* halves, float pull, int passes, std::uint8_t* codes) {
    Tile tile;
    std::int32_t chosen[64];
    for (std::size_t t = 0; t < n; t += 64) {
        const std::size_t count = n - t < 64 ? n - t : 64;
        for (int i = 0; i < 64; ++i) tile.norm[i] = 0;
        for (std::size_t d = 0; d < subs * width; ++d)
            for (std::size_t i = 0; i < count; ++i) tile.norm[i] += y[d * n + t + i] * y[d * n + t + i];
        for (int i = 0; i < 64; ++i) tile.left[i] = tile.norm[i];
        for (int pass = 0; pass <= passes; ++pass)
            for (std::size_t m = 0; m < subs; ++m) {
                dots_of(y + m * width * n + t, n, count, width, centroids + m * 16 * width, tile);
                if (pass) put_back(tile, codes + m * n + t, count);
                choose(tile, halves + 16 * m, pass ? pull : 0, chosen);
                for (std::size_t i = 0; i < count; ++i) codes[m * n + t + i] = std::uint8_t(chosen[i]);
            }
    }
}

}  // namespace
