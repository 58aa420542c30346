#pragma once
// What the files of the Python module share: its view of arrays, and the checks of offsets.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <stdexcept>

namespace nb = nanobind;

template <typename T, int rank>
using Array = nb::ndarray<T, nb::ndim<rank>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Vector = Array<const T, 1>;
template <typename T>
using Optional = std::optional<Vector<T>>;

template <typename T>
inline const T* data(const Optional<T>& array) {
    return array ? array->data() : nullptr;
}

// offsets (documents + 1,) never fall and stay within `rows`.
inline void check_offsets(Array<const std::int64_t, 1> offsets, std::size_t documents, std::size_t rows) {
    if (offsets.shape(0) != documents + 1) throw std::invalid_argument("offsets: wrong length");
    const std::int64_t* o = offsets.data();
    if (o[0] < 0 || o[documents] > std::int64_t(rows)) throw std::invalid_argument("offsets leave the rows");
    for (std::size_t d = 0; d < documents; ++d)
        if (o[d] > o[d + 1]) throw std::invalid_argument("offsets fall");
}

// Sparse rows and lists of small vectors: module_terms.cpp.
void def_terms(nb::module_& m);

// Stored rows: module_rows.cpp.
void def_rows(nb::module_& m);

// Mapped files: module_mapped.cpp.
void def_mapped(nb::module_& m);
