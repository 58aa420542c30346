"""The door to the native module for what goes by keys: postings, sparse rows, tokens and vectors of COIL's lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _native

if TYPE_CHECKING:
    from ..term_rows import TermRows
    from .postings import Postings
    from .term_query import TermQuery

PostingIndex = _native.Inverted
"""What `posting_index` makes and `posting_search` searches."""
CoilIndex = _native.CoilLists
"""The arrays of `CoilLists`, used in place; `coil_list_scores` reads them."""


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
    """(documents,) float32 sum_i max_j q_i . d_j of one query with all documents, and (documents,) bool: any key in
    common?

    A document's weights may be float32 or float64. Products are exact, sums float64 in the order of postings' rows: a
    score is the same wherever the document lies.
    """
    scores, met = np.empty(len(rows), np.float32), np.empty(len(rows), np.bool_)
    asked = query.keys, query.weights, query.offsets
    _native.sparse_maxsim(*asked, rows.keys, rows.weights, rows.offsets, rows.row_offsets, scores, met)
    return scores, met


def coil_list_scores(
    index: CoilIndex, terms: np.ndarray, vectors: np.ndarray, factors: np.ndarray, documents: int, threads: int
) -> np.ndarray:
    """(documents,) float32: sum over query rows i of factors[i] * max(0, the best product with vectors[i] in the list
    terms[i]).

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
    """(n,) float32: factor * scales[r] * codes[r] . query for codes (n, dim) int8, scales
    (n,) float32, query (dim,) int16.

    As `coil_list_scores` for the size of the query's values and for instruction sets.
    """
    out = np.empty(len(codes), np.float32)
    _native.byte_products(codes, scales, query, factor, threads, out)
    return out


def coil_scores(
    rows: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    asked: np.ndarray,
    query: np.ndarray,
    table: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """(documents,) float64: sum over query tokens of max(0, the best product with a chosen
    document's token of equal id).

    Minus infinity without any such token. The same on every instruction set; rows are read in place.

    Args:
        rows: (n, dim) float16 or float32, or records (n, dim + 4) uint8: dim int8 values, then their float32 scale.
        asked: (q,) uint32, in any order, the ids of query (q, dim) float32; as ids (n,) are of rows.
        table: filled with the products and the tokens of each document, the first of equals, (documents, q) float64 and
            int64; 0 and -1 without any.
    """
    rows, scores = rows.view(np.uint16) if rows.dtype == np.float16 else rows, np.empty(len(documents))
    given = ids, offsets, np.ascontiguousarray(documents, np.int64), asked, np.ascontiguousarray(query)
    _native.coil_scores(rows, *given, scores, *(table or (None, None)))
    return scores


def half_products(rows: np.ndarray, places: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(places,) float64 products of rows (n, dim) float16 at these places with a query (dim,) float32. As
    `coil_scores`."""
    out, places, query = np.empty(len(places)), np.ascontiguousarray(places, np.int64), np.ascontiguousarray(query)
    _native.half_products(rows.view(np.uint16), places, query, out)
    return out
