"""The routes of a query through a collection: by token vectors, by terms, by a global vector, or by several of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..index.bm25 import Bm25
from ..index.collection import Collection
from ..index.errors import InvalidArgument
from ..index.filters import Filter, parse
from ..index.fusion import rrf, weighted
from ..index.hits import Hits, best
from ..index.representations import Schema
from ..index.scoring import Scoring, SearchParams, TermParams
from ..index.snapshot import Snapshot
from ..index.terms import Terms
from ..index.tokens import Tokens
from .beta import Embed, late_scores
from .corpus import document_text
from .systems import System

MODES = ("tokens", "terms", "vector", "sum", "hybrid", "rerank")
FUSIONS = ("rrf", "weighted")
_WHOLE = TermParams()
_OPTIONS = ("mode", "exact", "depth", "fusion", "fusion_k", "normalise", "weights")


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries made ready for a route: the sides that it needs."""

    tokens: Tokens | None = None
    """With the global vectors, if there are such; of these alone, as `from_vectors` makes them, if there are no tokens."""
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
    """`tokens`: late interaction. `terms`: sparse. `vector`: the global vectors. `sum`: scores by terms and by vector, added
    (DupMAE). `hybrid`: all that there are, fused. `rerank`: the best by terms, scored by late
    interaction; without token vectors, by the embeddings that are then made of them (SVDR's late parametric)."""
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
    weights: tuple[float, ...] | None = None
    """`hybrid`: what ranks or scores by each of the `lanes` count; None: all alike."""
    lanes: tuple[str, ...] = ()
    """`hybrid`: what is fused, those of `tokens`, `terms`, `vector` that there are. COIL's tokens have the vector within."""
    embed: Embed | None = None
    """`rerank` where there are no token vectors: embeds the documents found."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidArgument(f"mode is {self.mode!r}; it must be one of {', '.join(MODES)}")
        if self.fusion not in FUSIONS:
            raise InvalidArgument(f"fusion is {self.fusion!r}; it must be one of {', '.join(FUSIONS)}")
        if self.depth < 1:
            raise InvalidArgument(f"depth is {self.depth}; it must be at least 1")

    @property
    def sides(self) -> tuple[bool, bool, bool]:
        """Whether this route needs a query's token vectors, its terms, and its global vector (COIL's tokens do not say so)."""
        needed = {
            "sum": ("terms", "vector"),
            "rerank": ("terms",) if self.embed else ("tokens", "terms"),
            "hybrid": self.lanes,
        }
        lanes = needed.get(self.mode, (self.mode,))
        return "tokens" in lanes, "terms" in lanes, "vector" in lanes


def route_of(
    search: dict[str, Any],
    system: System,
    collection: Collection,
    bm25: Bm25 | None,
    k: int | None,
    embed: Embed | None = None,
) -> Route:
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
    mode = chosen.pop("mode", None) or _usual(collection.schema, bm25)
    lanes = _lanes(collection.schema, scoring)
    if mode == "hybrid" and len(lanes) < 2:
        other = [name for name in ("terms", "tokens", "vector") if name not in lanes]
        raise InvalidArgument(
            f"mode is 'hybrid', and this collection holds no {' or '.join(other)} beside {', '.join(lanes)}"
        )
    condition = None if filter is None else as_filter(filter)
    route = Route(mode, scoring, params, TermParams(**left), exact, condition, bm25, lanes=lanes, **chosen)
    if mode == "rerank" and not collection.schema.dim:
        route = replace(route, embed=embed)
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
    finding = route.lanes if route.mode == "hybrid" else ("terms" if route.mode == "rerank" else route.mode,)
    if "terms" in finding:
        route = replace(route, term_params=collection.reaching_terms(target, depth))
    if "tokens" in finding:
        reaching = collection.reaching(target, depth, route.params)
        route = replace(route, exact=reaching is None, params=reaching or route.params)
    return route


def _usual(schema: Schema, bm25: Bm25 | None) -> str:
    if schema.dim or not schema.vector:
        return "tokens" if schema.dim else "terms"
    # BM25 and a vector were not made to be added.
    return "vector" if schema.terms is None else "sum" if bm25 is None else "hybrid"


def _lanes(schema: Schema, scoring: Scoring) -> tuple[str, ...]:
    own = schema.vector and not (schema.dim and scoring.tokens == "same_id")
    held = {"tokens": schema.dim, "terms": schema.terms, "vector": own}
    return tuple(name for name, there in held.items() if there)


def as_filter(condition: Any) -> Filter:
    """A filter, or the JSON form of one."""
    return parse(condition) if isinstance(condition, Mapping) else condition


def find(snapshot: Snapshot, route: Route, queries: Queries, k: int) -> list[Hits]:
    """The k best documents of every query. Scores: of tokens, terms, vectors, sums of two, or (hybrid) what fusion makes of them."""
    if route.mode == "hybrid":
        found = [by_lane(snapshot, route, lane, queries, max(k, route.depth)) for lane in route.lanes]
        joined = [fused(route, rankings) for rankings in zip(*found, strict=True)]
        return [Hits(hits.docs[:k], hits.scores[:k]) for hits in joined]
    if route.mode == "rerank":
        sparse = by_lane(snapshot, route, "terms", queries, max(k, route.depth))
        return [reranked(snapshot, route, queries.one(q), hits.docs, k) for q, hits in enumerate(sparse)]
    return by_lane(snapshot, route, route.mode, queries, k)


def reranked(snapshot: Snapshot, route: Route, query: Queries, docs: np.ndarray, k: int) -> Hits:
    """The k best of the documents that one query's terms found."""
    if route.embed is None:
        return best(docs, snapshot.score_tokens(tokens_of(query), docs, scoring=route.scoring), k)
    texts = [document_text(d.payload) for d in snapshot.documents(docs)]
    return best(docs, late_scores(route.embed, _given(query.terms, "terms"), texts), k)


def fused(route: Route, rankings: Sequence[Hits]) -> Hits:
    if route.fusion == "rrf":
        return rrf(rankings, route.fusion_k, route.weights)
    return weighted(rankings, route.weights, route.normalise)


def by_lane(snapshot: Snapshot, route: Route, lane: str, queries: Queries, k: int) -> list[Hits]:
    """The ranking by one kind of score."""
    if lane == "tokens":
        return snapshot.search(tokens_of(queries), k, route.scoring, route.params, route.filter, route.exact)
    if lane == "terms":
        return snapshot.search_terms(_given(queries.terms, "terms"), k, route.filter, route.bm25, route.term_params)
    if lane == "vector":
        return snapshot.search_vectors(vectors_of(queries), k, route.filter, route.exact)
    if route.bm25:
        raise InvalidArgument("mode is 'sum', and scores of BM25 and of a vector are no sum; use hybrid")
    return snapshot.search_added(_given(queries.terms, "terms"), vectors_of(queries), k, route.filter, route.exact)


def vectors_of(queries: Queries) -> np.ndarray:
    """(queries, width) global vectors. InvalidArgument: there are none."""
    return _given(None if queries.tokens is None else queries.tokens.globals_, "global vector")


def tokens_of(queries: Queries) -> Tokens:
    """The token vectors of queries. InvalidArgument: there are none."""
    return _given(queries.tokens, "token vectors")


def _given(side: Any, name: str) -> Any:
    if side is None:
        raise InvalidArgument(f"this query has no {name}; choose another mode, or give a text")
    return side
