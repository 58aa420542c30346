"""Measured recall: what the search parameters of a collection find of the exact top k, and what they cost.

A calibration searches held-out queries (or queries drawn from the documents) once exactly and then with each setting of
a grid. The settings that no other one beats in both recall and time are kept with the collection: its frontier. A
search may then name a recall instead of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ..catalog.view import View
from ..errors import DataLoss, InvalidArgument
from ..params import Scoring, SearchParams
from ..reading.snapshot import Snapshot
from ..tokens import Tokens, concatenate, from_matrices
from .frontier import DEPTHS, DRAWN, cheapest, frontier, measure, without
from .term_calibration import TermCalibration

_LENGTH = 16
"""Tokens of a drawn query."""
_NPROBE = (2, 4, 8, 16, 32, 64)
_SHARES = (4, 6, 10, 20)
"""Candidates tried, for each document wanted: a search scores at least four."""


@dataclass(frozen=True)
class Point:
    """One setting and what was measured with it."""

    k: int
    nprobe: int
    candidates: int
    recall: float
    """Mean share of the exact top k that was found."""
    low: float
    """Recall less two standard errors: what a fresh set of as many queries would hardly fall below."""
    cpu_ms: float
    """CPU time of one query, all threads."""


@dataclass(frozen=True)
class Calibration:
    """What was measured, on which state of the collection, with which queries."""

    points: tuple[Point, ...]
    """The frontier of every depth, each from the cheapest to the dearest."""
    queries: int
    source: str
    """`given`, or `drawn`: runs of tokens of the collection's own documents."""
    documents: int
    """How many there were."""
    coded: int
    """How many of them lay in segments whose search may miss something."""
    terms: TermCalibration | None = None
    """The same of searches by terms; None: not measured."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Calibration:
        """DataLoss: it lacks something, or has what this plait does not know."""
        try:
            terms = stored.get("terms")
            points = tuple(Point(**p) for p in stored["points"])
            return cls(**{**stored, "points": points, "terms": TermCalibration.from_json(terms) if terms else None})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise DataLoss(f"the calibration cannot be read ({error}); calibrate again") from None

    def choose(self, target_recall: float, k: int, params: SearchParams) -> SearchParams | None:
        """The cheapest setting whose recall was at least the target at the next measured depth;
        None: only exact search is.

        Raises:
            FailedPrecondition: k is deeper than anything measured.
        """
        point = cheapest(self.points, target_recall, k)
        return None if point is None else replace(params, nprobe=point.nprobe, candidates=point.candidates)


def calibrate(
    snapshot: Snapshot,
    queries: Tokens | None = None,
    depths: Sequence[int] = DEPTHS,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Measures every setting of the store's grid on one state of the collection.

    Nothing is tried where every segment is exact: any setting finds everything.

    Args:
        queries: held-out ones, the best there is; None draws runs of 16 tokens from the documents, and leaves the
            document that a query came from out of both rankings.
        depths: values of k. Deeper ones take longer; a search uses the next depth that was measured.
        progress: called as progress(done, steps): the exact search, then one step for each setting.

    Raises:
        InvalidArgument: no depths, or one below 1.
    """
    if not depths or min(depths) < 1:
        raise InvalidArgument(f"depths are {list(depths)}; at least one, none below 1")
    source = "drawn" if queries is None else "given"
    documents, coded = snapshot.view.count(), coded_documents(snapshot.view)
    if not coded:
        return Calibration((), 0, source, documents, coded)
    asked, owners = draw(snapshot) if queries is None else (queries, [-1] * len(queries))
    if not len(asked):
        return Calibration((), 0, source, documents, coded)
    grid = [(k, params) for k in sorted(set(depths)) for params in _grid(snapshot, k)]
    tell = progress or (lambda done, steps: None)
    tell(0, len(grid) + 1)
    spare = 1 if source == "drawn" else 0
    truth = without(owners, snapshot.search(asked, max(depths) + spare, exact=True))
    tell(1, len(grid) + 1)
    measured = []
    for done, (k, params) in enumerate(grid, 2):

        def search(q: int, k: int = k, params: SearchParams = params):
            return snapshot.search(asked.take([q]), k + spare, Scoring(), params)[0]

        measured.append(Point(k, params.nprobe, params.candidates, **measure(search, truth, owners, k)))
        tell(done, len(grid) + 1)
    points = tuple(p for k in sorted(set(depths)) for p in frontier([m for m in measured if m.k == k]))
    return Calibration(points, len(asked), source, documents, coded)


def coded_documents(view: View) -> int:
    """Documents in segments whose search may miss something: those with a codebook, and so a drift."""
    return sum(row.documents for row in view.segments() if row.published and row.drift is not None)


def draw(snapshot: Snapshot, count: int = DRAWN, seed: int = 0) -> tuple[Tokens, list[int]]:
    """Queries made of runs of tokens of random living documents, and the numbers of those documents."""
    parts = [
        (p, np.flatnonzero(p.segment.tokens.lengths * (True if p.allowed is None else p.allowed)))
        for p in snapshot.parts()
    ]
    sizes = np.array([len(full) for _, full in parts], np.int64)
    if not sizes.sum():
        return from_matrices([], 1), []
    rng, queries, owners = np.random.default_rng(seed), [], []
    for chosen in np.sort(rng.choice(sizes.sum(), min(count, int(sizes.sum())), replace=False)).tolist():
        which = int(np.searchsorted(np.cumsum(sizes), chosen, side="right"))
        part, full = parts[which]
        position = int(full[chosen - int(sizes[:which].sum())])
        document = part.segment.document(position)
        first = int(rng.integers(0, max(1, len(document.vectors) - _LENGTH + 1)))
        queries.append(from_matrices([document.vectors[first : first + _LENGTH]]))
        owners.append(int(part.segment.documents[position]))
    return concatenate(queries), owners


def _grid(snapshot: Snapshot, k: int) -> list[SearchParams]:
    """Settings to try, by what the segments' stores heed."""
    probing = any(part.store.probes for part in snapshot.parts())
    probes = _NPROBE if probing else (SearchParams().nprobe,)
    return [SearchParams(nprobe=n, candidates=share * k) for n in probes for share in _SHARES]
