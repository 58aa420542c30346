"""What calibrations share: the recall and time of one setting, and the settings that no other one beats in both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np

from ..errors import FailedPrecondition
from ..hits import Hits, merge

DEPTHS = (10, 100)
"""Depths k that a calibration measures unless told otherwise."""
DRAWN = 64
"""Queries drawn where none are given."""


class Measured(Protocol):
    """A setting and what was measured with it."""

    @property
    def k(self) -> int: ...
    @property
    def recall(self) -> float: ...
    @property
    def cpu_ms(self) -> float: ...


SomePoint = TypeVar("SomePoint", bound=Measured)


def measure(search: Callable[[int], Hits], truth: Sequence[Hits], owners: Sequence[int], k: int) -> dict[str, float]:
    """`recall`, `low` and `cpu_ms` of one setting.

    Args:
        search: finds one query's documents; called once for each, as searches come.
        truth: the exact rankings.
        owners: the document that each query came from, which does not count; -1: none.
    """
    start = time.process_time()
    found = [search(q) for q in range(len(truth))]
    cpu = 1000 * (time.process_time() - start) / len(truth)
    shares = _recalls(truth, without(owners, found), k)
    low = max(0.0, float(shares.mean() - 2 * shares.std() / np.sqrt(len(shares))))
    return {"recall": float(shares.mean()), "low": low, "cpu_ms": cpu}


def frontier(points: Iterable[SomePoint]) -> list[SomePoint]:
    """The points that no other one beats in both recall and time, from the cheapest to the dearest."""
    kept: list[SomePoint] = []
    for point in sorted(points, key=lambda p: (p.cpu_ms, -p.recall)):
        if not kept or point.recall > kept[-1].recall:
            kept.append(point)
    return kept


def cheapest(points: Sequence[SomePoint], target_recall: float, k: int) -> SomePoint | None:
    """The cheapest setting whose recall was at least the target at the next measured depth; None: none reached it.

    Raises:
        FailedPrecondition: k is deeper than anything measured.
    """
    depths = sorted({p.k for p in points if p.k >= k})
    if not depths:
        deepest = max((p.k for p in points), default=0)
        raise FailedPrecondition(f"recall was measured up to k = {deepest}, not {k}; calibrate with that k")
    return next((p for p in points if p.k == depths[0] and p.recall >= target_recall), None)


def without(owners: Sequence[int], hits: Sequence[Hits]) -> list[Hits]:
    """The rankings without the document that each query came from."""
    return [
        merge([Hits(h.docs[h.docs != o], h.scores[h.docs != o])], len(h.docs))
        for o, h in zip(owners, hits, strict=True)
    ]


def _recalls(truth: Sequence[Hits], found: Sequence[Hits], k: int) -> np.ndarray:
    """(queries,) the share of the exact top k among the first k found; 1 where there is nothing to find."""
    pairs = zip(truth, found, strict=True)
    return np.array([np.isin(t.docs[:k], f.docs[:k]).mean() if len(t.docs) else 1.0 for t, f in pairs])
