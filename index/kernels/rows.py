"""The door to the native module for stored rows and products of floats.

A product of two rows is one chain of fused multiply-adds in float32, by rising dimension from 0: the same bits for any
number of threads, any block or batch that a row stands in, and on every instruction set. A score adds up products in
float64, in the order of the query's rows, and rounds once. No BLAS has a part in either: it splits sums as the machine
and the shape suit it.
"""

from __future__ import annotations

import numpy as np

from . import _native
from .threads import threads as threads_of_process

Rows = _native.Rows
"""Stored rows of any kind, read where they lie."""
_WORTH = 1 << 23
"""Multiply-adds that pay for a thread: some tenths of a millisecond."""


def float_rows(values: np.ndarray) -> Rows:
    """(n, dim) float32."""
    return Rows.floats(np.ascontiguousarray(values))


def half_rows(values: np.ndarray) -> Rows:
    """(n, dim) float16."""
    return Rows.halves(np.ascontiguousarray(values).view(np.uint16))


def byte_rows(values: np.ndarray, scales: np.ndarray) -> Rows:
    """(n, dim) int8 and (n,) float32: row r stands for scales[r] * values[r]."""
    return Rows.bytes(values, scales)


def record_rows(records: np.ndarray) -> Rows:
    """(n, dim + 4) uint8: dim int8 values, then the float32 scale that they are times of."""
    return Rows.records(np.ascontiguousarray(records))


def product_rows(records: np.ndarray, centroids: np.ndarray) -> Rows:
    """(n, subs) uint8: code c of sub-space m stands for centroids[m, c]; centroids (subs, 256, width) float32."""
    return Rows.product(np.ascontiguousarray(records), np.ascontiguousarray(centroids))


def residual_rows(records: np.ndarray, centroids: np.ndarray, residuals: np.ndarray) -> Rows:
    """(n, 4 + dim / per) uint8: a centroid's number, then bytes that add residuals to it.

    A record stands for the unit vector along centroids[number] + residuals[byte] of all bytes side by side.

    Args:
        centroids: (numbers, dim) float32.
        residuals: (256, per) float32: the `per` dimensions that a byte stands for; 2, 4 or 8.
    """
    return Rows.residual(np.ascontiguousarray(records), centroids, residuals)


def floats_of(rows: Rows) -> np.ndarray:
    """(n, dim) float32: what rows stand for."""
    out = np.empty((len(rows), rows.dim), np.float32)
    _native.widen_rows(rows, out)
    return out


def row_scores(
    rows: Rows,
    offsets: np.ndarray,
    documents: np.ndarray,
    queries: np.ndarray,
    bounds: np.ndarray,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """(documents, queries) float32 MaxSim of chosen documents; minus infinity for a document without tokens.

    Args:
        offsets: int64: document d owns rows offsets[d] to offsets[d + 1] - 1.
        documents: (n,) int64 documents.
        queries: (., dim) float32 rows of all queries.
        bounds: (queries + 1,) int64: query q has the rows bounds[q] to bounds[q + 1] - 1.
        threads: the documents are split among so many at most, where that pays. None: as
            many as `threads.threads` says.
    """
    out = np.empty((len(documents), len(bounds) - 1), np.float32)
    documents, offsets = np.ascontiguousarray(documents, np.int64), np.ascontiguousarray(offsets)
    work = len(rows) * queries.size * len(documents) // max(1, len(offsets) - 1)
    queries, bounds = np.ascontiguousarray(queries), np.ascontiguousarray(bounds)
    _native.row_scores(rows, offsets, documents, queries, bounds, _paid(threads, work), out)
    return out


def row_estimates(
    rows: Rows, offsets: np.ndarray, documents: np.ndarray, query: np.ndarray, *, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """(documents,) float32 twice: scores of rows in bytes and how far those of `row_scores` may lie from them, in a
    third of its time.

    The query is rounded to 8 bits, so that bytes can be multiplied. Minus infinity and 0 without tokens.
    """
    out, errors = np.empty((2, len(documents)), np.float32)
    offsets, documents = np.ascontiguousarray(offsets), np.ascontiguousarray(documents, np.int64)
    _native.row_estimates(rows, offsets, documents, np.ascontiguousarray(query), threads, out, errors)
    return out, errors


def row_products(rows: Rows, query: np.ndarray) -> np.ndarray:
    """(n, q) float32: the products of all rows with a query's (q, dim) float32, which
    `row_scores` takes the maxima of."""
    out = np.empty((len(rows), len(query)), np.float32)
    _native.row_products(rows, np.ascontiguousarray(query), out)
    return out


def best_rows(
    rows: Rows, query: np.ndarray, k: int, *, allowed: np.ndarray | None = None, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The min(k, n) greatest products of each query row (q, dim) float32: scores (q, k) float32
    and row numbers (q, k) int64.

    The greatest first, equal ones by rising row; padded with minus infinity and -1 where
    fewer are `allowed`, (n,) bool.
    """
    shape = len(query), min(k, len(rows))
    scores, places = np.empty(shape, np.float32), np.empty(shape, np.int64)
    mask = None if allowed is None else np.ascontiguousarray(allowed)
    work = len(rows) * query.size
    _native.best_rows(rows, mask, np.ascontiguousarray(query), _paid(threads, work), scores, places)
    return scores, places


def panels(columns: np.ndarray) -> np.ndarray:
    """(dim, n) float32 columns as `multiply` reads them: (ceil(n / 32), dim, 32), filled up with zeros."""
    dim, n = columns.shape
    full = np.zeros((dim, -(-n // 32) * 32), np.float32)
    full[:, :n] = columns
    return np.ascontiguousarray(full.reshape(dim, -1, 32).transpose(1, 0, 2))


def multiply(query: np.ndarray, panels: np.ndarray, n: int, *, threads: int | None = 1) -> np.ndarray:
    """(q, n) float32: the product of a query (q, dim) float32 with n columns."""
    out = np.empty((len(query), n), np.float32)
    _native.multiply(np.ascontiguousarray(query), panels, _paid(threads, query.size * n), out)
    return out


def product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n, m) float32: `left` (n, dim) times `right` (dim, m), both float32. What `@` gives, but the same everywhere."""
    return multiply(left, panels(right), right.shape[1], threads=None)


def dots(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(n,) float64 products of each row of `left` (n, dim) float32 with the same row of `right`, in a fixed order."""
    out = np.empty(len(left), np.float64)
    _native.row_dots(np.ascontiguousarray(left), np.ascontiguousarray(right), out)
    return out


def lengths(rows: np.ndarray) -> np.ndarray:
    """(n,) float64 lengths of rows (n, dim) float32."""
    return np.sqrt(dots(rows, rows))


def unit(rows: np.ndarray) -> np.ndarray:
    """The rows (n, dim) float32 at length one; a zero row stays zero."""
    found = lengths(rows)
    return rows / np.where(found > 0, found, 1).astype(np.float32)[:, None]


def _paid(threads: int | None, work: int) -> int:
    return max(1, min(threads_of_process() if threads is None else threads, work // _WORTH))
