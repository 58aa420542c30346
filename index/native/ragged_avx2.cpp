#include <immintrin.h>

#include "ragged_loop.h"

namespace {
void widen(const std::uint16_t* in, std::size_t n, float* out) {
    std::size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
    for (; i < n; ++i) out[i] = half_to_float(in[i]);
}
}  // namespace

const RaggedKernels ragged_avx2 = {widen, segmented_max};
