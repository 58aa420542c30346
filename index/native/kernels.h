#pragma once
#include <cstddef>
#include <cstdint>

// One row of the dispatch table: the kernels as one instruction set has them.
struct Kernels {
    const char* name;

    // out[i] = value of the IEEE half in[i], exact.
    void (*widen)(const std::uint16_t* in, std::size_t n, float* out);

    // out[d][c] = max of scores[r][c] over rows r of document d, offsets[d] <= r < offsets[d + 1];
    // minus infinity for a document without rows. scores is (rows, columns), out is (documents, columns).
    void (*segmented_max)(const float* scores, std::size_t columns, const std::int64_t* offsets,
                          std::size_t documents, float* out);
};

extern const Kernels scalar_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const Kernels neon_kernels;
