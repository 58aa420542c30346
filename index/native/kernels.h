#pragma once
#include <cstddef>
#include <cstdint>

// The kernels by what they work on; every instruction set has one record of each kind.

struct RaggedKernels {
    // out[i] = value of the IEEE half in[i], exact.
    void (*widen)(const std::uint16_t* in, std::size_t n, float* out);

    // out[d][c] = max of scores[r][c] over rows r of document d, offsets[d] <= r < offsets[d + 1];
    // minus infinity for a document without rows. scores is (rows, columns), out is (documents, columns).
    void (*segmented_max)(const float* scores, std::size_t columns, const std::int64_t* offsets,
                          std::size_t documents, float* out);
};

// 4-bit product quantisation; pq4.h says how a block is laid out. Equal to the bit on all instruction sets.
struct Pq4Kernels {
    // losses[i][t] = sum over sub-quantisers m of table[i][m][code of m in token t], for query rows i and the 32
    // tokens of one block. Needs table sums of at most 255 over each four sub-quantisers 4g .. 4g + 3.
    void (*losses)(const std::uint8_t* block, std::size_t subs, const std::uint8_t* table, std::size_t rows,
                   std::uint16_t* losses);

    // Takes tokens first <= t < last of a block into the document that is open: best[i][.] is its least loss per
    // query row and lane. `opens`: nothing of it was seen before. `closes`: returns the sum over i of its minimum.
    std::uint32_t (*fold)(const std::uint16_t* losses, std::size_t rows, unsigned first, unsigned last, bool opens,
                          bool closes, std::uint16_t* best);

    // codes (subs, n) of the columns of y (subs * width, n): the nearest of `entries` centroids a sub-space (at most
    // 256), then `passes` rounds of coordinate descent on |e|^2 + pull * (e.x / |x|)^2, where e is what the codes leave
    // over. halves[m][c] = |centroid|^2 / 2.
    void (*assign)(const float* y, std::size_t n, std::size_t subs, std::size_t width, const float* centroids,
                   const float* halves, std::size_t entries, float pull, int passes, std::uint8_t* codes);
};

constexpr std::size_t most_dim = 4096;
constexpr std::size_t panel_columns = 32;

// Rows of one byte a dimension and a float scale each, `stride` and `scale_stride` bytes apart.
struct ByteRows {
    const std::int8_t* values;
    std::size_t stride;
    const std::uint8_t* scales;
    std::size_t scale_stride;

    float scale(std::size_t row) const {
        float s;
        __builtin_memcpy(&s, scales + row * scale_stride, sizeof s);
        return s;
    }
    ByteRows from(std::size_t row) const {
        return {values + row * stride, stride, scales + row * scale_stride, scale_stride};
    }
};

// Stored rows of one kind: floats, halves, bytes, product codes, or residual codes.
struct StoredRows {
    std::size_t dim = 0;
    const float* floats = nullptr;          // (n, dim)
    const std::uint16_t* halves = nullptr;  // (n, dim)
    ByteRows bytes = {};
    // Codes of a byte each, (n, subs): code c of sub-space m stands for centroids[m][c][.], dim / subs dimensions of 256
    // centroids. With residuals (n, 4 + dim / per): a centroid's number (little-endian, the caller sees to its size), then
    // bytes b that stand for residuals[b][.], `per` dimensions each; the row is the unit vector along their sum.
    const std::uint8_t* codes = nullptr;
    const float* centroids = nullptr;
    std::size_t subs = 0;
    const float* residuals = nullptr;
    std::size_t per = 0;
};

constexpr std::size_t panel_lanes = 16;

// Query rows lie across the lanes: row j is lane j % 16 of panel j / 16, a panel is (dim, 16), and zeros fill up the last
// one; dim is at most most_dim. A product of two rows is a chain of fused multiply-adds by rising dimension from 0, on
// every instruction set: it depends on nothing but the two.
struct RowKernels {
    // to (n, dim) = what rows first .. first + n - 1 stand for.
    void (*widen)(const StoredRows& rows, std::size_t first, std::size_t n, float* to);

    // best[j] = max(best[j], products of rows first .. first + n - 1 with query row j).
    void (*most)(const StoredRows& rows, std::size_t first, std::size_t n, const float* query, std::size_t panels,
                 float* best);

    // out (n, 16 * panels) = products of rows first .. first + n - 1 with the query's.
    void (*products)(const StoredRows& rows, std::size_t first, std::size_t n, const float* query, std::size_t panels,
                     float* out);

