"""COIL as a plan: what `index/coil/search.py` does, behind the face that all systems have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..hits import Hits
from ..params import SearchParams
from ..search.alignment import Alignment
from ..search.part import Part
from ..search.spread import spread
from ..tokens import Tokens
from . import search as coil


@dataclass(frozen=True)
class Coil:
    """Tokens are compared at equal vocabulary ids, and the product of the global vectors
    is added where there are such."""

    width: int
    """Dimensions of the collection's global vectors; 0: none."""

    def search(self, parts: list[Part], queries: Tokens, k: int, params: SearchParams) -> list[Hits]:
        return coil.search(parts, coil.queries_of(queries, self.width), k)

    def score(self, parts: list[Part], query: Tokens, documents: np.ndarray, threads: int) -> np.ndarray:
        """As `Plan`; 0 for a document that shares no id."""
        (one,) = coil.queries_of(query, self.width)
        scores = np.zeros(len(documents), np.float32)
        for part, places, positions in spread(parts, documents):
            found = coil.score(part.segment, positions, one)
            scores[places] = np.where(found > -np.inf, found, 0)
        return scores

    def explain(self, parts: list[Part], query: Tokens, document: int, params: SearchParams) -> Alignment:
        (one,) = coil.queries_of(query, self.width)
        return coil.explain(parts, one, document)
