// Python's view of the kernels: checks shapes, releases the GIL, calls. Everything else is in plait.index.kernels.vectors.
#include "module.h"

#include <string>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "lists.h"
#include "pq4.h"
#include "select.h"

static void widen(Array<const std::uint16_t, 1> in, Array<float, 1> out) {
    if (in.shape(0) != out.shape(0)) throw std::invalid_argument("widen: arrays of different lengths");
    const RaggedKernels& k = kernels().ragged;
    nb::gil_scoped_release release;
    k.widen(in.data(), in.shape(0), out.data());
}

static void segmented_max(Array<const float, 2> scores, Array<const std::int64_t, 1> offsets, Array<float, 2> out) {
    if (scores.shape(1) != out.shape(1)) throw std::invalid_argument("segmented_max: shapes do not fit");
    check_offsets(offsets, out.shape(0), scores.shape(0));
    const RaggedKernels& k = kernels().ragged;
    nb::gil_scoped_release release;
    k.segmented_max(scores.data(), scores.shape(1), offsets.data(), out.shape(0), out.data());
}

static void pq4_assign(Array<const float, 2> y, Array<const float, 3> centroids, Array<const float, 2> halves, float pull,
                       int passes, Array<std::uint8_t, 2> codes) {
    const std::size_t subs = centroids.shape(0), entries = centroids.shape(1), width = centroids.shape(2), n = y.shape(1);
    if (!entries || entries > 256 || halves.shape(0) != subs || halves.shape(1) != entries || y.shape(0) != subs * width ||
        codes.shape(0) != subs || codes.shape(1) != n)
        throw std::invalid_argument("pq4_assign: shapes do not fit");
    const Pq4Kernels& k = kernels().pq4;
    nb::gil_scoped_release release;
    k.assign(y.data(), n, subs, width, centroids.data(), halves.data(), entries, pull, passes, codes.data());
}

static void pq4_scores(Array<const std::uint8_t, 3> codes, Array<const std::int64_t, 1> offsets,
                       std::optional<Array<const bool, 1>> allowed, Array<const std::uint8_t, 3> table, float top,
                       float scale, unsigned threads, Array<float, 1> out) {
    const std::size_t documents = out.shape(0), subs = table.shape(1);
    if (codes.shape(1) * 2 != subs || codes.shape(2) != block_tokens || table.shape(2) != 16 || subs % 4 ||
        subs > most_subs || (allowed && allowed->shape(0) != documents))
        throw std::invalid_argument("pq4_scores: shapes do not fit");
    check_offsets(offsets, documents, codes.shape(0) * block_tokens);
    const Pq4Scan scan{codes.data(), offsets.data(), documents, allowed ? allowed->data() : nullptr,
                       subs, table.data(), table.shape(0), top, scale};
    nb::gil_scoped_release release;
    pq4_scan(scan, threads, out.data());
}

static float pq4_table_of(Array<const float, 3> products, Array<std::uint8_t, 3> losses, Array<float, 1> tops) {
    const std::size_t rows = products.shape(0), subs = products.shape(2);
    if (products.shape(1) != 16 || losses.shape(0) != rows || losses.shape(1) != subs || losses.shape(2) != 16 ||
        tops.shape(0) != rows || subs % 4)
        throw std::invalid_argument("pq4_table: shapes do not fit");
    nb::gil_scoped_release release;
    return pq4_table(products.data(), rows, subs, losses.data(), tops.data());
}

static void list_gains(Array<const std::uint8_t, 3> codes, Array<const std::uint32_t, 1> documents,
                       Array<const std::int64_t, 1> bounds, std::optional<Array<const bool, 1>> allowed,
                       Array<const std::uint8_t, 3> table, Array<const std::uint16_t, 1> floors,
                       Array<const std::int64_t, 1> lists, Array<const std::int64_t, 1> rows, unsigned threads,
                       Array<std::uint32_t, 1> gains) {
    const std::size_t subs = table.shape(1), count = gains.shape(0), pairs = lists.shape(0);
    if (codes.shape(1) * 2 != subs || codes.shape(2) != block_tokens || table.shape(2) != 16 || subs % 4 ||
        subs > most_subs || documents.shape(0) != codes.shape(0) * block_tokens || floors.shape(0) != table.shape(0) ||
        rows.shape(0) != pairs || !bounds.shape(0) || (allowed && allowed->shape(0) != count))
        throw std::invalid_argument("list_gains: shapes do not fit");
    check_offsets(bounds, bounds.shape(0) - 1, codes.shape(0));
    for (std::size_t p = 0; p < pairs; ++p) {
        const std::int64_t list = lists.data()[p], row = rows.data()[p];
        if (list < 0 || list + 1 >= std::int64_t(bounds.shape(0)) || row < 0 || row >= std::int64_t(table.shape(0)))
            throw std::invalid_argument("list_gains: no such list or row");
        if (p && std::make_pair(lists.data()[p - 1], rows.data()[p - 1]) >= std::make_pair(list, row))
            throw std::invalid_argument("list_gains: the pairs do not rise");
    }
    const ListScan scan{codes.data(), documents.data(), bounds.data(), allowed ? allowed->data() : nullptr, count, subs,
                        table.data(), floors.data(), lists.data(), rows.data(), table.shape(0), pairs};
    nb::gil_scoped_release release;
    list_scan(scan, threads, gains.data());
}

