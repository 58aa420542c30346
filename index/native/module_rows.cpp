// Python's view of stored rows, as module.cpp.
#include "module.h"

#include <cstring>
#include <utility>

#include "dispatch.h"
#include "parallel.h"
#include "rows.h"
#include "symmetric.h"

// Stored rows of any kind, whose arrays it keeps alive.
class Rows {
  public:
    static Rows floats(Array<const float, 2> values) {
        Rows made(values.shape(0), values.shape(1), nb::cast(values));
        made.rows.floats = values.data();
        return made;
    }

    static Rows halves(Array<const std::uint16_t, 2> values) {
        Rows made(values.shape(0), values.shape(1), nb::cast(values));
        made.rows.halves = values.data();
        return made;
    }

    static Rows bytes(Array<const std::int8_t, 2> values, Vector<float> scales) {
        if (scales.shape(0) != values.shape(0)) throw std::invalid_argument("rows: shapes do not fit");
        Rows made(values.shape(0), values.shape(1), nb::make_tuple(values, scales));
        const auto* tails = reinterpret_cast<const std::uint8_t*>(scales.data());
        made.rows.bytes = {values.data(), values.shape(1), tails, sizeof(float)};
        return made;
    }

    // dim bytes, then their scale.
    static Rows records(Array<const std::uint8_t, 2> values) {
        const std::size_t stride = values.shape(1);
        if (stride <= sizeof(float)) throw std::invalid_argument("rows: shapes do not fit");
        Rows made(values.shape(0), stride - sizeof(float), nb::cast(values));
        const std::uint8_t* data = values.data();
        made.rows.bytes = {reinterpret_cast<const std::int8_t*>(data), stride, data + stride - sizeof(float), stride};
        return made;
    }

    static Rows product(Array<const std::uint8_t, 2> codes, Array<const float, 3> centroids) {
        const std::size_t subs = centroids.shape(0);
        if (!subs || centroids.shape(1) != 256 || codes.shape(1) != subs)
            throw std::invalid_argument("rows: shapes do not fit");
        Rows made(codes.shape(0), subs * centroids.shape(2), nb::make_tuple(codes, centroids));
        made.rows.codes = codes.data(), made.rows.centroids = centroids.data(), made.rows.subs = subs;
        return made;
    }

    static Rows residual(Array<const std::uint8_t, 2> codes, Array<const float, 2> centroids,
                         Array<const float, 2> residuals) {
        const std::size_t dim = centroids.shape(1), per = residuals.shape(1);
        if ((per != 2 && per != 4 && per != 8) || residuals.shape(0) != 256 || dim % per || codes.shape(1) != 4 + dim / per)
            throw std::invalid_argument("rows: shapes do not fit");
        Rows made(codes.shape(0), dim, nb::make_tuple(codes, centroids, residuals));
        made.rows.codes = codes.data(), made.rows.centroids = centroids.data();
        made.rows.residuals = residuals.data(), made.rows.per = per, made.numbers_ = centroids.shape(0);
        return made;
    }

    // Rows [first, last) name centroids that there are.
    void check(std::int64_t first, std::int64_t last) const {
        if (!rows.residuals) return;
        const std::size_t width = 4 + rows.dim / rows.per;
        for (std::int64_t row = first; row < last; ++row) {
            std::uint32_t number;
            std::memcpy(&number, rows.codes + std::size_t(row) * width, sizeof number);
            if (number >= numbers_) throw std::invalid_argument("rows: no such centroid");
        }
    }

    void check_query(Array<const float, 2> query) const {
        if (query.shape(1) != rows.dim) throw std::invalid_argument("rows: the query has another number of dimensions");
    }

    StoredRows rows;
    std::size_t n;

  private:
    Rows(std::size_t count, std::size_t dim, nb::object kept) : n(count), kept_(std::move(kept)) {
        if (dim > most_dim) throw std::invalid_argument("rows: more than 4096 dimensions");
        rows.dim = dim;
    }

    std::size_t numbers_ = 0;
    nb::object kept_;
};

