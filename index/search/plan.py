"""What a system is to a search: three ways of comparing the tokens of queries with those of documents."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..hits import Hits
from ..params import SearchParams
from ..tokens import Tokens
from .alignment import Alignment
from .part import Part


class Plan(Protocol):
    """A system's own way through the token vectors of a collection. `index/reading/plans.py` chooses one for a search.

    All three agree: a document that `search` finds has the score that `score` gives and whose reasons `explain` tells.
    """

    def search(self, parts: list[Part], queries: Tokens, k: int, params: SearchParams) -> list[Hits]:
        """The k best allowed documents of each query, under their collection-wide numbers."""
        ...

    def score(self, parts: list[Part], query: Tokens, documents: np.ndarray, threads: int) -> np.ndarray:
        """(documents,) float32 exact scores of one query with documents by number, in their order.

        Minus infinity for a document that has nothing to compare. NotFound: a number that no part holds.
        """
        ...

    def explain(self, parts: list[Part], query: Tokens, document: int, params: SearchParams) -> Alignment | None:
        """Why the document of this number has its score for one query. None: it has no tokens to align with."""
        ...
