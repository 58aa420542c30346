#include "ragged_loop.h"

namespace {
void widen(const std::uint16_t* in, std::size_t n, float* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = half_to_float(in[i]);
}
}  // namespace

const RaggedKernels ragged_scalar = {widen, segmented_max};
