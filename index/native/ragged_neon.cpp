#include <arm_neon.h>

#include "ragged_loop.h"

namespace {
void widen(const std::uint16_t* in, std::size_t n, float* out) {
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(in + i))));
    for (; i < n; ++i) out[i] = half_to_float(in[i]);
}
}  // namespace

const RaggedKernels ragged_neon = {widen, segmented_max};
