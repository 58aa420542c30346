// Python's view of mapped files: mapped.h. Everything else is in plait.index.segments.files.
#include <cerrno>
#include <memory>
#include <system_error>

#include "mapped.h"
#include "module.h"

// What the system refuses is an OSError with its number.
template <typename Work>
static auto or_os_error(Work work) {
    try {
        return work();
    } catch (const std::system_error& error) {
        errno = error.code().value();
        PyErr_SetFromErrno(PyExc_OSError);
        throw nb::python_error();
    }
}

// Its bytes and the slot that says whether some of them were lost; unmapped when nobody holds the bytes any more.
static nb::object mapped_bytes(int descriptor, std::size_t size) {
    auto held = std::make_unique<Mapped>(or_os_error([&] { return map_file(descriptor, size); }));
    const Mapped* mapped = held.get();
    nb::capsule owner(mapped, [](void* p) noexcept {
        std::unique_ptr<Mapped> last(static_cast<Mapped*>(p));
        unmap_file(*last);
    });
    held.release();
    nb::ndarray<nb::numpy, const std::uint8_t, nb::ndim<1>> bytes(mapped->data, {mapped->size}, owner);
    return nb::make_tuple(nb::cast(bytes), mapped->slot);
}

static std::size_t first_changed_of(nb::bytes paths, Array<const std::int64_t, 2> stats) {
    const char* first = paths.c_str();
    std::size_t ends = 0;
    for (std::size_t i = 0; i < paths.size(); ++i) ends += !first[i];
    if (stats.shape(1) != 3 || ends != stats.shape(0)) throw std::invalid_argument("first_changed: shapes do not fit");
    nb::gil_scoped_release release;
    return first_changed(first, stats.data(), stats.shape(0));
}

void def_mapped(nb::module_& m) {
    m.def("map_file", mapped_bytes, nb::arg("descriptor"), nb::arg("size"));
    m.def(
        "guard",
        [](std::uintptr_t begin, std::size_t size) {
            return or_os_error([&] { return guard(reinterpret_cast<const void*>(begin), size); });
        },
        nb::arg("begin"), nb::arg("size"));
    m.def("unguard", unguard, nb::arg("slot"));
    m.def("lost", lost, nb::arg("slot"));
    m.def("losses", losses);
    m.def("first_changed", first_changed_of, nb::arg("paths"), nb::arg("stats").noconvert());
}
