"""The routes of a query through a collection: by token vectors, by terms, or by both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..index.bm25 import Bm25
from ..index.collection import Collection
from ..index.errors import InvalidArgument
from ..index.filters import Filter, parse
from ..index.fusion import rrf, weighted
from ..index.hits import Hits, best
from ..index.scoring import Scoring, SearchParams, TermParams
from ..index.snapshot import Snapshot
from ..index.terms import Terms
from ..index.tokens import Tokens
from .systems import System

MODES = ("tokens", "terms", "hybrid", "rerank")
FUSIONS = ("rrf", "weighted")
_WHOLE = TermParams()
_OPTIONS = ("mode", "exact", "depth", "fusion", "fusion_k", "normalise", "weights")


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries made ready for a route: the sides that it needs."""

    tokens: Tokens | None = None
    terms: Terms | None = None

    def __len__(self) -> int:
        return len(self.terms) if self.tokens is None and self.terms is not None else len(self.tokens or ())

    def one(self, query: int) -> Queries:
        tokens = None if self.tokens is None else self.tokens.take([query])
        return Queries(tokens, None if self.terms is None else self.terms.take([query]))


@dataclass(frozen=True)
class Route:
    """Which way a query takes, and what it may spend."""

    mode: str
    """`tokens`: late interaction. `terms`: sparse. `hybrid`: both, fused. `rerank`: the best by terms, scored by late
    interaction."""
    scoring: Scoring
    params: SearchParams
    term_params: TermParams = _WHOLE
    exact: bool = False
    filter: Filter | None = None
    bm25: Bm25 | None = None
    depth: int = 100
    """Documents that each side gives to `hybrid`, and terms to `rerank`; never fewer than k. Larger: recall; time grows."""
    fusion: str = "rrf"
    """`hybrid`: `rrf`, reciprocal ranks, or `weighted`, a weighted sum of normalised scores (`index/fusion.py`)."""
    fusion_k: float = 60
    """`rrf`. Larger: less between the first ranks, more for being in both."""
    normalise: str = "minmax"
    """`weighted`: `minmax`, `zscore` or `none`."""
    weights: tuple[float, float] = (1, 1)
    """`hybrid`: what ranks or scores by tokens and by terms count."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidArgument(f"mode is {self.mode!r}; it must be one of {', '.join(MODES)}")
        if self.fusion not in FUSIONS:
            raise InvalidArgument(f"fusion is {self.fusion!r}; it must be one of {', '.join(FUSIONS)}")
        if self.depth < 1:
            raise InvalidArgument(f"depth is {self.depth}; it must be at least 1")

    @property
    def sides(self) -> tuple[bool, bool]:
        """Whether this route needs a query's token vectors, and its terms."""
        return self.mode != "terms", self.mode != "tokens"


def route_of(search: dict[str, Any], system: System, collection: Collection, bm25: Bm25 | None, k: int | None) -> Route:
    """A search's parameters as the way it takes. Without k, for one document: a target recall changes nothing there.

    In `hybrid` and `rerank` a target is of what each side finds, at its depth.

    Raises:
        InvalidArgument: an unknown parameter, a value out of its bounds, two that contradict each other.
        FailedPrecondition: a target recall where none was measured.
    """
    chosen = dict(search)
    filter, target = chosen.pop("filter", None), chosen.pop("target_recall", None)
    scoring = replace(system.scoring, missing=chosen.pop("missing", system.scoring.missing))
    spent, left = ({n: chosen.pop(n) for n in vars(p) if n in chosen} for p in (system.params, _WHOLE))
    if unknown := chosen.keys() - set(_OPTIONS):
        known = [*vars(system.params), *vars(_WHOLE), "missing", *_OPTIONS, "target_recall", "filter"]
        raise InvalidArgument(f"unknown search parameter in {sorted(unknown)}; known are {', '.join(known)}")
    params, exact = replace(system.params, **spent), bool(chosen.pop("exact", False))
    mode = chosen.pop("mode", None) or ("tokens" if collection.dim else "terms")
    condition = None if filter is None else as_filter(filter)
    route = Route(mode, scoring, params, TermParams(**left), exact, condition, bm25, **chosen)
    if exact and left:
        raise InvalidArgument(f"exact leaves nothing out, {', '.join(left)} do; give one or the other")
    if target is None or k is None or exact:
        return route
    if scoring.tokens != "all" or {"nprobe", "candidates"} & spent.keys() or left:
        raise InvalidArgument(
            "target_recall chooses what colbert's searches and those by terms leave out (nprobe, candidates, "
            f"{', '.join(vars(_WHOLE))}); give one or the other"
        )
    return _reaching(route, collection, target, k)


def _reaching(route: Route, collection: Collection, target: float, k: int) -> Route:
    """The route with parameters that reached a recall, on each side that finds documents."""
    depth = max(k, route.depth) if route.mode in ("hybrid", "rerank") else k
    if route.mode != "tokens":
        route = replace(route, term_params=collection.reaching_terms(target, depth))
    if route.mode in ("tokens", "hybrid"):
        reaching = collection.reaching(target, depth, route.params)
        route = replace(route, exact=reaching is None, params=reaching or route.params)
    return route


def as_filter(condition: Any) -> Filter:
    """A filter, or the JSON form of one."""
    return parse(condition) if isinstance(condition, Mapping) else condition


def find(snapshot: Snapshot, route: Route, queries: Queries, k: int) -> list[Hits]:
    """The k best documents of every query. Scores: MaxSim, or sparse, or (hybrid) sums of reciprocal ranks or scores."""
    tokens, terms = queries.tokens, queries.terms
    if route.mode == "tokens":
        return _by_tokens(snapshot, route, tokens, k)
    depth = k if route.mode == "terms" else max(k, route.depth)
    sparse = snapshot.search_terms(_given(terms, "terms"), depth, route.filter, route.bm25, route.term_params)
    if route.mode == "terms":
        return sparse
    if route.mode == "rerank":
        given = _given(tokens, "token vectors")
        return [best(hits.docs, snapshot.score_tokens(given.take([q]), hits.docs), k) for q, hits in enumerate(sparse)]
    dense = _by_tokens(snapshot, route, tokens, depth)
    pairs = zip(dense, sparse, strict=True)
    if route.fusion == "rrf":
        fused = [rrf(pair, route.fusion_k, route.weights) for pair in pairs]
    else:
        fused = [weighted(pair, route.weights, route.normalise) for pair in pairs]
    return [Hits(hits.docs[:k], hits.scores[:k]) for hits in fused]


def _by_tokens(snapshot: Snapshot, route: Route, tokens: Tokens | None, k: int) -> list[Hits]:
    given = _given(tokens, "token vectors")
    return snapshot.search(given, k, route.scoring, route.params, route.filter, route.exact)


def _given(side: Any, name: str) -> Any:
    if side is None:
        raise InvalidArgument(f"this query has no {name}; choose another mode, or give a text")
    return side