// Chosen documents whose rows are there.
static Documents documents_of(const Rows& rows, Vector<std::int64_t> offsets, Vector<std::int64_t> chosen) {
    const std::int64_t* o = offsets.data();
    for (std::size_t c = 0; c < chosen.shape(0); ++c) {
        const std::int64_t d = chosen.data()[c];
        if (d < 0 || d + 1 >= std::int64_t(offsets.shape(0))) throw std::invalid_argument("rows: no such document");
        if (o[d] < 0 || o[d] > o[d + 1] || o[d + 1] > std::int64_t(rows.n))
            throw std::invalid_argument("offsets leave the rows");
        rows.check(o[d], o[d + 1]);
    }
    return {o, chosen.data(), chosen.shape(0)};
}

static void row_scores(const Rows& rows, Vector<std::int64_t> offsets, Vector<std::int64_t> chosen,
                       Array<const float, 2> query, Vector<std::int64_t> bounds, unsigned threads, Array<float, 2> out) {
    rows.check_query(query);
    if (!bounds.shape(0) || out.shape(0) != chosen.shape(0) || out.shape(1) + 1 != bounds.shape(0))
        throw std::invalid_argument("row_scores: shapes do not fit");
    check_offsets(bounds, out.shape(1), query.shape(0));
    const Documents documents = documents_of(rows, offsets, chosen);
    nb::gil_scoped_release release;
    row_scan(rows.rows, documents, {query.data(), bounds.data(), out.shape(1)}, threads, out.data());
}

static void row_estimates_of(const Rows& rows, Vector<std::int64_t> offsets, Vector<std::int64_t> chosen,
                             Array<const float, 2> query, unsigned threads, Array<float, 1> out, Array<float, 1> errors) {
    rows.check_query(query);
    if (!rows.rows.bytes.values || out.shape(0) != chosen.shape(0) || errors.shape(0) != chosen.shape(0))
        throw std::invalid_argument("row_estimates: shapes do not fit");
    const Documents documents = documents_of(rows, offsets, chosen);
    nb::gil_scoped_release release;
    row_estimates(rows.rows.bytes, rows.rows.dim, documents, query.data(), query.shape(0), threads, out.data(),
                  errors.data());
}

static void row_products_of(const Rows& rows, Array<const float, 2> query, Array<float, 2> out) {
    rows.check_query(query);
    if (out.shape(0) != rows.n || out.shape(1) != query.shape(0))
        throw std::invalid_argument("row_products: shapes do not fit");
    rows.check(0, std::int64_t(rows.n));
    nb::gil_scoped_release release;
    row_products(rows.rows, rows.n, query.data(), query.shape(0), out.data());
}

static void best_rows_of(const Rows& rows, std::optional<Array<const bool, 1>> allowed, Array<const float, 2> query,
                         unsigned threads, Array<float, 2> scores, Array<std::int64_t, 2> places) {
    rows.check_query(query);
    if ((allowed && allowed->shape(0) != rows.n) || scores.shape(0) != query.shape(0) || scores.shape(1) > rows.n ||
        places.shape(0) != scores.shape(0) || places.shape(1) != scores.shape(1))
        throw std::invalid_argument("best_rows: shapes do not fit");
    rows.check(0, std::int64_t(rows.n));
    nb::gil_scoped_release release;
    if (scores.shape(1))
        best_rows(rows.rows, rows.n, allowed ? allowed->data() : nullptr, query.data(), query.shape(0), scores.shape(1),
                  threads, scores.data(), places.data());
}

static void widen_rows(const Rows& rows, Array<float, 2> out) {
    if (out.shape(0) != rows.n || out.shape(1) != rows.rows.dim) throw std::invalid_argument("widen_rows: shapes do not fit");
    rows.check(0, std::int64_t(rows.n));
    const RowKernels& k = kernels().rows;
    nb::gil_scoped_release release;
    k.widen(rows.rows, 0, rows.n, out.data());
}

static void row_dots(Array<const float, 2> left, Array<const float, 2> right, Array<double, 1> out) {
    const std::size_t dim = left.shape(1);
    if (right.shape(0) != left.shape(0) || right.shape(1) != dim || out.shape(0) != left.shape(0))
        throw std::invalid_argument("row_dots: shapes do not fit");
    const RowKernels& k = kernels().rows;
    nb::gil_scoped_release release;
    for (std::size_t r = 0; r < out.shape(0); ++r)
        out.data()[r] = k.dot(left.data() + r * dim, right.data() + r * dim, dim);
}