static std::size_t greatest_places(Array<const std::uint32_t, 1> values, std::optional<Array<const bool, 1>> open,
                                   Array<std::int64_t, 1> places) {
    if (places.shape(0) > values.shape(0) || (open && open->shape(0) != values.shape(0)))
        throw std::invalid_argument("greatest: shapes do not fit");
    nb::gil_scoped_release release;
    return greatest(values.data(), open ? open->data() : nullptr, values.shape(0), places.shape(0), places.data());
}

static std::size_t among_best_places(Array<const float, 1> estimates, Array<const float, 1> wrong, std::size_t k,
                                     std::optional<Array<const bool, 1>> open, Array<std::int64_t, 1> places) {
    const std::size_t n = estimates.shape(0);
    if (!k || (wrong.shape(0) != 1 && wrong.shape(0) != n) || (open && open->shape(0) != n) || places.shape(0) != n)
        throw std::invalid_argument("among_best: shapes do not fit");
    nb::gil_scoped_release release;
    return among_best(estimates.data(), wrong.data(), wrong.shape(0) == 1, open ? open->data() : nullptr, n, k,
                      places.data());
}

static void probes(Array<const float, 2> scores, std::size_t k, Array<std::int64_t, 1> lists,
                   Array<std::int64_t, 1> rows, Array<float, 1> least) {
    if (!k || k > scores.shape(1) || lists.shape(0) != k * scores.shape(0) || rows.shape(0) != lists.shape(0) ||
        least.shape(0) != scores.shape(0))
        throw std::invalid_argument("probes: shapes do not fit");
    nb::gil_scoped_release release;
    probe_lists(scores.data(), scores.shape(0), scores.shape(1), k, lists.data(), rows.data(), least.data());
}

NB_MODULE(_native, m) {
    def_terms(m);
    def_rows(m);
    def_mapped(m);
    m.def("widen", widen, nb::arg("half").noconvert(), nb::arg("out").noconvert());
    m.def("segmented_max", segmented_max, nb::arg("scores").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("out").noconvert());
    m.def("pq4_assign", pq4_assign, nb::arg("y").noconvert(), nb::arg("centroids").noconvert(),
          nb::arg("halves").noconvert(), nb::arg("pull"), nb::arg("passes"), nb::arg("codes").noconvert());
    m.def("pq4_scores", pq4_scores, nb::arg("codes").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("allowed").noconvert().none(), nb::arg("table").noconvert(), nb::arg("top"), nb::arg("scale"),
          nb::arg("threads"), nb::arg("out").noconvert());
    m.def("pq4_table", pq4_table_of, nb::arg("products").noconvert(), nb::arg("losses").noconvert(),
          nb::arg("tops").noconvert());
    m.def("list_gains", list_gains, nb::arg("codes").noconvert(), nb::arg("documents").noconvert(),
          nb::arg("bounds").noconvert(), nb::arg("allowed").noconvert().none(), nb::arg("table").noconvert(),
          nb::arg("floors").noconvert(), nb::arg("lists").noconvert(), nb::arg("rows").noconvert(), nb::arg("threads"),
          nb::arg("gains").noconvert());
    m.def("greatest", greatest_places, nb::arg("values").noconvert(), nb::arg("open").noconvert().none(),
          nb::arg("places").noconvert());
    m.def("among_best", among_best_places, nb::arg("estimates").noconvert(), nb::arg("wrong").noconvert(), nb::arg("k"),
          nb::arg("open").noconvert().none(), nb::arg("places").noconvert());
    m.def("probes", probes, nb::arg("scores").noconvert(), nb::arg("k"), nb::arg("lists").noconvert(),
          nb::arg("rows").noconvert(), nb::arg("least").noconvert());
    m.def("level", [] { return std::string(kernels().name); });
    m.def("use_level", [](const std::string& name) { return use_level(name.c_str()); }, nb::arg("name"));
    m.def("levels_here", [] {
        std::vector<std::string> names;
        for (const char* const* n = levels_here(); *n; ++n) names.emplace_back(*n);
        return names;
    });
}
