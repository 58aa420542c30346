#include "pq4_loop.h"

namespace {

void losses(const std::uint8_t* block, std::size_t subs, const std::uint8_t* table, std::size_t rows,
            std::uint16_t* losses) {
    for (std::size_t i = 0; i < rows; ++i, table += subs * 16, losses += block_tokens)
        for (unsigned t = 0; t < block_tokens; ++t) {
            const std::uint8_t* code = block + (t < 16 ? 2 * t : 2 * (t - 16) + 1);
            unsigned sum = 0;
            for (std::size_t m = 0; m < subs; m += 2, code += block_tokens)
                sum += table[m * 16 + (*code & 15)] + table[m * 16 + 16 + (*code >> 4)];
            losses[t] = std::uint16_t(sum);
        }
}

std::uint32_t fold(const std::uint16_t* losses, std::size_t rows, unsigned first, unsigned last, bool opens,
                   bool closes, std::uint16_t* best) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < rows; ++i, losses += block_tokens, best += block_tokens) {
        std::uint16_t least = opens ? 0xffff : best[0];
        for (unsigned t = first; t < last; ++t) least = losses[t] < least ? losses[t] : least;
        best[0] = least;
        if (closes) sum += least;
    }
    return sum;
}

}  // namespace

const Pq4Kernels pq4_scalar = {losses, fold, assign};
