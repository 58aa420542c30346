"""`Hit`: what a search gives back for each document."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from reprlib import repr as brief
from typing import Any, Protocol

from ..index.errors import FailedPrecondition, never_fails
from ..index.tokens import Tokens
from .routes.explanation import Explanation
from .routes.find import Queries
from .routes.options import SearchOptions
from .routes.route import Route

_DEPTH = Route.depth


class Explains(Protocol):
    """Where a hit came from: a collection here, or on a server."""

    def explain(self, query: str | Tokens | Queries, id: str, k: int | None = None, **options: Any) -> Explanation: ...


@dataclass(frozen=True, eq=False)
class Origin:
    """The search that a hit came from: what it takes to explain the hit."""

    index: Explains
    query: str | Queries
    k: int
    options: SearchOptions


@dataclass(frozen=True)
class Hit:
    """A retrieved document. It can be pickled and copied; a copy from another process cannot be explained.

    Examples:
        >>> index = plait.create(folder / "hits", encoder=None, dim=2)
        >>> index.add_tokens(["a"], plait.from_matrices([[[1, 0], [0, 1]]]), [{"year": 2020}])
        1
        >>> ((hit,),) = index.search(plait.from_matrices([[[0.6, 0.8]]]))
        >>> hit
        Hit('a': 0.8000, {'year': 2020})
        >>> [match.document.text for match in hit.explain().matches]
        ['[token 1]']
    """

    id: str
    score: float
    payload: dict[str, Any]
    _origin: InitVar[Origin | None] = None

    def __post_init__(self, _origin: Origin | None) -> None:
        object.__setattr__(self, "_origin", _origin)

    @never_fails
    def __repr__(self) -> str:
        return f"{brief(self.id)}: {self.score:.4f}, {brief(self.payload)}"

    def __reduce__(self) -> tuple[type[Hit], tuple[str, float, dict[str, Any]]]:
        return Hit, (self.id, self.score, self.payload)

    def explain(self) -> Explanation:
        """The token pairs, terms and lanes that make up the score.

        Raises:
            FailedPrecondition: the hit was pickled, so that it no longer knows its collection.
        """
        origin: Origin | None = vars(self)["_origin"]
        if origin is None:
            raise FailedPrecondition(
                f"the hit {self.id!r} is a copy that does not know its collection; call explain(query, {self.id!r}) there"
            )
        # A search deeper than the lanes of a hybrid fuses other scores than one for fewer documents.
        deeper = origin.k if origin.k > (origin.options.depth or _DEPTH) else None
        return origin.index.explain(origin.query, self.id, deeper, **origin.options.given())

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "score": self.score, "payload": self.payload}
