#pragma once
#include "kernels.h"
#include "pq4.h"

// Without a compressing store: every token is written, and the place moves on only past those that stay.
namespace {

std::size_t below(const std::uint16_t* losses, const std::uint32_t* documents, std::uint32_t open, std::uint16_t floor,
                  std::uint32_t count, std::uint32_t* found, std::uint16_t* gains) {
    std::size_t n = 0;
    for (unsigned t = 0; t < block_tokens; ++t) {
        found[n] = documents[t], gains[n] = std::uint16_t(floor - losses[t]);
        n += (losses[t] < floor) & (documents[t] < count) & (open >> t & 1);
    }
    return n;
}

}  // namespace
