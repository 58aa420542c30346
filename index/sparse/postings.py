"""`Postings`: an inverted index in flat arrays, documents in windows, weights rounded up to a byte.

Sums of rounded-up weights are bounds of scores: a search adds them up in two bytes per document of a window and scores
from their rows only the documents whose bound reaches the k-th best score (`index/sparse/inverted.py`). A posting takes
three bytes, an offset in its window and an impact; two where all weights are alike and only presence is stored, as in
SVDR (Zhou et al., 2024). Impact-ordered bytes are those of Anh and Moffat (SIGIR 2006); windows are how Lucene
evaluates disjunctions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InvalidArgument
from ..kernels.postings import Postings
from ..term_rows import TermRows

WINDOW = 32_768
"""Documents of a window. Fewer fit a smaller cache, but a search meets more windows with few postings each."""
WIDEST = 1 << 16
"""An offset has two bytes."""
LEVELS = 255
"""Impacts are 1 to 255."""
_BLOCK = 1 << 22


def build(rows: Any, *, presence: bool = False, window: int = WINDOW) -> Postings:
    """Inverts sparse rows, a row per document.

    Args:
        rows: (documents, keys) scipy CSR with rising keys, none twice in a row (`terms.check`). Zeros are left out.
        presence: store only which documents a term is in. A term's bound is then its greatest weight.
        window: documents per window, 1 to 65,536.

    Raises:
        InvalidArgument: a window out of bounds, NaN or infinity, more than 2^32 keys.
    """
    documents, weights, terms, keys = _by_term(rows)
    scales, lows = _ranges(weights, _first(terms, len(keys)), 1 if presence else LEVELS)
    impacts = None if presence else _impacts(weights, scales, terms)
    return _assemble(rows.shape[0], window, documents, terms, keys, scales, lows, impacts)


def build_frequencies(rows: Any, *, window: int = WINDOW) -> Postings:
    """Inverts term frequencies for `index/sparse/bm25.py`: an impact is the frequency, 255 for more, and every scale 1
    / 255.

    Args:
        rows, window: as for `build`; whole numbers of 0 or more.

    Raises:
        InvalidArgument: as `build`; a frequency that is negative or not whole.
    """
    documents, frequencies, terms, keys = _by_term(rows)
    wrong = (frequencies < 0) | (frequencies != np.floor(frequencies))
    if wrong.any():
        raise InvalidArgument(f"a frequency is {frequencies[np.argmax(wrong)]}; it must be a whole number of 0 or more")
    scales, lows = np.full(len(keys), up(1 / LEVELS), np.float32), np.zeros(len(keys), np.float32)
    impacts = np.minimum(frequencies, LEVELS).astype(np.uint8)
    return _assemble(rows.shape[0], window, documents, terms, keys, scales, lows, impacts)


def build_maxima(rows: TermRows, *, window: int = WINDOW) -> Postings:
    """Inverts documents of several rows: a posting is of the greatest weight of its key in
    any row, the lows of all rows.

    Args:
        window: as for `build`.
    """
    made = build(maxima(rows).terms().rows, window=window)
    if not len(rows.weights) or rows.weights.min() >= 0:
        return made
    lows = np.zeros(len(made.keys), np.float32)
    np.minimum.at(lows, np.searchsorted(made.keys, rows.keys), rows.weights)
    return replace(made, lows=lows)


def maxima(rows: TermRows) -> TermRows:
    """One row per document: the greatest weight of each key in any of its rows."""
    bounds, first = rows.bounds, 0
    keys, weights, counts = [np.zeros(0, np.uint32)], [np.zeros(0, np.float32)], [np.zeros(1, np.int64)]
    while first < len(rows):
        last = max(first + 1, int(np.searchsorted(bounds, bounds[first] + _BLOCK, side="right")) - 1)
        entries = slice(int(bounds[first]), int(bounds[last]))
        owners = np.repeat(np.arange(last - first), np.diff(bounds[first : last + 1]))
        cells = owners << 32 | rows.keys[entries]
        order = np.argsort(cells, kind="stable")
        cells = cells[order]
        opens = np.flatnonzero(np.diff(cells, prepend=-1))
        keys.append(cells[opens].astype(np.uint32))
        weights.append(np.maximum.reduceat(rows.weights[entries][order], opens) if len(opens) else weights[0])
        counts.append(np.bincount(cells[opens] >> 32, minlength=last - first))
        first = last
    return TermRows(np.cumsum(np.concatenate(counts)), np.concatenate(keys), np.concatenate(weights))


def _assemble(
    count: int,
    window: int,
    documents: np.ndarray,
    terms: np.ndarray,
    keys: np.ndarray,
    scales: np.ndarray,
    lows: np.ndarray,
    impacts: np.ndarray | None,
) -> Postings:
    """Cuts postings, sorted by term and document, into runs."""
    if not 1 <= window <= WIDEST:
        raise InvalidArgument(f"window is {window}; it must be 1 to {WIDEST}")
    of_window = documents // window
    opens = np.ones(len(terms), bool)
    opens[1:] = (np.diff(terms) != 0) | (np.diff(of_window) != 0)
    starts = np.flatnonzero(opens)
    maxima = np.ones(len(starts), np.uint8)
    if impacts is not None and len(starts):
        maxima = np.maximum.reduceat(impacts, starts)
    bounds = np.append(_first(terms, len(keys)), len(terms))
    return Postings(
        documents=count,
        window=window,
        keys=keys,
        term_runs=np.searchsorted(starts, bounds).astype(np.int64),
        windows=of_window[starts].astype(np.uint32),
        starts=np.append(starts, len(terms)).astype(np.int64),
        maxima=maxima,
        scales=scales,
        lows=lows,
        offsets=(documents % window).astype(np.uint16),
        impacts=impacts,
    )


def _first(terms: np.ndarray, count: int) -> np.ndarray:
    """(count,) where each term's postings start."""
    return np.searchsorted(terms, np.arange(count, dtype=terms.dtype))


