"""Which document token met each query token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..tokens import Tokens
from .part import Part, locate


@dataclass(frozen=True, eq=False)
class Alignment:
    """Why one document has its score: every query token with the document token it met."""

    score: float
    """The sum of the contributions: in float64, in the order of the query's tokens, rounded once to float32. What
    `search` gave, to the bit."""
    contributions: np.ndarray
    """(q,) float32."""
    similarities: np.ndarray
    """(q,) float32 similarity with the matched token, or the imputed value."""
    matches: np.ndarray
    """(q,) int64 position of the matched token within the document; -1: imputed."""
    document: Tokens
    """The document's tokens as stored, their vectors as float32."""
    vector: float | None = None
    """The product of the global vectors, where the system adds it to the contributions."""


def unmet(parts: list[Part], query: np.ndarray, doc: int) -> Alignment:
    """That of a document whose tokens are still to come: nothing met, and nothing imputed."""
    part, position = locate(parts, doc)
    zeros = np.zeros(len(query), np.float32)
    return Alignment(0.0, zeros, zeros, np.full(len(query), -1), part.segment.document(position))
