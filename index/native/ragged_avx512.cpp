#include <immintrin.h>

#include "ragged_loop.h"

namespace {
void widen(const std::uint16_t* in, std::size_t n, float* out) {
    std::size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i))));
    for (; i < n; ++i) out[i] = half_to_float(in[i]);
}
}  // namespace

const RaggedKernels ragged_avx512 = {widen, segmented_max};
