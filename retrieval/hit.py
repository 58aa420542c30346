"""`Hit`: what a search gives back for each document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..index.tokens import Tokens
from .explanation import Explanation
from .routes import Queries


class Explains(Protocol):
    """Where a hit came from: a collection here, or on a server."""

    def explain(self, query: str | Tokens | Queries, id: str, **search: Any) -> Explanation: ...


@dataclass(frozen=True)
class Hit:
    """A retrieved document."""

    id: str
    score: float
    payload: dict[str, Any]
    _from: Explains
    _query: str | Queries
    _search: dict[str, Any]

    def explain(self) -> Explanation:
        """The token pairs that make up the score."""
        return self._from.explain(self._query, self.id, **self._search)

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "score": self.score, "payload": self.payload}
