"""Fusion: one ranking from several of the same query, token vectors and terms for instance.

Pure functions on `Hits`. A result holds every document of any ranking, best first; ties by document number. A ranking
may be blind to documents: it cannot hold them, whatever they say. Such a document counts there as it does, on the
weighted mean, in the others, for a lower score would say that it was looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits, best

Blind = Sequence[np.ndarray]
"""For each ranking (n,) int64 numbers of documents."""
NORMALISE = ("minmax", "none", "zscore")


@dataclass(frozen=True, eq=False)
class Fused:
    """One ranking made of several, and what each of them added to it."""

    hits: Hits
    docs: np.ndarray
    """(n,) int64 rising document numbers: all that some ranking holds."""
    contributions: np.ndarray
    """(rankings, n) float64: what each ranking adds to the score of each document. A column sums to the score."""


def rrf(
    rankings: Sequence[Hits], k: float = 60, weights: Sequence[float] | None = None, blind: Blind | None = None
) -> Fused:
    """Reciprocal rank fusion: score(d) = sum_r w_r / (k + rank_r(d)), over the rankings that hold d; ranks from 1.

    Cormack, Clarke, Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods",
    SIGIR 2009; there k = 60 and all w_r = 1.

    Args:
        k: larger: less between the first ranks, more for being in several rankings.
        weights: one for each ranking; None: all 1.
        blind: for each ranking, the documents that it cannot hold.

    Raises:
        InvalidArgument: k below 0, a weight too many or too few or not finite.
    """
    if not (np.isfinite(k) and k >= 0):
        raise InvalidArgument(f"k is {k}; it must be at least 0 (60 is usual)")
    values = [1 / (k + np.arange(1, len(r) + 1)) for r in rankings]
    return _sum(rankings, values, [0.0] * len(rankings), weights, blind)


def weighted(
    rankings: Sequence[Hits],
    weights: Sequence[float] | None = None,
    normalise: str = "minmax",
    blind: Blind | None = None,
) -> Fused:
    """A weighted sum of scores: score(d) = sum_r w_r n_r(d), with n_r a ranking's scores made comparable.

    `minmax`: (s - min) / (max - min) over the ranking's hits; all 1 where they are equal.
        `zscore`: (s - mean) / standard
    deviation; all 0 where they are equal. `none`: s itself. A document that a ranking lacks counts as its last one
    does: 0 with minmax, the lowest z-score; but 0 with `none`, as sparse scores have it. Convex combinations: Bruch,
    Gai, Ingber, "An analysis of fusion functions for hybrid retrieval", arXiv 2210.11934; sums of scores: Fox, Shaw,
    TREC-2, 1994.

    Args:
        weights: one for each ranking; None: all 1.
        blind: for each ranking, the documents that it cannot hold.

    Raises:
        InvalidArgument: another `normalise`, a weight too many or too few or not finite.
    """
    if normalise not in NORMALISE:
        raise InvalidArgument(f"normalise is {normalise!r}; it must be one of {', '.join(NORMALISE)}")
    values = [_normalised(r.scores.astype(np.float64), normalise) for r in rankings]
    lowest = [float(v.min()) if normalise == "zscore" and len(v) else 0.0 for v in values]
    return _sum(rankings, values, lowest, weights, blind)


def _normalised(scores: np.ndarray, how: str) -> np.ndarray:
    if how == "none" or not len(scores):
        return scores
    low, high = scores.min(), scores.max()
    if low == high:
        return np.full(len(scores), 1.0 if how == "minmax" else 0.0)
    if how == "minmax":
        return (scores - low) / (high - low)
    # Sums that are rounded once: their order does not matter.
    left = scores - math.fsum(scores) / len(scores)
    return left / math.sqrt(math.fsum(left * left) / len(left))


def _sum(
    rankings: Sequence[Hits],
    values: Sequence[np.ndarray],
    lacking: Sequence[float],
    weights: Sequence[float] | None,
    blind: Blind | None,
) -> Fused:
    factors = [1.0] * len(rankings) if weights is None else list(weights)
    if len(factors) != len(rankings) or not np.isfinite(factors).all():
        raise InvalidArgument(f"weights are {factors} for {len(rankings)} rankings; give one finite number for each")
    docs = np.unique(np.concatenate([np.zeros(0, np.int64), *(r.docs for r in rankings)]))
    shares, seen, whole = np.zeros((len(rankings), len(docs))), np.zeros(len(docs)), 0.0
    for r, (ranking, value, rest, factor) in enumerate(zip(rankings, values, lacking, factors, strict=True)):
        column = np.full(len(docs), rest)
        column[np.searchsorted(docs, ranking.docs)] = value
        sees = np.ones(len(docs), bool) if blind is None else ~np.isin(docs, blind[r])
        shares[r] = factor * column * sees
        seen += abs(factor) * sees
        whole += abs(factor)
    # Exactly 1 for a document that every ranking sees.
    shares *= np.divide(whole, seen, out=np.ones(len(docs)), where=seen > 0)
    # Rounded first: what differs only by the order of summation ties.
    return Fused(best(docs, shares.sum(axis=0).astype(np.float32), len(docs)), docs, shares)