static void multiply(Array<const float, 2> query, Array<const float, 3> panels, unsigned threads, Array<float, 2> out) {
    const std::size_t rows = query.shape(0), dim = query.shape(1), columns = out.shape(1);
    if (panels.shape(1) != dim || panels.shape(2) != panel_columns || out.shape(0) != rows ||
        panels.shape(0) != (columns + panel_columns - 1) / panel_columns)
        throw std::invalid_argument("multiply: shapes do not fit");
    constexpr std::size_t together = 256;
    const RowKernels& k = kernels().rows;
    nb::gil_scoped_release release;
    parallel((rows + together - 1) / together, threads, [&](std::size_t task) {
        const std::size_t first = task * together, count = std::min(together, rows - first);
        k.multiply(query.data() + first * dim, count, dim, panels.data(), columns, out.data() + first * columns);
    });
}

static void rotation(Array<double, 2> entries, Array<double, 2> rows) {
    const std::size_t n = entries.shape(0);
    if (entries.shape(1) != n || rows.shape(0) != n || rows.shape(1) != n)
        throw std::invalid_argument("rotation: shapes do not fit");
    nb::gil_scoped_release release;
    rotation_of(entries.data(), n, rows.data());
}

static bool eigenvectors(Array<double, 2> matrix, Array<double, 1> values, Array<double, 2> vectors) {
    const std::size_t n = matrix.shape(0);
    if (matrix.shape(1) != n || values.shape(0) != n || vectors.shape(0) != n || vectors.shape(1) != n)
        throw std::invalid_argument("eigen: shapes do not fit");
    nb::gil_scoped_release release;
    return eigen(matrix.data(), n, values.data(), vectors.data());
}

void def_rows(nb::module_& m) {
    nb::class_<Rows>(m, "Rows")
        .def_static("floats", &Rows::floats, nb::arg("values").noconvert())
        .def_static("halves", &Rows::halves, nb::arg("values").noconvert())
        .def_static("bytes", &Rows::bytes, nb::arg("values").noconvert(), nb::arg("scales").noconvert())
        .def_static("records", &Rows::records, nb::arg("values").noconvert())
        .def_static("product", &Rows::product, nb::arg("codes").noconvert(), nb::arg("centroids").noconvert())
        .def_static("residual", &Rows::residual, nb::arg("codes").noconvert(), nb::arg("centroids").noconvert(),
                    nb::arg("residuals").noconvert())
        .def_prop_ro("dim", [](const Rows& rows) { return rows.rows.dim; })
        .def("__len__", [](const Rows& rows) { return rows.n; });
    m.def("row_scores", row_scores, nb::arg("rows"), nb::arg("offsets").noconvert(), nb::arg("documents").noconvert(),
          nb::arg("query").noconvert(), nb::arg("bounds").noconvert(), nb::arg("threads"), nb::arg("out").noconvert());
    m.def("row_estimates", row_estimates_of, nb::arg("rows"), nb::arg("offsets").noconvert(),
          nb::arg("documents").noconvert(), nb::arg("query").noconvert(), nb::arg("threads"), nb::arg("out").noconvert(),
          nb::arg("errors").noconvert());
    m.def("row_products", row_products_of, nb::arg("rows"), nb::arg("query").noconvert(), nb::arg("out").noconvert());
    m.def("best_rows", best_rows_of, nb::arg("rows"), nb::arg("allowed").noconvert().none(),
          nb::arg("query").noconvert(), nb::arg("threads"), nb::arg("scores").noconvert(), nb::arg("places").noconvert());
    m.def("widen_rows", widen_rows, nb::arg("rows"), nb::arg("out").noconvert());
    m.def("row_dots", row_dots, nb::arg("left").noconvert(), nb::arg("right").noconvert(), nb::arg("out").noconvert());
    m.def("rotation", rotation, nb::arg("entries").noconvert(), nb::arg("rows").noconvert());
    m.def("eigen", eigenvectors, nb::arg("matrix").noconvert(), nb::arg("values").noconvert(),
          nb::arg("vectors").noconvert());
    m.def("multiply", multiply, nb::arg("query").noconvert(), nb::arg("panels").noconvert(), nb::arg("threads"),
          nb::arg("out").noconvert());
}
