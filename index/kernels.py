"""The only door to the native module: typed, documented, shape-checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _native

if TYPE_CHECKING:
    from .postings import Postings
    from .term_query import TermQuery
    from .term_rows import TermRows

PostingIndex = _native.Inverted
"""What `posting_index` makes and `posting_search` searches."""
ContextualIndex = _native.Contextual
"""The arrays of `Contextual`, used in place; `contextual_scores` reads them."""


def widen(half: np.ndarray) -> np.ndarray:
    """float16 to float32 of the same shape, exact. A float32 array passes through untouched."""
    if half.dtype == np.float32:
        return half
    flat = np.ascontiguousarray(half).reshape(-1)
    out = np.empty(flat.shape, np.float32)
    _native.widen(flat.view(np.uint16), out)
    return out.reshape(half.shape)


def segmented_max(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(rows, columns) float32 scores to the (documents, columns) maximum over each document's rows.

    `offsets` is (documents + 1,) int64. A document without rows gets minus infinity.
    """
    out = np.empty((len(offsets) - 1, scores.shape[1]), np.float32)
    _native.segmented_max(np.ascontiguousarray(scores), np.ascontiguousarray(offsets), out)
    return out


def pq4_assign(y: np.ndarray, centroids: np.ndarray, *, pull: float = 0, passes: int = 0) -> np.ndarray:
    """One of 16 centroids in every sub-space: (subs, n) uint8.

    `y` is (subs * width, n) float32, a sub-space after the other; `centroids` is (subs, 16, width) float32. First the
    nearest (the lowest on ties); then `passes` rounds of coordinate descent on |e|^2 + pull * (e.x / |x|)^2, where e is
    what the codes leave over of x. The answer is the same on every instruction set.
    """
    halves = np.ascontiguousarray((centroids * centroids).sum(axis=2) / 2, np.float32)
    codes = np.empty((len(centroids), y.shape[1]), np.uint8)
    _native.pq4_assign(np.ascontiguousarray(y), np.ascontiguousarray(centroids), halves, pull, passes, codes)
    return codes


