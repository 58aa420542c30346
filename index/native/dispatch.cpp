#include "dispatch.h"

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace {

struct Level {
    Kernels kernels;
    bool (*runs_here)();
};

// Best first; the last one runs everywhere. Processors with less of AVX-512 than this run AVX2.
const Level levels[] = {
#if defined(__x86_64__)
    {{"avx512", ragged_avx512, pq4_avx512, rows_avx512, lists_avx512, postings_avx512, bytes_avx512},
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
                __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni");
     }},
    {{"avx2", ragged_avx2, pq4_avx2, rows_avx2, lists_avx2, postings_avx2, bytes_avx2},
     [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c"); }},
#elif defined(__aarch64__)
    {{"neon", ragged_neon, pq4_neon, rows_neon, lists_neon, postings_neon, bytes_neon}, [] { return true; }},
#endif
    {{"scalar", ragged_scalar, pq4_scalar, rows_scalar, lists_scalar, postings_scalar, bytes_scalar}, [] { return true; }},
};

std::atomic<const Kernels*> chosen{nullptr};

const Kernels* best() {
    for (const Level& level : levels)
        if (level.runs_here()) return &level.kernels;
    return nullptr;
}

}  // namespace

const Kernels& kernels() {
    if (!chosen.load()) {
        const char* wanted = std::getenv("PLAIT_SIMD");
        if (!wanted || !*wanted) chosen = best();
        else if (!use_level(wanted)) throw std::invalid_argument(std::string("PLAIT_SIMD=") + wanted + " does not run here");
    }
    return *chosen.load();
}

bool use_level(const char* name) {
    for (const Level& level : levels) {
        if (std::strcmp(level.kernels.name, name)) continue;
        if (!level.runs_here()) return false;
        chosen = &level.kernels;
        return true;
    }
    throw std::invalid_argument(std::string("no instruction set is called ") + name);
}

const char* const* levels_here() {
    static const char* names[sizeof(levels) / sizeof(levels[0]) + 1];
    std::size_t count = 0;
    for (const Level& level : levels)
        if (level.runs_here()) names[count++] = level.kernels.name;
    names[count] = nullptr;
    return names;
}
