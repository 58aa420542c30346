"""The candidate loop: retrieve tokens, arrange them by document, impute, refine. One
path for every store and system."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..kernels.vectors import widen
from ..params import SearchParams
from ..search.part import Part
from ..stopping import steps
from ..tokens import Tokens
from .cells import Cells, cells

_MATCHES, _ROWS = 1 << 20, 1 << 10
"""Tokens of a segment retrieved at a time, for so many rows of queries at most; a longer query goes alone."""


def retrieve(parts: list[Part], queries: Tokens, params: SearchParams) -> Iterator[Cells]:
    """The k' best tokens of the whole collection for each row of every query, arranged by document.

    k' is cut after the segments are merged, so the answer does not depend on how documents are spread over segments.
    """
    vectors, offsets = widen(queries.vectors), queries.offsets
    for first, last in steps(passes(queries.lengths * max(params.k_token, _MATCHES // _ROWS), _MATCHES)):
        found = _tokens(parts, vectors[offsets[first] : offsets[last]], params)
        for q in range(first, last):
            mine = slice(offsets[q] - offsets[first], offsets[q + 1] - offsets[first])
            yield cells(*(a[mine] for a in found))


def passes(costs: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of queries whose costs (queries,) add up to `most` or less; a dearer query goes alone."""
    ends, first = np.cumsum(costs), 0
    while first < len(costs):
        last = int(np.searchsorted(ends, (ends[first - 1] if first else 0) + most, side="right"))
        last = max(first + 1, last)
        yield first, last
        first = last


def _tokens(parts: list[Part], vectors: np.ndarray, params: SearchParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k' best tokens for each row (q, dim) float32: (q, k') scores, document numbers and rows of their segments."""
    scores, docs, rows = [], [], []
    for part in steps(parts):
        s, r = part.store.search(vectors, params.k_token, params.nprobe, rows=part.rows)
        scores.append(s)
        rows.append(r)
        owner = part.segment.owners_of(np.maximum(r, 0))
        docs.append(np.where(r >= 0, part.segment.documents[owner] if len(part.segment.documents) else -1, -1))
    if not parts:
        nothing = np.zeros((len(vectors), 0), np.int64)
        return nothing.astype(np.float32), nothing, nothing
    s, d, r = np.hstack(scores), np.hstack(docs), np.hstack(rows)
    order = np.lexsort((r, d, -s), axis=1)[:, : params.k_token]
    return np.take_along_axis(s, order, 1), np.take_along_axis(d, order, 1), np.take_along_axis(r, order, 1)
