"""`Hit`: what a search gives back for each document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .explanation import Explanation
from .routes import Queries

if TYPE_CHECKING:
    from .retriever import Retriever


@dataclass(frozen=True)
class Hit:
    """A retrieved document."""

    id: str
    score: float
    payload: dict[str, Any]
    _retriever: Retriever
    _query: str | Queries
    _search: dict[str, Any]

    def explain(self) -> Explanation:
        """The token pairs that make up the score."""
        return self._retriever.explain(self._query, self.id, **self._search)

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "score": self.score, "payload": self.payload}
