#pragma once
#include "kernels.h"

// The kernels in use: chosen at the first call from PLAIT_SIMD or, unset, the best level that runs here.
const Kernels& kernels();

// Forces a level by name and returns whether this machine has it; an unknown name throws std::invalid_argument.
bool use_level(const char* name);

// The names of all levels that run here, best first; nullptr ends the list.
const char* const* levels_here();