def up(value: np.ndarray | float) -> np.ndarray:
    """float32 no less than the value."""
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return value
    exact = np.asarray(value, np.float64)
    near = exact.astype(np.float32)
    return np.where(near.astype(np.float64) < exact, np.nextafter(near, np.float32(np.inf)), near)


def _by_term(rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Documents, weights and term numbers of all entries that are not zero, by term and then document; the keys."""
    if rows.shape[1] > 1 << 32:
        raise InvalidArgument(f"the rows have {rows.shape[1]} keys; at most 2^32 can be stored")
    from scipy import sparse  # here, since importing it takes half as long as all of plait.index

    weights = np.asarray(rows.data, np.float32)
    if not np.isfinite(weights).all():
        raise InvalidArgument("a weight is NaN or infinite; terms.check names its row")
    keys, terms = _number(rows.indices, rows.shape[1])
    shape = (rows.shape[0], len(keys))
    columns = sparse.csr_array((weights, terms, rows.indptr), shape=shape).tocsc()
    numbers = np.repeat(np.arange(len(keys), dtype=np.int32), np.diff(columns.indptr))
    kept = columns.data != 0
    if kept.all():
        return columns.indices, columns.data, numbers, keys
    numbers = numbers[kept]
    used, numbers = _number(numbers, len(keys))
    return columns.indices[kept], columns.data[kept], numbers, keys[used]


def _number(values: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct values as uint32, rising, and for each value its place among them as int32."""
    if limit > 8 * len(values) + 1024:
        distinct, places = np.unique(values, return_inverse=True)
        return distinct.astype(np.uint32), places.astype(np.int32)
    occurs = np.zeros(limit, bool)
    occurs[values] = True
    return np.flatnonzero(occurs).astype(np.uint32), (np.cumsum(occurs, dtype=np.int32) - 1)[values]


def _ranges(weights: np.ndarray, starts: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Each term's scale, such that `levels` of it are no less than its greatest weight, and its least weight or 0."""
    if not len(starts):
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    most = np.maximum(np.maximum.reduceat(weights, starts), 0).astype(np.float64)
    scales = up(most / levels)
    short = scales.astype(np.float64) * levels < most
    scales[short] = np.nextafter(scales[short], np.float32(np.inf))
    return scales, np.minimum(np.minimum.reduceat(weights, starts), 0)


def _impacts(weights: np.ndarray, scales: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """Weights in units of their term's scale, rounded up; 1 for negative ones.

    A quotient of two float32 numbers that is not whole is further from whole numbers than float64 rounds.
    """
    out = np.empty(len(weights), np.uint8)
    step = 1 << 20
    for start in range(0, len(weights), step):
        of = scales[terms[start : start + step]].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            levels = np.ceil(weights[start : start + step] / of)
        out[start : start + step] = np.where(of > 0, np.clip(levels, 1, LEVELS), 1)
    return out
