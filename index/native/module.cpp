// Python's view of the kernels: checks shapes, releases the GIL, calls. Everything else is in plait.index.kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "contextual.h"
#include "dispatch.h"
#include "lists.h"
#include "postings.h"
#include "pq4.h"
#include "rows.h"
#include "select.h"
#include "sparse_maxsim.h"

namespace nb = nanobind;

template <typename T, int rank>
using Array = nb::ndarray<T, nb::ndim<rank>, nb::c_contig, nb::device::cpu>;

static void widen(Array<const std::uint16_t, 1> in, Array<float, 1> out) {
    if (in.shape(0) != out.shape(0)) throw std::invalid_argument("widen: arrays of different lengths");
    const RaggedKernels& k = kernels().ragged;
    nb::gil_scoped_release release;
    k.widen(in.data(), in.shape(0), out.data());
}

// offsets (documents + 1,) never fall and stay within `rows`.
static void check_offsets(Array<const std::int64_t, 1> offsets, std::size_t documents, std::size_t rows) {
    if (offsets.shape(0) != documents + 1) throw std::invalid_argument("offsets: wrong length");
    const std::int64_t* o = offsets.data();
    if (o[0] < 0 || o[documents] > std::int64_t(rows)) throw std::invalid_argument("offsets leave the rows");
    for (std::size_t d = 0; d < documents; ++d)
        if (o[d] > o[d + 1]) throw std::invalid_argument("offsets fall");
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
    const std::size_t subs = centroids.shape(0), width = centroids.shape(2), n = y.shape(1);
    if (centroids.shape(1) != 16 || halves.shape(0) != subs || halves.shape(1) != 16 || y.shape(0) != subs * width ||
        codes.shape(0) != subs || codes.shape(1) != n)
        throw std::invalid_argument("pq4_assign: shapes do not fit");
    const Pq4Kernels& k = kernels().pq4;
    nb::gil_scoped_release release;
    k.assign(y.data(), n, subs, width, centroids.data(), halves.data(), pull, passes, codes.data());
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

static void probes(Array<const float, 2> scores, std::size_t k, Array<std::int64_t, 1> lists,
                   Array<std::int64_t, 1> rows, Array<float, 1> least) {
    if (!k || k > scores.shape(1) || lists.shape(0) != k * scores.shape(0) || rows.shape(0) != lists.shape(0) ||
        least.shape(0) != scores.shape(0))
        throw std::invalid_argument("probes: shapes do not fit");
    nb::gil_scoped_release release;
    probe_lists(scores.data(), scores.shape(0), scores.shape(1), k, lists.data(), rows.data(), least.data());
}

static void multiply(Array<const float, 2> query, Array<const float, 3> panels, Array<float, 2> out) {
    if (panels.shape(1) != query.shape(1) || panels.shape(2) != panel_columns || out.shape(0) != query.shape(0) ||
        panels.shape(0) != (out.shape(1) + panel_columns - 1) / panel_columns)
        throw std::invalid_argument("multiply: shapes do not fit");
    const RowKernels& k = kernels().rows;
    nb::gil_scoped_release release;
    k.multiply(query.data(), query.shape(0), query.shape(1), panels.data(), out.shape(1), out.data());
}

// Rows are halves (seen as uint16) without scales, or bytes with them.
// What row scans check and share; rows are filled in by the caller.
static RowScan row_scan_of(std::size_t rows, std::size_t dim, Array<const std::int64_t, 1> offsets,
                           Array<const std::int64_t, 1> documents, Array<const float, 2> query,
                           Array<float, 1> out) {
    if (query.shape(1) != dim || dim > most_dim || out.shape(0) != documents.shape(0) || !offsets.shape(0))
        throw std::invalid_argument("row_scores: shapes do not fit");
    check_offsets(offsets, offsets.shape(0) - 1, rows);
    for (std::size_t c = 0; c < documents.shape(0); ++c)
        if (documents.data()[c] < 0 || documents.data()[c] + 1 >= std::int64_t(offsets.shape(0)))
            throw std::invalid_argument("row_scores: no such document");
    return {nullptr, {}, nullptr, nullptr, 0, offsets.data(), documents.data(), documents.shape(0), dim, query.data(), query.shape(0)};
}

static void half_scores(Array<const std::uint16_t, 2> rows, Array<const std::int64_t, 1> offsets,
                        Array<const std::int64_t, 1> documents, Array<const float, 2> query, unsigned threads,
                        Array<float, 1> out) {
    RowScan scan = row_scan_of(rows.shape(0), rows.shape(1), offsets, documents, query, out);
    scan.halves = rows.data();
    nb::gil_scoped_release release;
    row_scan(scan, threads, out.data());
}

static void byte_scores(Array<const std::int8_t, 2> rows, Array<const float, 1> scales,
                        Array<const std::int64_t, 1> offsets, Array<const std::int64_t, 1> documents,
                        Array<const float, 2> query, unsigned threads, Array<float, 1> out) {
    if (scales.shape(0) != rows.shape(0)) throw std::invalid_argument("row_scores: shapes do not fit");
    RowScan scan = row_scan_of(rows.shape(0), rows.shape(1), offsets, documents, query, out);
    const auto* tails = reinterpret_cast<const std::uint8_t*>(scales.data());
    scan.bytes = {rows.data(), rows.shape(1), tails, sizeof(float)};
    nb::gil_scoped_release release;
    row_scan(scan, threads, out.data());
}

static void nibble_scores(Array<const std::uint8_t, 2> records, Array<const float, 3> centroids,
                          Array<const std::int64_t, 1> offsets, Array<const std::int64_t, 1> documents,
                          Array<const float, 2> query, unsigned threads, Array<float, 1> out) {
    const std::size_t subs = centroids.shape(0), dim = subs * centroids.shape(2);
    if (!subs || centroids.shape(1) != 16 || records.shape(1) * 2 != subs)
        throw std::invalid_argument("row_scores: shapes do not fit");
    RowScan scan = row_scan_of(records.shape(0), dim, offsets, documents, query, out);
    scan.nibbles = records.data(), scan.centroids = centroids.data(), scan.subs = subs;
    nb::gil_scoped_release release;
    row_scan(scan, threads, out.data());
}

// Records: dim bytes, then their scale. With errors: estimates.
static void record_scores(Array<const std::uint8_t, 2> records, Array<const std::int64_t, 1> offsets,
                          Array<const std::int64_t, 1> documents, Array<const float, 2> query, unsigned threads,
                          Array<float, 1> out, std::optional<Array<float, 1>> errors) {
    if (records.shape(1) <= sizeof(float) || (errors && errors->shape(0) != documents.shape(0)))
        throw std::invalid_argument("row_scores: shapes do not fit");
    const std::size_t stride = records.shape(1), dim = stride - sizeof(float);
    RowScan scan = row_scan_of(records.shape(0), dim, offsets, documents, query, out);
    const std::uint8_t* data = records.data();
    scan.bytes = {reinterpret_cast<const std::int8_t*>(data), stride, data + dim, stride};
    nb::gil_scoped_release release;
    if (errors) row_estimates(scan, threads, out.data(), errors->data());
    else row_scan(scan, threads, out.data());
}

template <typename T>
using Vector = Array<const T, 1>;
template <typename T>
using Optional = std::optional<Vector<T>>;

template <typename T>
static const T* data(const Optional<T>& array) {
    return array ? array->data() : nullptr;
}

static SparseRows sparse_rows(Vector<std::uint32_t> keys, Vector<float> weights, Vector<std::int64_t> bounds) {
    if (!bounds.shape(0) || weights.shape(0) != keys.shape(0)) throw std::invalid_argument("rows: shapes do not fit");
    check_offsets(bounds, bounds.shape(0) - 1, keys.shape(0));
    return {keys.data(), weights.data(), bounds.data(), bounds.shape(0) - 1};
}

// token_rows: nullptr, or the rows of each of documents.shape(0) documents.
template <typename Value>
static void sparse_maxsim(Vector<std::uint32_t> query_keys, Vector<float> query_weights, Vector<std::int64_t> query_bounds,
                          Vector<std::uint32_t> keys, Vector<Value> values, Vector<std::int64_t> bounds,
                          Optional<std::int64_t> token_rows, Array<float, 1> scores, Array<bool, 1> met) {
    const std::size_t documents = scores.shape(0);
    if (!bounds.shape(0) || values.shape(0) != keys.shape(0) || met.shape(0) != documents)
        throw std::invalid_argument("sparse_maxsim: shapes do not fit");
    check_offsets(bounds, bounds.shape(0) - 1, keys.shape(0));
    if (token_rows) check_offsets(*token_rows, documents, bounds.shape(0) - 1);
    else if (bounds.shape(0) != documents + 1) throw std::invalid_argument("sparse_maxsim: shapes do not fit");
    const SparseRows query = sparse_rows(query_keys, query_weights, query_bounds);
    nb::gil_scoped_release release;
    SparseMaxSim maxsim(query);
    for (std::size_t d = 0; d < documents; ++d) {
        const std::size_t first = token_rows ? std::size_t(token_rows->data()[d]) : d;
        const std::size_t rows = token_rows ? std::size_t(token_rows->data()[d + 1]) - first : 1;
        met.data()[d] = maxsim.score(keys.data(), values.data(), bounds.data() + first, rows, scores.data() + d);
    }
}

template <typename Value>
static void def_sparse_maxsim(nb::module_& m) {
    m.def("sparse_maxsim", sparse_maxsim<Value>, nb::arg("query_keys").noconvert(), nb::arg("query_weights").noconvert(),
          nb::arg("query_bounds").noconvert(), nb::arg("keys").noconvert(), nb::arg("values").noconvert(),
          nb::arg("bounds").noconvert(), nb::arg("token_rows").noconvert().none(), nb::arg("scores").noconvert(),
          nb::arg("met").noconvert());
}

// Checked once: walking all bounds of an index would cost more than a search of it. Keeps its arrays alive.
class Inverted {
  public:
    Inverted(Vector<std::uint32_t> keys, Vector<std::int64_t> term_runs, Vector<std::uint32_t> windows,
             Vector<std::int64_t> starts, Vector<std::uint8_t> maxima, Vector<float> scales, Vector<float> lows,
             Vector<std::uint16_t> offsets, Optional<std::uint8_t> impacts, std::size_t window,
             Optional<std::int64_t> token_rows, Vector<std::int64_t> row_bounds, Vector<std::uint32_t> row_keys,
             Optional<float> values, Optional<std::uint16_t> halves, std::optional<Array<const std::uint8_t, 2>> saturation,
             Optional<std::uint8_t> length_codes, Optional<float> norms)
        : kept_{nb::cast(keys), nb::cast(term_runs), nb::cast(windows), nb::cast(starts), nb::cast(maxima),
                nb::cast(scales), nb::cast(lows), nb::cast(offsets), nb::cast(impacts), nb::cast(token_rows),
                nb::cast(row_bounds), nb::cast(row_keys), nb::cast(values), nb::cast(halves), nb::cast(saturation), nb::cast(length_codes),
                nb::cast(norms)} {
        const std::size_t terms = keys.shape(0), runs = windows.shape(0), entries = row_keys.shape(0);
        if (!row_bounds.shape(0)) throw std::invalid_argument("offsets: wrong length");
        const std::size_t rows = row_bounds.shape(0) - 1;
        if (token_rows && (!token_rows->shape(0) || !values || norms))
            throw std::invalid_argument("Inverted: rows per token are of float32 weights");
        const std::size_t documents = token_rows ? token_rows->shape(0) - 1 : rows;
        if (scales.shape(0) != terms || lows.shape(0) != terms || maxima.shape(0) != runs ||
            (impacts && impacts->shape(0) != offsets.shape(0)) || (values && values->shape(0) != entries) ||
            (halves && halves->shape(0) != entries) || (values && halves) || !window || window > most_window)
            throw std::invalid_argument("Inverted: shapes do not fit");
        if (saturation.has_value() != norms.has_value() || norms.has_value() != length_codes.has_value() ||
            (norms && (!impacts || norms->shape(0) != documents || length_codes->shape(0) != documents ||
                       saturation->shape(0) != 256 || saturation->shape(1) != 256)))
            throw std::invalid_argument("Inverted: the saturation does not fit");
        check_offsets(term_runs, terms, runs);
        check_offsets(starts, runs, offsets.shape(0));
        check_offsets(row_bounds, rows, entries);
        if (token_rows) check_offsets(*token_rows, documents, rows);
        for (std::size_t t = 1; t < terms; ++t)
            if (keys.data()[t - 1] >= keys.data()[t]) throw std::invalid_argument("Inverted: the keys do not rise");
        index_ = {keys.data(), term_runs.data(), windows.data(), starts.data(), maxima.data(), scales.data(),
                  lows.data(), offsets.data(), data(impacts), saturation ? saturation->data() : nullptr,
                  data(length_codes), data(norms), terms, documents, window, data(token_rows), row_bounds.data(), row_keys.data(),
                  data(values), data(halves)};
    }

    std::tuple<std::size_t, std::int64_t, std::int64_t> search(
        Vector<std::uint32_t> row_keys, Vector<float> row_weights, Vector<std::int64_t> row_bounds,
        Vector<std::uint32_t> keys, Vector<float> gains, Vector<float> losses, double alpha, std::size_t candidates,
        Optional<bool> allowed, unsigned threads, Array<std::int64_t, 1> docs, Array<float, 1> scores) const {
        if (gains.shape(0) != keys.shape(0) || losses.shape(0) != keys.shape(0) || scores.shape(0) != docs.shape(0) ||
            (allowed && allowed->shape(0) != index_.documents))
            throw std::invalid_argument("search: shapes do not fit");
        if (!(alpha > 0)) throw std::invalid_argument("search: alpha must be above 0");
        for (std::size_t t = 1; t < keys.shape(0); ++t)
            if (keys.data()[t - 1] >= keys.data()[t]) throw std::invalid_argument("search: the keys do not rise");
        const SparseRows rows = sparse_rows(row_keys, row_weights, row_bounds);
        if ((index_.norms || index_.halves || !index_.values) && rows.rows != 1)
            throw std::invalid_argument("search: several rows are scored with float32 weights only");
        const PostingQuery query{rows, keys.data(), gains.data(), losses.data(), keys.shape(0), docs.shape(0),
                                 alpha, candidates ? std::max(candidates, docs.shape(0)) : 0, data(allowed)};
        PostingWork work;
        nb::gil_scoped_release release;
        const std::size_t found = posting_search(index_, query, threads, docs.data(), scores.data(), &work);
        return {found, work.postings, work.rescored};
    }

  private:
    std::vector<nb::object> kept_;
    PostingIndex index_;
};

static void inverted(nb::module_& m) {
    nb::class_<Inverted>(m, "Inverted")
        .def(nb::init<Vector<std::uint32_t>, Vector<std::int64_t>, Vector<std::uint32_t>, Vector<std::int64_t>,
                      Vector<std::uint8_t>, Vector<float>, Vector<float>, Vector<std::uint16_t>,
                      Optional<std::uint8_t>, std::size_t, Optional<std::int64_t>, Vector<std::int64_t>,
                      Vector<std::uint32_t>, Optional<float>, Optional<std::uint16_t>, std::optional<Array<const std::uint8_t, 2>>,
                      Optional<std::uint8_t>, Optional<float>>(),
             nb::arg("keys").noconvert(), nb::arg("term_runs").noconvert(), nb::arg("windows").noconvert(),
             nb::arg("starts").noconvert(), nb::arg("maxima").noconvert(), nb::arg("scales").noconvert(),
             nb::arg("lows").noconvert(), nb::arg("offsets").noconvert(), nb::arg("impacts").noconvert().none(),
             nb::arg("window"), nb::arg("token_rows").noconvert().none(), nb::arg("row_bounds").noconvert(), nb::arg("row_keys").noconvert(),
             nb::arg("values").noconvert().none(), nb::arg("halves").noconvert().none(),
             nb::arg("saturation").noconvert().none(), nb::arg("length_codes").noconvert().none(),
             nb::arg("norms").noconvert().none())
        .def("search", &Inverted::search, nb::arg("row_keys").noconvert(), nb::arg("row_weights").noconvert(),
             nb::arg("row_bounds").noconvert(), nb::arg("keys").noconvert(), nb::arg("gains").noconvert(),
             nb::arg("losses").noconvert(), nb::arg("alpha"), nb::arg("candidates"), nb::arg("allowed").noconvert().none(), nb::arg("threads"),
             nb::arg("docs").noconvert(), nb::arg("scores").noconvert());
}

// Lists of small vectors; checked once and kept alive, as `Inverted`.
class Contextual {
  public:
    Contextual(Vector<std::int64_t> term_runs, Vector<std::uint32_t> windows, Vector<std::int64_t> starts,
               Vector<std::uint16_t> offsets, Array<const std::int8_t, 2> codes, std::size_t documents)
        : kept_{nb::cast(term_runs), nb::cast(windows), nb::cast(starts), nb::cast(offsets), nb::cast(codes)} {
        if (!term_runs.shape(0)) throw std::invalid_argument("offsets: wrong length");
        const std::size_t terms = term_runs.shape(0) - 1, runs = windows.shape(0), occurrences = offsets.shape(0);
        if (codes.shape(0) != occurrences) throw std::invalid_argument("Contextual: shapes do not fit");
        check_offsets(term_runs, terms, runs);
        check_offsets(starts, runs, occurrences);
        lists_ = {term_runs.data(), windows.data(), starts.data(), offsets.data(), codes.data(), terms,
                  codes.shape(1), documents};
    }

    void scan(Vector<std::int64_t> terms, Array<const std::int16_t, 2> vectors, Vector<float> factors,
              unsigned threads, Array<float, 1> out) const {
        if (vectors.shape(0) != terms.shape(0) || factors.shape(0) != terms.shape(0) ||
            vectors.shape(1) != lists_.dim || lists_.dim > most_dim || out.shape(0) != lists_.documents)
            throw std::invalid_argument("scan: shapes do not fit");
        for (std::size_t i = 0; i < terms.shape(0); ++i)
            if (terms.data()[i] < 0 || terms.data()[i] >= std::int64_t(lists_.terms))
                throw std::invalid_argument("scan: no such term");
        nb::gil_scoped_release release;
        contextual_scan(lists_, {terms.data(), vectors.data(), factors.data(), terms.shape(0)}, threads, out.data());
    }

  private:
    std::vector<nb::object> kept_;
    ContextualLists lists_;
};

static void products_of_bytes(Array<const std::int8_t, 2> codes, Vector<float> scales, Vector<std::int16_t> query,
                              float factor, unsigned threads, Array<float, 1> out) {
    if (scales.shape(0) != codes.shape(0) || query.shape(0) != codes.shape(1) || out.shape(0) != codes.shape(0))
        throw std::invalid_argument("byte_products: shapes do not fit");
    nb::gil_scoped_release release;
    byte_products(codes.data(), scales.data(), codes.shape(0), codes.shape(1), query.data(), factor,
                  threads, out.data());
}

static void contextual(nb::module_& m) {
    nb::class_<Contextual>(m, "Contextual")
        .def(nb::init<Vector<std::int64_t>, Vector<std::uint32_t>, Vector<std::int64_t>, Vector<std::uint16_t>,
                      Array<const std::int8_t, 2>, std::size_t>(),
             nb::arg("term_runs").noconvert(), nb::arg("windows").noconvert(), nb::arg("starts").noconvert(),
             nb::arg("offsets").noconvert(), nb::arg("codes").noconvert(), nb::arg("documents"))
        .def("scan", &Contextual::scan, nb::arg("terms").noconvert(), nb::arg("vectors").noconvert(),
             nb::arg("factors").noconvert(), nb::arg("threads"), nb::arg("out").noconvert());
    m.def("byte_products", products_of_bytes, nb::arg("codes").noconvert(), nb::arg("scales").noconvert(),
          nb::arg("query").noconvert(), nb::arg("factor"), nb::arg("threads"), nb::arg("out").noconvert());
}

NB_MODULE(_native, m) {
    inverted(m);
    def_sparse_maxsim<float>(m);
    def_sparse_maxsim<double>(m);
    contextual(m);
    m.def("widen", widen, nb::arg("half").noconvert(), nb::arg("out").noconvert());
    m.def("segmented_max", segmented_max, nb::arg("scores").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("out").noconvert());
    m.def("pq4_assign", pq4_assign, nb::arg("y").noconvert(), nb::arg("centroids").noconvert(),
          nb::arg("halves").noconvert(), nb::arg("pull"), nb::arg("passes"), nb::arg("codes").noconvert());
    m.def("pq4_scores", pq4_scores, nb::arg("codes").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("allowed").noconvert().none(), nb::arg("table").noconvert(), nb::arg("top"), nb::arg("scale"),
          nb::arg("threads"), nb::arg("out").noconvert());
    m.def("list_gains", list_gains, nb::arg("codes").noconvert(), nb::arg("documents").noconvert(),
          nb::arg("bounds").noconvert(), nb::arg("allowed").noconvert().none(), nb::arg("table").noconvert(),
          nb::arg("floors").noconvert(), nb::arg("lists").noconvert(), nb::arg("rows").noconvert(), nb::arg("threads"),
          nb::arg("gains").noconvert());
    m.def("greatest", greatest_places, nb::arg("values").noconvert(), nb::arg("open").noconvert().none(),
          nb::arg("places").noconvert());
    m.def("probes", probes, nb::arg("scores").noconvert(), nb::arg("k"), nb::arg("lists").noconvert(),
          nb::arg("rows").noconvert(), nb::arg("least").noconvert());
    m.def("multiply", multiply, nb::arg("query").noconvert(), nb::arg("panels").noconvert(),
          nb::arg("out").noconvert());
    m.def("half_scores", half_scores, nb::arg("rows").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("documents").noconvert(), nb::arg("query").noconvert(), nb::arg("threads"),
          nb::arg("out").noconvert());
    m.def("byte_scores", byte_scores, nb::arg("rows").noconvert(), nb::arg("scales").noconvert(),
          nb::arg("offsets").noconvert(), nb::arg("documents").noconvert(), nb::arg("query").noconvert(),
          nb::arg("threads"), nb::arg("out").noconvert());
    m.def("nibble_scores", nibble_scores, nb::arg("records").noconvert(), nb::arg("centroids").noconvert(),
          nb::arg("offsets").noconvert(), nb::arg("documents").noconvert(), nb::arg("query").noconvert(),
          nb::arg("threads"), nb::arg("out").noconvert());
    m.def("record_scores", record_scores, nb::arg("records").noconvert(), nb::arg("offsets").noconvert(),
          nb::arg("documents").noconvert(), nb::arg("query").noconvert(), nb::arg("threads"),
          nb::arg("out").noconvert(), nb::arg("errors").none());
    m.def("level", [] { return std::string(kernels().name); });
    m.def("use_level", [](const std::string& name) { return use_level(name.c_str()); }, nb::arg("name"));
    m.def("levels_here", [] {
        std::vector<std::string> names;
        for (const char* const* n = levels_here(); *n; ++n) names.emplace_back(*n);
        return names;
    });
}
