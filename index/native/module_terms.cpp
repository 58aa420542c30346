// Python's view of sparse rows and of lists of small vectors, as module.cpp.
#include "module.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "coil_lists.h"
#include "postings.h"
#include "coil.h"
#include "sparse_maxsim.h"

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
        Optional<std::uint32_t> keys, Optional<float> gains, Optional<float> losses, double alpha, std::size_t candidates,
        Optional<bool> allowed, unsigned threads, Array<std::int64_t, 1> docs, Array<float, 1> scores) const {
        if (gains.has_value() != keys.has_value() || losses.has_value() != keys.has_value() ||
            (keys && (gains->shape(0) != keys->shape(0) || losses->shape(0) != keys->shape(0))) ||
            scores.shape(0) != docs.shape(0) || (allowed && allowed->shape(0) != index_.documents))
            throw std::invalid_argument("search: shapes do not fit");
        if (!(alpha > 0)) throw std::invalid_argument("search: alpha must be above 0");
        const SparseRows rows = sparse_rows(row_keys, row_weights, row_bounds);
        if (!keys && rows.rows != 1) throw std::invalid_argument("search: several rows need keys that find documents");
        const std::size_t first = keys ? 0 : std::size_t(row_bounds.data()[0]);
        const std::uint32_t* finds = (keys ? *keys : row_keys).data() + first;
        const std::size_t terms = keys ? keys->shape(0) : std::size_t(row_bounds.data()[1]) - first;
        for (std::size_t t = 1; t < terms; ++t)
            if (finds[t - 1] >= finds[t]) throw std::invalid_argument("search: the keys do not rise");
        if ((index_.norms || index_.halves || !index_.values) && rows.rows != 1)
            throw std::invalid_argument("search: several rows are scored with float32 weights only");
        const PostingQuery query{rows, finds, data(gains), data(losses), terms, docs.shape(0),
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
             nb::arg("row_bounds").noconvert(), nb::arg("keys").noconvert().none(), nb::arg("gains").noconvert().none(),
             nb::arg("losses").noconvert().none(), nb::arg("alpha"), nb::arg("candidates"), nb::arg("allowed").noconvert().none(), nb::arg("threads"),
             nb::arg("docs").noconvert(), nb::arg("scores").noconvert());
}

// Lists of small vectors; checked once and kept alive, as `Inverted`.
class CoilLists {
  public:
    CoilLists(Vector<std::int64_t> term_runs, Vector<std::uint32_t> windows, Vector<std::int64_t> starts,
               Vector<std::uint16_t> offsets, Array<const std::int8_t, 2> codes, std::size_t documents)
        : kept_{nb::cast(term_runs), nb::cast(windows), nb::cast(starts), nb::cast(offsets), nb::cast(codes)} {
        if (!term_runs.shape(0)) throw std::invalid_argument("offsets: wrong length");
        const std::size_t terms = term_runs.shape(0) - 1, runs = windows.shape(0), occurrences = offsets.shape(0);
        if (codes.shape(0) != occurrences) throw std::invalid_argument("CoilLists: shapes do not fit");
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
        coil_list_scan(lists_, {terms.data(), vectors.data(), factors.data(), terms.shape(0)}, threads, out.data());
    }

  private:
    std::vector<nb::object> kept_;
    NativeCoilLists lists_;
};

static void products_of_bytes(Array<const std::int8_t, 2> codes, Vector<float> scales, Vector<std::int16_t> query,
                              float factor, unsigned threads, Array<float, 1> out) {
    if (scales.shape(0) != codes.shape(0) || query.shape(0) != codes.shape(1) || out.shape(0) != codes.shape(0))
        throw std::invalid_argument("byte_products: shapes do not fit");
    nb::gil_scoped_release release;
    byte_products(codes.data(), scales.data(), codes.shape(0), codes.shape(1), query.data(), factor,
                  threads, out.data());
}

