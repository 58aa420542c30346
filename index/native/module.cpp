// Python's view of the kernels: checks shapes, releases the GIL, calls. Everything else is in plait.index.kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "dispatch.h"

namespace nb = nanobind;

template <typename T, int rank>
using Array = nb::ndarray<T, nb::ndim<rank>, nb::c_contig, nb::device::cpu>;

static void widen(Array<const std::uint16_t, 1> in, Array<float, 1> out) {
    if (in.shape(0) != out.shape(0)) throw std::invalid_argument("widen: arrays of different lengths");
    const Kernels& k = kernels();
    nb::gil_scoped_release release;
    k.widen(in.data(), in.shape(0), out.data());
}

static void segmented_max(Array<const float, 2> scores, Array<const std::int64_t, 1> offsets, Array<float, 2> out) {
    if (!offsets.shape(0) || offsets.shape(0) != out.shape(0) + 1 || scores.shape(1) != out.shape(1))
        throw std::invalid_argument("segmented_max: shapes do not fit");
    const std::int64_t* o = offsets.data();
    if (o[0] < 0 || o[out.shape(0)] > std::int64_t(scores.shape(0)))
        throw std::invalid_argument("segmented_max: offsets leave the rows");
    for (std::size_t d = 0; d < out.shape(0); ++d)
        if (o[d] > o[d + 1]) throw std::invalid_argument("segmented_max: offsets fall");
    const Kernels& k = kernels();
    nb::gil_scoped_release release;
    k.segmented_max(scores.data(), scores.shape(1), o, out.shape(0), out.data());
}

NB_MODULE(_native, m) {
    m.def("widen", widen, nb::arg("half").noconvert(), nb::arg("out").noconvert());
    m.def("segmented_max", segmented_max, nb::arg("scores").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("out").noconvert());
    m.def("level", [] { return std::string(kernels().name); });
    m.def("use_level", [](const std::string& name) { return use_level(name.c_str()); }, nb::arg("name"));
    m.def("levels_here", [] {
        std::vector<std::string> names;
        for (const char* const* n = levels_here(); *n; ++n) names.emplace_back(*n);
        return names;
    });
}
