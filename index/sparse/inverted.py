"""`Inverted`: exact search over postings and the rows they were built from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits
from ..kernels import terms as term_kernels
from ..kernels import vectors as kernels
from ..kernels.postings import Postings
from ..kernels.term_query import TermQuery
from ..params import TermParams
from ..term_rows import TermRows
from . import postings
from .postings import LEVELS, WINDOW
from .query import ready


@dataclass(frozen=True, eq=False)
class Rows:
    """The true weights by document, CSR. Flat arrays, to be written and mapped as they are."""

    bounds: np.ndarray
    """(rows + 1,) int64: row r has the entries bounds[r] to bounds[r + 1] - 1."""
    keys: np.ndarray
    """(entries,) uint32, none twice in a row."""
    values: np.ndarray | None
    """(entries,) float32 or float16, not zero. None: all are 1."""
    token_rows: np.ndarray | None = None
    """(documents + 1,) int64, with float32 values: document d has the rows token_rows[d] to token_rows[d + 1] - 1.
    None: document d has row d."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if array is not None)


@dataclass(frozen=True, eq=False)
class Saturation:
    """How much frequencies count (`index/sparse/bm25.py`), for postings of frequencies."""

    table: np.ndarray
    """(256, 256) uint8: the impact of a frequency in a document with a length code."""
    codes: np.ndarray
    """(documents,) uint8."""
    norms: np.ndarray
    """(documents,) float32: a frequency f of document d counts as f / (f + norms[d])."""


@dataclass(frozen=True, eq=False)
class Inverted:
    """Everything one segment needs for the plan. Positions number its documents from 0."""

    postings: Postings
    rows: Rows
    saturation: Saturation | None = None
    """With it, the dot product is of what the frequencies count as."""

    def find(self, query: TermQuery, k: int, *, allowed: np.ndarray | None = None, threads: int = 1) -> Hits:
        """The k documents of the best score sum_i max_j q_i . d_j with one query, of those
        that hold a key that finds them.

        A score is of the rows' weights, in float64, rounded to float32. With neither candidates nor an alpha it is
        exact: postings add up to bounds, and what may be among the k best is scored. Weights of either sign count;
        negative ones cost more, because they bound less.

        Args:
            allowed: (documents,) bool; the others are not hits. If they are few, they are scored one by one.
            threads: the windows are split among them; the answer is the same for any number, but for alpha below 1.

        Raises:
            InvalidArgument: a value out of its bounds, arrays that do not fit, scores beyond float32.
        """
        if k < 1 or threads < 1:
            raise InvalidArgument(f"k is {k} and threads {threads}; both must be at least 1")
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (self.postings.documents,)):
            raise InvalidArgument(
                f"allowed is {allowed.dtype} {allowed.shape}; it must be bool ({self.postings.documents},)"
            )
        if not np.abs(query.rows.weights).sum(dtype=np.float64) * self._greatest <= np.finfo(np.float32).max:
            raise InvalidArgument("scores may leave the range of float32; scale the query or the documents down")
        docs, scores, _ = term_kernels.posting_search(
            self._index, query, min(k, self.postings.documents), allowed=allowed, threads=threads
        )
        return Hits(docs, scores)

    def search(
        self,
        keys: np.ndarray,
        weights: np.ndarray,
        k: int,
        *,
        allowed: np.ndarray | None = None,
        threads: int = 1,
        params: TermParams = TermParams(),
    ) -> Hits:
        """As `find`, for one row: (terms,) uint32 keys in any order, none twice, and (terms,) float32 weights.

        Raises:
            InvalidArgument: as `find`; a key twice, NaN or infinity.
        """
        return self.find(ready(_row(keys, weights), params), k, allowed=allowed, threads=threads)

    def work(self, keys: np.ndarray, weights: np.ndarray, k: int, params: TermParams = TermParams()) -> tuple[int, int]:
        """How many postings such a search reads and how many documents it scores from their rows."""
        query = ready(_row(keys, weights), params)
        *_, work = term_kernels.posting_search(self._index, query, k, allowed=None, threads=1)
        return work

    @cached_property
    def _greatest(self) -> float:
        """No weight of a document is further from zero."""
        p = self.postings
        levels = 1 if p.impacts is None else LEVELS
        return max(float(p.scales.max(initial=0)) * levels, -float(p.lows.min(initial=0)))

    @cached_property
    def _index(self) -> term_kernels.PostingIndex:
        rows = self.rows
        arrays = self.postings, rows.bounds, rows.keys, rows.values, rows.token_rows
        s = self.saturation
        if s is None:
            return term_kernels.posting_index(*arrays)
        return term_kernels.posting_index(*arrays, saturation=s.table, length_codes=s.codes, norms=s.norms)


def build(rows: Any, *, presence: bool = False, half: bool = False, window: int = WINDOW) -> Inverted:
    """Postings and forward rows of sparse rows, a row per document.

    Args:
        rows, presence, window: as for `postings.build`.
        half: keep the weights as float16; what is searched are the rounded weights.

    With `presence`, rows whose weights are all 1 keep none.

    Raises:
        InvalidArgument: as `postings.build`; a weight beyond float16.
    """
    values = np.asarray(rows.data, np.float32)
    if half:
        with np.errstate(over="ignore"):
            values = values.astype(np.float16)
        if not np.isfinite(values).all():
            raise InvalidArgument("a weight is NaN or beyond float16 (65,504); keep float32 if it is finite")
    forward = rows_of(rows, values)
    stored = kernels.widen(values)
    rounded = type(rows)((stored, rows.indices, rows.indptr), shape=rows.shape)
    made = postings.build(rounded, presence=presence, window=window)
    ones = presence and bool((forward.values == 1).all())
    return Inverted(made, Rows(forward.bounds, forward.keys, None) if ones else forward)


def _row(keys: np.ndarray, weights: np.ndarray) -> TermRows:
    """A query of one row, by rising key."""
    keys, weights = np.asarray(keys, np.uint32), np.asarray(weights, np.float32)
    if keys.ndim != 1 or keys.shape != weights.shape:
        raise InvalidArgument(f"keys are {keys.shape}, weights {weights.shape}; one weight for each key")
    # Counting takes a fraction of the time of `all` here, and a query's checks were a tenth of a search.
    if np.count_nonzero(np.isfinite(weights)) < len(weights):
        raise InvalidArgument("a query weight is NaN or infinite")
    if np.count_nonzero(keys[1:] > keys[:-1]) < len(keys) - 1:
        order = np.argsort(keys, kind="stable")
        keys, weights = keys[order], weights[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            raise InvalidArgument(f"the query has the key {keys[twice[0]]} twice; give it once, with its whole weight")
    if np.count_nonzero(weights) < len(weights):
        kept = weights != 0
        keys, weights = keys[kept], weights[kept]
    return TermRows(np.array([0, len(keys)], np.int64), keys, weights)


def rows_of(rows: Any, values: np.ndarray) -> Rows:
    """Forward rows of the entries of sparse rows whose given values are not zero."""
    kept = values != 0
    if kept.all():
        return Rows(rows.indptr.astype(np.int64), rows.indices.astype(np.uint32), values)
    bounds = np.concatenate([[0], np.cumsum(kept)])[rows.indptr].astype(np.int64)
    return Rows(bounds, rows.indices[kept].astype(np.uint32), values[kept])