// Rows are floats or halves (rows, dim), or bytes (rows, dim + 4): dim values, then their scale.
template <typename Row>
static void coil_scores(Array<const Row, 2> rows, Vector<std::uint32_t> ids, Vector<std::int64_t> offsets,
                           Vector<std::int64_t> documents, Vector<std::uint32_t> asked, Array<const float, 2> query,
                           Array<double, 1> scores, std::optional<Array<double, 2>> products,
                           std::optional<Array<std::int64_t, 2>> tokens) {
    constexpr std::size_t more = std::is_same_v<Row, std::uint8_t> ? sizeof(float) : 0;
    const std::size_t n = rows.shape(0), stride = rows.shape(1), count = documents.shape(0), dim = query.shape(1);
    const auto table = [&](auto& out) { return !out || (out->shape(0) == count && out->shape(1) == asked.shape(0)); };
    if (ids.shape(0) != n || stride != dim + more || dim > most_dim || query.shape(0) != asked.shape(0) || scores.shape(0) != count ||
        !table(products) || !table(tokens))
        throw std::invalid_argument("coil_scores: shapes do not fit");
    for (std::size_t c = 0; c < count; ++c) {
        const std::int64_t d = documents.data()[c];
        if (d < 0 || d + 1 >= std::int64_t(offsets.shape(0))) throw std::invalid_argument("coil_scores: no such document");
        const std::int64_t first = offsets.data()[d], last = offsets.data()[d + 1];
        if (first < 0 || first > last || last > std::int64_t(n)) throw std::invalid_argument("offsets leave the rows");
    }
    KeyedRows keyed{ids.data(), nullptr, {}, nullptr, dim};
    if constexpr (std::is_same_v<Row, float>) keyed.floats = rows.data();
    else if constexpr (std::is_same_v<Row, std::uint16_t>) keyed.halves = rows.data();
    else keyed.bytes = {reinterpret_cast<const std::int8_t*>(rows.data()), stride, rows.data() + dim, stride};
    nb::gil_scoped_release release;
    coil_scan(keyed, offsets.data(), documents.data(), count, {asked.data(), query.data(), asked.shape(0)},
                 scores.data(), products ? products->data() : nullptr, tokens ? tokens->data() : nullptr);
}

template <typename Row>
static void def_coil(nb::module_& m) {
    m.def("coil_scores", coil_scores<Row>, nb::arg("rows").noconvert(), nb::arg("ids").noconvert(),
          nb::arg("offsets").noconvert(), nb::arg("documents").noconvert(), nb::arg("asked").noconvert(),
          nb::arg("query").noconvert(), nb::arg("scores").noconvert(), nb::arg("products").noconvert().none(),
          nb::arg("tokens").noconvert().none());
}

static void products_of_halves(Array<const std::uint16_t, 2> rows, Vector<std::int64_t> places, Vector<float> query,
                               Array<double, 1> out) {
    if (query.shape(0) != rows.shape(1) || rows.shape(1) > most_dim || out.shape(0) != places.shape(0))
        throw std::invalid_argument("half_products: shapes do not fit");
    for (std::size_t c = 0; c < places.shape(0); ++c)
        if (places.data()[c] < 0 || places.data()[c] >= std::int64_t(rows.shape(0)))
            throw std::invalid_argument("half_products: no such row");
    nb::gil_scoped_release release;
    half_products(rows.data(), rows.shape(1), places.data(), places.shape(0), query.data(), out.data());
}

static void coil(nb::module_& m) {
    def_coil<float>(m);
    def_coil<std::uint16_t>(m);
    def_coil<std::uint8_t>(m);
    m.def("half_products", products_of_halves, nb::arg("rows").noconvert(), nb::arg("places").noconvert(),
          nb::arg("query").noconvert(), nb::arg("out").noconvert());
    nb::class_<CoilLists>(m, "CoilLists")
        .def(nb::init<Vector<std::int64_t>, Vector<std::uint32_t>, Vector<std::int64_t>, Vector<std::uint16_t>,
                      Array<const std::int8_t, 2>, std::size_t>(),
             nb::arg("term_runs").noconvert(), nb::arg("windows").noconvert(), nb::arg("starts").noconvert(),
             nb::arg("offsets").noconvert(), nb::arg("codes").noconvert(), nb::arg("documents"))
        .def("scan", &CoilLists::scan, nb::arg("terms").noconvert(), nb::arg("vectors").noconvert(),
             nb::arg("factors").noconvert(), nb::arg("threads"), nb::arg("out").noconvert());
    m.def("byte_products", products_of_bytes, nb::arg("codes").noconvert(), nb::arg("scales").noconvert(),
          nb::arg("query").noconvert(), nb::arg("factor"), nb::arg("threads"), nb::arg("out").noconvert());
}

void def_terms(nb::module_& m) {
    inverted(m);
    def_sparse_maxsim<float>(m);
    def_sparse_maxsim<double>(m);
    coil(m);
}
