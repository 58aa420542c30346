"""`Hits`: ranked documents as two parallel arrays, and the one rule for choosing and ordering them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import never_fails

_SHOWN = 3
"""Of a ranking, so many hits in its `repr`."""


@dataclass(frozen=True, eq=False)
class Hits:
    """Best first; equal scores by rising document number, so that a ranking is reproducible.

    Examples:
        >>> plait.Hits(np.array([7, 2]), np.array([1.5, 1.25], np.float32))
        Hits(2: 7 (1.5000), 2 (1.2500))
    """

    docs: np.ndarray
    """(k,) int64 document numbers."""
    scores: np.ndarray
    """(k,) float32."""

    def __len__(self) -> int:
        return len(self.docs)

    @never_fails
    def __repr__(self) -> str:
        first = zip(self.docs[:_SHOWN].tolist(), self.scores[:_SHOWN].tolist(), strict=True)
        rest = ", ..." if len(self) > _SHOWN else ""
        return f"{len(self):,}: {', '.join(f'{doc} ({score:.4f})' for doc, score in first)}{rest}"


def best(docs: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    """The k best of the given documents; a score of minus infinity means "not retrieved" and never enters."""
    if k < len(scores):
        # Everything tied with the k-th score stays until the tie is broken by document number.
        kth = np.partition(scores, len(scores) - k)[len(scores) - k]
        keep = np.flatnonzero((scores >= kth) & (scores > -np.inf))
    else:
        keep = np.flatnonzero(scores > -np.inf)
    order = keep[np.lexsort((docs[keep], -scores[keep]))][:k]
    return Hits(docs[order].astype(np.int64), scores[order].astype(np.float32))


def merge(parts: list[Hits], k: int) -> Hits:
    """The k best of several rankings of different documents."""
    if not parts:
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.float32))
    return best(np.concatenate([p.docs for p in parts]), np.concatenate([p.scores for p in parts]), k)