def pq4_table(products: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """8-bit losses (q, subs, 16) against the best of products (q, 16, subs) float32, what each row scores without any
    loss (q,) float32, and the product that one unit stands for: as fine as byte sums of four sub-spaces allow.
    """
    rows, _, subs = products.shape
    losses, tops = np.empty((rows, subs, 16), np.uint8), np.empty(rows, np.float32)
    return losses, tops, _native.pq4_table(products, losses, tops)


def pq4_scores(
    codes: np.ndarray,
    offsets: np.ndarray,
    table: np.ndarray,
    top: float,
    scale: float,
    *,
    allowed: np.ndarray | None,
    threads: int,
) -> np.ndarray:
    """(documents,) float32: top - scale * sum_i min_j sum_m table[i, m, code of token j in sub-space m].

    Minus infinity for a document without tokens or not allowed.

    Args:
        codes: (blocks, subs / 2, 32) uint8, laid out as `native/pq4.h` says.
        offsets: (documents + 1,) int64 token rows.
        table: (q, subs, 16) uint8, at most 255 summed over any four sub-spaces 4g to 4g + 3.
        allowed: (documents,) bool; the others are not read.
        threads: the documents are split among them; the answer is the same for any number.
    """
    out = np.empty(len(offsets) - 1, np.float32)
    mask = None if allowed is None else np.ascontiguousarray(allowed)
    _native.pq4_scores(codes, np.ascontiguousarray(offsets), mask, table, top, scale, threads, out)
    return out


def list_gains(
    codes: np.ndarray,
    documents: np.ndarray,
    bounds: np.ndarray,
    table: np.ndarray,
    floors: np.ndarray,
    lists: np.ndarray,
    rows: np.ndarray,
    count: int,
    *,
    allowed: np.ndarray | None,
    threads: int,
) -> np.ndarray:
    """(count,) uint32: for each document the sum over query rows i of max(0, floors[i] - its least loss).

    The least loss is over the document's tokens in the lists that row i probes; a loss is as in `pq4_scores`.

    Args:
        codes: (blocks, subs / 2, 32) uint8, every list in blocks of its own.
        documents: (32 * blocks,) uint32; numbers of `count` and above fill up blocks.
        bounds: (lists + 1,) int64 blocks.
        table: (q, subs, 16) uint8, as for `pq4_scores`.
        floors: (q,) uint16.
        lists: (pairs,) int64, rising: which lists are probed,
        rows: (pairs,) int64: and by which query row; rising within a list, no pair twice.
        allowed: (count,) bool; blocks without an allowed document are not scored.
        threads: the query rows are split among them where that pays; the answer is the same for any number.
    """
    gains = np.empty(count, np.uint32)
    mask = None if allowed is None else np.ascontiguousarray(allowed)
    lists, rows = np.ascontiguousarray(lists), np.ascontiguousarray(rows)
    _native.list_gains(codes, documents, bounds, mask, table, floors, lists, rows, threads, gains)
    return gains


def greatest(values: np.ndarray, k: int, *, open: np.ndarray | None = None) -> np.ndarray:
    """The places of the k greatest of `values` (n,) uint32, rising; the earlier of equals. `open` (n,) bool: only these."""
    places = np.empty(min(k, len(values)), np.int64)
    return places[: _native.greatest(values, open, places)]


def among_best(
    estimates: np.ndarray, wrong: np.ndarray | float, k: int, *, open: np.ndarray | None = None
) -> np.ndarray:
    """The rising places of all that may be among the k best, k >= 1, of values that (n,) float32 estimates miss by at most `wrong`.

    Args:
        wrong: (n,) float32, or one number for all.
        open: (n,) bool: only these. Estimates of minus infinity are never among them.
    """
    places, off = np.empty(len(estimates), np.int64), np.atleast_1d(np.asarray(wrong, np.float32))
    return places[: _native.among_best(estimates, off, k, open, places)].copy()


def probes(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k greatest of every row of scores (q, lists) float32, the lower list of equals; 1 <= k <= lists.

    Returns lists and rows (q * k,) int64 as pairs by rising list and row, and the least chosen score of each row (q,).
    """
    lists, rows = np.empty((2, len(scores) * k), np.int64)
    least = np.empty(len(scores), np.float32)
    _native.probes(np.ascontiguousarray(scores), k, lists, rows, least)
    return lists, rows, least


def panels(columns: np.ndarray) -> np.ndarray:
    """(dim, n) float32 columns as `multiply` reads them: (ceil(n / 32), dim, 32), filled up with zeros."""
    dim, n = columns.shape
    full = np.zeros((dim, -(-n // 32) * 32), np.float32)
    full[:, :n] = columns
    return np.ascontiguousarray(full.reshape(dim, -1, 32).transpose(1, 0, 2))


def multiply(query: np.ndarray, panels: np.ndarray, n: int) -> np.ndarray:
    """(q, n) float32: the product of a query (q, dim) float32 with n columns, on this thread alone."""
    out = np.empty((len(query), n), np.float32)
    _native.multiply(np.ascontiguousarray(query), panels, out)
    return out


def row_scores(
    rows: np.ndarray,
    scales: np.ndarray | None,
    offsets: np.ndarray,
    documents: np.ndarray,
    query: np.ndarray,
    *,
    threads: int = 1,
) -> np.ndarray:
    """(documents,) float32 MaxSim of chosen documents with one query (q, dim) float32, their rows read in place.

    `rows` is (n, dim) float16 without scales, or int8 where row r stands for scales[r] * rows[r]. Products and sums are
    float32. Minus infinity for a document without tokens.
    """
    out = np.empty(len(documents), np.float32)
    query, offsets = np.ascontiguousarray(query), np.ascontiguousarray(offsets)
    documents = np.ascontiguousarray(documents, np.int64)
    if scales is None:
        _native.half_scores(rows.view(np.uint16), offsets, documents, query, threads, out)
    else:
        _native.byte_scores(rows, scales, offsets, documents, query, threads, out)
    return out


def nibble_scores(
    records: np.ndarray,
    centroids: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    query: np.ndarray,
    *,
    threads: int = 1,
) -> np.ndarray:
    """As `row_scores`, of records (n, subs / 2) uint8: two codes in a byte, the even sub-space's in the low half.

    Code c of sub-space m stands for centroids[m, c], centroids (subs, 16, width) float32; the query is
    (q, subs * width) float32, in the space of the codes.
    """
    out = np.empty(len(documents), np.float32)
    offsets, documents = np.ascontiguousarray(offsets), np.ascontiguousarray(documents, np.int64)
    query, centroids = np.ascontiguousarray(query), np.ascontiguousarray(centroids)
    _native.nibble_scores(records, centroids, offsets, documents, query, threads, out)
    return out


def record_scores(
    records: np.ndarray, offsets: np.ndarray, documents: np.ndarray, query: np.ndarray, *, threads: int = 1
) -> np.ndarray:
    """As `row_scores`, of records (n, dim + 4) uint8: dim int8 values, then the float32 scale that they are times of."""
    out = np.empty(len(documents), np.float32)
    offsets, documents = np.ascontiguousarray(offsets), np.ascontiguousarray(documents, np.int64)
    _native.record_scores(records, offsets, documents, np.ascontiguousarray(query), threads, out, None)
    return out


def record_estimates(
    records: np.ndarray, offsets: np.ndarray, documents: np.ndarray, query: np.ndarray, *, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(documents,) float32 twice: scores and how far those of `record_scores` may lie from them, in a third of its time.

    The query is rounded to 8 bits, so that bytes can be multiplied. Minus infinity and 0 without tokens.
    """
    out, errors = np.empty((2, len(documents)), np.float32)
    offsets, documents = np.ascontiguousarray(offsets), np.ascontiguousarray(documents, np.int64)
    _native.record_scores(records, offsets, documents, np.ascontiguousarray(query), threads, out, errors)
    return out, errors


def posting_index(
    postings: Postings,
    bounds: np.ndarray,
    keys: np.ndarray,
    values: np.ndarray | None,
    token_rows: np.ndarray | None = None,
    *,
    saturation: np.ndarray | None = None,
    length_codes: np.ndarray | None = None,
    norms: np.ndarray | None = None,
) -> PostingIndex:
    """Postings and the rows they were built from, made ready for searches. The arrays are used in place.

    Args:
        bounds: (rows + 1,) int64 entries of each row.
        keys: (entries,) uint32.
        values: (entries,) float32 or float16. None: all are 1.
        token_rows: (documents + 1,) int64 rows of each document, with float32 values. None: one row per document.
        saturation: (256, 256) uint8 with the next two, for impacts that are term frequencies: the impact that frequency
            f in a document with length code c counts as is saturation[f, c]. Rises with f, falls with c, at least 1.
        length_codes: (documents,) uint8.
        norms: (documents,) float32: a value v of document d counts as v / (v + norms[d]) in its score.
    """
    halves = values.view(np.uint16) if values is not None and values.dtype == np.float16 else None
    p = postings
    return _native.Inverted(
        p.keys,
        p.term_runs,
        p.windows,
        p.starts,
        p.maxima,
        p.scales,
        p.lows,
        p.offsets,
        p.impacts,
        p.window,
        token_rows,
        bounds,
        keys,
        values if halves is None else None,
        halves,
        saturation,
        length_codes,
        norms,
    )


def posting_search(
    index: PostingIndex,
    query: TermQuery,
    k: int,
    *,
    allowed: np.ndarray | None,
    threads: int,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """The k best documents (int64) that have a key which finds them, best first, and their scores (float32).

    Also how many postings were read and how many documents scored from their rows.

    Args:
        allowed: (documents,) bool.
        threads: the windows are split among them.
    """
    docs, scores = np.empty(k, np.int64), np.empty(k, np.float32)
    mask = None if allowed is None else np.ascontiguousarray(allowed)
    rows = query.rows
    given = rows.keys, rows.weights, rows.offsets, query.keys, query.gains, query.losses
    found, *work = index.search(*given, query.alpha, query.candidates or 0, mask, threads, docs, scores)
    return docs[:found], scores[:found], (work[0], work[1])


def sparse_maxsim(query: TermRows, rows: TermRows) -> tuple[np.ndarray, np.ndarray]:
    """(documents,) float32 sum_i max_j q_i . d_j of one query with all documents, and (documents,) bool: any key in common?

    A document's weights may be float32 or float64. Products are exact, sums float64 in the order of keys.
    """
    scores, met = np.empty(len(rows), np.float32), np.empty(len(rows), np.bool_)
    asked = query.keys, query.weights, query.offsets
    _native.sparse_maxsim(*asked, rows.keys, rows.weights, rows.offsets, rows.row_offsets, scores, met)
    return scores, met


def contextual_scores(
    index: ContextualIndex, terms: np.ndarray, vectors: np.ndarray, factors: np.ndarray, documents: int, threads: int
) -> np.ndarray:
    """(documents,) float32: sum over query rows i of factors[i] * max(0, the best product with vectors[i] in the list terms[i]).

    Minus infinity for a document in none of the lists. The answer is the same on every instruction set.

    Args:
        terms: (q,) int64 positions of lists.
        vectors: (q, dim) int16, small enough that no sum of dim products with bytes leaves 32 bits.
        factors: (q,) float32.
        threads: windows of documents are split among them.
    """
    out = np.empty(documents, np.float32)
    index.scan(terms, vectors, factors, threads, out)
    return out


def byte_products(
    codes: np.ndarray, scales: np.ndarray, query: np.ndarray, factor: float, *, threads: int = 1
) -> np.ndarray:
    """(n,) float32: factor * scales[r] * codes[r] . query for codes (n, dim) int8, scales (n,) float32, query (dim,) int16.

    As `contextual_scores` for the size of the query's values and for instruction sets.
    """
    out = np.empty(len(codes), np.float32)
    _native.byte_products(codes, scales, query, factor, threads, out)
    return out


def same_id_scores(
    rows: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    asked: np.ndarray,
    query: np.ndarray,
    table: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """(documents,) float64: sum over query tokens of max(0, the best product with a chosen document's token of equal id).

    Minus infinity without any such token. The same on every instruction set; rows are read in place.

    Args:
        rows: (n, dim) float16 or float32, or records (n, dim + 4) uint8: dim int8 values, then their float32 scale.
        asked: (q,) uint32, in any order, the ids of query (q, dim) float32; as ids (n,) are of rows.
        table: filled with the products and the tokens of each document, the first of equals, (documents, q) float64 and
            int64; 0 and -1 without any.
    """
    rows, scores = rows.view(np.uint16) if rows.dtype == np.float16 else rows, np.empty(len(documents))
    given = ids, offsets, np.ascontiguousarray(documents, np.int64), asked, np.ascontiguousarray(query)
    _native.same_id_scores(rows, *given, scores, *(table or (None, None)))
    return scores


def half_products(rows: np.ndarray, places: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(places,) float64 products of rows (n, dim) float16 at these places with a query (dim,) float32. As `same_id_scores`."""
    out, places, query = np.empty(len(places)), np.ascontiguousarray(places, np.int64), np.ascontiguousarray(query)
    _native.half_products(rows.view(np.uint16), places, query, out)
    return out


def simd_level() -> str:
    """The instruction set in use: avx512, avx2, neon or scalar (environment variable PLAIT_SIMD forces one).

    avx512 means with VBMI and VNNI (Ice Lake, Zen 4 and later); older processors run avx2.
    """
    return _native.level()


def use_simd(name: str) -> None:
    """Forces an instruction set for the whole process. ValueError: no such level, or not on this machine."""
    if not _native.use_level(name):
        raise ValueError(f"this machine has no {name}; it has {', '.join(_native.levels_here())}")


def simd_levels() -> list[str]:
    """All levels that run here, best first."""
    return _native.levels_here()