    // As `most`, of bytes with a query of bytes, in integers: query[p][j] holds dimensions 4p .. 4p + 3 of row j, for
    // `lanes` rows. longest = max(longest, the rows' squared lengths). No byte of a row is -128.
    void (*max_quads)(const ByteRows& rows, std::size_t n, std::size_t dim, const std::int32_t* query,
                      std::size_t lanes, float* best, float* longest);

    // out (rows, columns) = query (rows, dim) times columns; panel p (dim, panel_columns) holds columns
    // p * panel_columns and on, the last one filled up. The same products as above.
    void (*multiply)(const float* query, std::size_t rows, std::size_t dim, const float* panels, std::size_t columns,
                     float* out);

    // The product of two rows in doubles, in which products of floats are exact: equal on all instruction sets.
    double (*dot)(const float* row, const float* query, std::size_t dim);
    double (*dot_half)(const std::uint16_t* row, const float* query, std::size_t dim);

    // The places j with ids[j] among `count` asked ones, rising; places has room for n. Returns how many.
    std::size_t (*find_ids)(const std::uint32_t* ids, std::size_t n, const std::uint32_t* asked, std::size_t count,
                            std::uint32_t* places);
};

struct ListKernels {
    // Packs the tokens t of one block with losses[t] < floor, documents[t] < count and bit t of `open`: their documents
    // to found, floor - losses[t] to gains; returns how many. Both have room for 32 whatever stays.
    std::size_t (*below)(const std::uint16_t* losses, const std::uint32_t* documents, std::uint32_t open,
                         std::uint16_t floor, std::uint32_t count, std::uint32_t* found, std::uint16_t* gains);
};

// A query as a hash table: a key is sought from slot (key * factor) mod 2^32 >> shift on, to the first slot without
// weight; in a perfect table it can only be in the first one.
struct QueryTable {
    struct Slot {
        std::uint32_t key = 0;
        float weight = 0;
    };
    const Slot* slots;
    std::size_t size;  // 2^(32 - shift)
    std::uint32_t factor;
    unsigned shift;
    bool perfect;
};

// Windows of the posting lists, see postings.h. Sums wrap at 2^16.
struct PostingKernels {
    // sums[offsets[p]] += (factor * impacts[p] + constant) >> 8 for n postings; impacts nullptr: all are 1.
    void (*add)(const std::uint16_t* offsets, const std::uint8_t* impacts, std::size_t n, std::uint32_t factor,
                std::uint32_t constant, std::uint16_t* sums);

    // The same with impacts saturation[frequencies[p]][length_codes[offsets[p]]] and the constant 255.
    void (*add_saturated)(const std::uint16_t* offsets, const std::uint8_t* frequencies, std::size_t n,
                          std::uint32_t factor, const std::uint8_t* saturation, const std::uint8_t* length_codes,
                          std::uint16_t* sums);

    // How many of n sums are at least `least`.
    std::size_t (*count_from)(const std::uint16_t* sums, std::size_t n, std::uint16_t least);

    // Which they are, rising; found has room for n.
    std::size_t (*find_from)(const std::uint16_t* sums, std::size_t n, std::uint16_t least, std::uint16_t* found);

    // Sets the sums of documents that are not allowed to zero.
    void (*keep_allowed)(const bool* allowed, std::size_t n, std::uint16_t* sums);

    // The sum of weights times values over those of n keys that are in the table, and whether there is one; values
    // nullptr: all are 1. With a norm of 0 or more, a value v counts as v / (v + norm). In double, equal on all
    // instruction sets.
    double (*row_score)(const std::uint32_t* keys, const float* values, std::size_t n, double norm,
                        const QueryTable& table, bool* found);
};

struct ByteKernels {
    // out[r] = rows[r] . query for n rows of dim bytes. The caller sees to it that no sum leaves 32 bits.
    void (*dots)(const std::int8_t* rows, std::size_t n, std::size_t dim, const std::int16_t* query, std::int32_t* out);
};

// One row of the dispatch table.
struct Kernels {
    const char* name;
    const RaggedKernels& ragged;
    const Pq4Kernels& pq4;
    const RowKernels& rows;
    const ListKernels& lists;
    const PostingKernels& postings;
    const ByteKernels& bytes;
};

extern const RaggedKernels ragged_scalar, ragged_avx2, ragged_avx512, ragged_neon;
extern const Pq4Kernels pq4_scalar, pq4_avx2, pq4_avx512, pq4_neon;
extern const RowKernels rows_scalar, rows_avx2, rows_avx512, rows_neon;
extern const ListKernels lists_scalar, lists_avx2, lists_avx512, lists_neon;
extern const PostingKernels postings_scalar, postings_avx2, postings_avx512, postings_neon;
extern const ByteKernels bytes_scalar, bytes_avx2, bytes_avx512, bytes_neon;
