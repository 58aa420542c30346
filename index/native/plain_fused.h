#pragma once
#include <cstdint>

// A fused multiply-add for machines without one: a * b + sum in floats, rounded once.
namespace {

typedef float PlainLanes __attribute__((vector_size(16)));

PlainLanes fused(PlainLanes a, PlainLanes b, PlainLanes sum) {
    typedef double Wide __attribute__((vector_size(32)));
    typedef std::int64_t Bits __attribute__((vector_size(32)));
    const Wide product = __builtin_convertvector(a, Wide) * __builtin_convertvector(b, Wide);  // exact
    const Wide added = __builtin_convertvector(sum, Wide), whole = product + added;
    const Wide back = whole - product, lost = (product - (whole - back)) + (added - back);
    // Boldo and Melquiond (IEEE Transactions on Computers 57(4), 2008): a double rounded to odd, then to a float, is
    // rounded once. `whole` is the nearest double; where it is even and not exact, the odd one lies towards what was lost.
    const Bits even = ((Bits)whole & 1) - 1, inexact = (lost != 0) & (whole - whole == 0);
    const Bits away = ((((lost > 0) == (whole > 0)) & 2) - 1);
    return __builtin_convertvector((Wide)((Bits)whole + (away & even & inexact)), PlainLanes);
}

}  // namespace
