"""Measured recall of searches by terms: what leaving out candidates, keys and windows finds of the exact top k.

As `index/recall/calibration.py` does for tokens. The exact search is measured beside the rest: where it is the
cheapest, it is the frontier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from ..catalog.view import View
from ..params import Bm25, TermParams
from ..reading.snapshot import Snapshot
from ..term_rows import TermRows, concatenate
from ..terms import Terms
from .frontier import DRAWN, cheapest, frontier, measure, without

_ROWS, _KEYS = 8, 16
"""Token rows, or keys of its one row, that a query drawn from a document has."""
_ALPHAS = (0.5, 0.7, 0.85)
_SHARES = (1, 2, 5, 20)
"""Candidates tried, for each document wanted."""
_FINDERS = (TermParams(1), TermParams(1, query_terms=8), TermParams(1, query_terms=16), TermParams(1, min_idf=2.0))


@dataclass(frozen=True)
class TermPoint:
    """One setting and what was measured with it; `recall`, `low` and `cpu_ms` as in `calibration.Point`."""

    k: int
    term_candidates: int | None
    query_terms: int | None
    min_idf: float
    alpha: float
    recall: float
    low: float
    cpu_ms: float

    @property
    def params(self) -> TermParams:
        return TermParams(self.term_candidates, self.query_terms, self.min_idf, self.alpha)


@dataclass(frozen=True)
class TermCalibration:
    """What was measured, on which state of the collection, with which queries."""

    points: tuple[TermPoint, ...]
    """The frontier of every depth, each from the cheapest to the dearest; the last reaches 1."""
    queries: int
    source: str
    """`given`, or `drawn`: weights of the collection's own documents."""
    inverted: int
    """How many documents lay in segments, which have postings."""

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> TermCalibration:
        return cls(**{**stored, "points": tuple(TermPoint(**p) for p in stored["points"])})

    def choose(self, target_recall: float, k: int) -> TermParams:
        """The cheapest setting that reached the target at the next measured depth.

        Raises:
            FailedPrecondition: k is deeper than anything measured.
        """
        point = cheapest(self.points, target_recall, k)
        return TermParams() if point is None else point.params


def calibrate_terms(
    snapshot: Snapshot,
    queries: Terms | None,
    bm25: Bm25 | None,
    depths: Sequence[int],
    progress: Callable[[int, int], None] | None = None,
) -> TermCalibration:
    """Measures a grid of settings on one state of the collection, of searches by its first term field.

    Args:
        queries: held-out ones, the best there is; None draws some weights of random documents, and leaves the document
            that a query came from out of both rankings.
        bm25, depths, progress: as for `search_terms` and `calibrate`.
    """
    source, inverted = "drawn" if queries is None else "given", inverted_documents(snapshot.view)
    asked, owners = draw_terms(snapshot, bm25 is not None) if queries is None else (queries, [-1] * len(queries))
    if not inverted or not len(asked):
        return TermCalibration((), 0, source, inverted)
    spare = 1 if source == "drawn" else 0
    truth = without(owners, snapshot.search_terms(asked, max(depths) + spare, bm25=bm25))
    measured, grid = [], [(k, params) for k in sorted(set(depths)) for params in _grid(k + spare)]
    for done, (k, params) in enumerate(grid):

        def search(q: int, k: int = k, params: TermParams = params):
            return snapshot.search_terms(asked.take([q]), k + spare, bm25=bm25, params=params)[0]

        measured.append(TermPoint(k, *astuple(params), **measure(search, truth, owners, k)))
        if progress:
            progress(done + 1, len(grid))
    points = tuple(p for k in sorted(set(depths)) for p in frontier([m for m in measured if m.k == k]))
    return TermCalibration(points, len(asked), source, inverted)


def inverted_documents(view: View) -> int:
    """Documents in segments: fresh ones are always searched exactly."""
    return sum(row.documents for row in view.segments() if row.published)


def draw_terms(snapshot: Snapshot, counts: bool, count: int = DRAWN, seed: int = 0) -> tuple[Terms, list[int]]:
    """Queries of some weights of random living documents, and the numbers of those documents.

    Of token rows a run is taken, of one row some keys at random; counts of terms are counted once.
    """
    rng, queries, owners, field = np.random.default_rng(seed), [], [], snapshot.first_field
    living = [
        (part, position)
        for part in snapshot.parts()
        for position in np.flatnonzero(
            np.diff(part.segment.terms[field].bounds) * (True if part.allowed is None else part.allowed)
        )
    ]
    for chosen in np.sort(rng.choice(len(living), min(count, len(living)), replace=False)).tolist() if living else []:
        part, position = living[chosen]
        queries.append(_part(part.segment.terms[field].take([position]), counts, rng))
        owners.append(int(part.segment.documents[position]))
    if not queries:
        return TermRows(np.zeros(1, np.int64), np.zeros(0, np.uint32), np.zeros(0, np.float32)).terms(), []
    return concatenate(queries).terms(), owners


def _part(document: TermRows, counts: bool, rng: np.random.Generator) -> TermRows:
    if document.row_offsets is not None:
        first = int(rng.integers(0, max(1, len(document.offsets) - _ROWS)))
        offsets = document.offsets[first : first + _ROWS + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        runs = np.array([0, len(offsets) - 1], np.int64)
        return TermRows(offsets - offsets[0], document.keys[entries], document.weights[entries], runs)
    kept = np.sort(rng.choice(len(document.keys), min(_KEYS, len(document.keys)), replace=False))
    weights = np.ones(len(kept), np.float32) if counts else document.weights[kept]
    return TermRows(np.array([0, len(kept)], np.int64), document.keys[kept], weights)


def _grid(k: int) -> list[TermParams]:
    cuts = [replace(finder, term_candidates=share * k) for share in _SHARES for finder in _FINDERS]
    return [TermParams(), *(TermParams(alpha=alpha) for alpha in _ALPHAS), *cuts]
