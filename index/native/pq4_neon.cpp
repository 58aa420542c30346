#include <arm_neon.h>

#include "pq4_loop.h"

namespace {

// As on AVX2: four sub-quantisers in bytes, then even and odd bytes apart. Half h of a row is bytes 16h .. 16h + 15,
// so its even bytes are tokens 8h .. 8h + 7 and its odd bytes tokens 16 + 8h .. 16 + 8h + 7.
void losses(const std::uint8_t* block, std::size_t subs, const std::uint8_t* table, std::size_t rows,
            std::uint16_t* losses) {
    for (std::size_t i = 0; i < rows; ++i, table += subs * 16, losses += block_tokens)
        for (int h = 0; h < 2; ++h) {
            uint16x8_t even = vdupq_n_u16(0), odd = vdupq_n_u16(0);
            for (std::size_t m = 0; m < subs; m += 4) {
                uint8x16_t sum = vdupq_n_u8(0);
                for (std::size_t s = m; s < m + 4; s += 2) {
                    const uint8x16_t codes = vld1q_u8(block + s * 16 + 16 * h);
                    sum = vaddq_u8(sum, vqtbl1q_u8(vld1q_u8(table + s * 16), vandq_u8(codes, vdupq_n_u8(15))));
                    sum = vaddq_u8(sum, vqtbl1q_u8(vld1q_u8(table + s * 16 + 16), vshrq_n_u8(codes, 4)));
                }
                even = vaddq_u16(even, vreinterpretq_u16_u8(sum));
                odd = vaddq_u16(odd, vshrq_n_u16(vreinterpretq_u16_u8(sum), 8));
            }
            vst1q_u16(losses + 8 * h, vsubq_u16(even, vshlq_n_u16(odd, 8)));
            vst1q_u16(losses + 16 + 8 * h, odd);
        }
}

std::uint32_t fold(const std::uint16_t* losses, std::size_t rows, unsigned first, unsigned last, bool opens,
                   bool closes, std::uint16_t* best) {
    std::uint16_t outside[block_tokens];
    for (unsigned t = 0; t < block_tokens; ++t) outside[t] = first <= t && t < last ? 0 : 0xffff;
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < rows; ++i, losses += block_tokens, best += 8) {
        uint16x8_t least = opens ? vdupq_n_u16(0xffff) : vld1q_u16(best);
        for (unsigned t = 0; t < block_tokens; t += 8)
            least = vminq_u16(least, vorrq_u16(vld1q_u16(losses + t), vld1q_u16(outside + t)));
        if (closes) sum += vminvq_u16(least);
        else vst1q_u16(best, least);
    }
    return sum;
}

}  // namespace

const Pq4Kernels pq4_neon = {losses, fold, assign};
