"""The routes of a query through a collection: by token vectors, by terms, by a global vector, or by several of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...index.catalog.view import View
from ...index.collection import Collection
from ...index.errors import InvalidArgument, never_fails
from ...index.filters.sql import Filter, compile, parse
from ...index.hits import Hits, best
from ...index.params import Scoring, SearchParams, TermParams
from ...index.reading.snapshot import Snapshot
from ...index.representations import Schema
from ...index.search.fusion import NORMALISE, Fused, rrf, weighted
from ...index.sparse.bm25 import Bm25
from ...index.stopping import steps
from ...index.terms import TERMS, Terms
from ...index.tokens import Tokens
from ..corpus import document_text
from ..sparse.beta import Embed, late_scores
from ..systems import System
from .idle import idle

MODES = ("tokens", "terms", "vector", "sum", "hybrid", "rerank")
FUSIONS = ("rrf", "weighted")
_WHOLE = TermParams()
_OPTIONS = ("mode", "exact", "depth", "fusion", "fusion_k", "normalise", "weights", "lanes", "field", "scorer")


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries made ready for a route: the sides that it needs.

    Example:
        >>> plait.Queries(plait.from_matrices([[[1, 0]], [[0, 1]]])).one(1)
        Queries(1: Tokens(1 documents: 1 vectors of 2 float32))
    """

    tokens: Tokens | None = None
    """With the global vectors, if there are such; of these alone, as `from_vectors` makes them, if there are no tokens."""
    terms: Terms | Mapping[str, Terms] | None = None
    """By the name of their field; without names where a search needs those of one field alone."""

    def __len__(self) -> int:
        if self.tokens is None and self.terms is not None:
            return len(self.terms) if isinstance(self.terms, Terms) else len(next(iter(self.terms.values()), ()))
        return len(self.tokens or ())

    @never_fails
    def __repr__(self) -> str:
        terms = {"terms": self.terms} if isinstance(self.terms, Terms) else dict(self.terms or {})
        sides = [*([repr(self.tokens)] if self.tokens is not None else []), *(f"{n}={t!r}" for n, t in terms.items())]
        return f"{len(self):,}: {', '.join(sides) or 'nothing'}"

    def one(self, query: int) -> Queries:
        tokens = None if self.tokens is None else self.tokens.take([query])
        if isinstance(self.terms, Mapping):
            return Queries(tokens, {name: rows.take([query]) for name, rows in self.terms.items()})
        return Queries(tokens, None if self.terms is None else self.terms.take([query]))


@dataclass(frozen=True)
class Route:
    """Which way a query takes, and what it may spend."""

    mode: str
    """`tokens`: late interaction. `terms`: sparse. `vector`: the global vectors. `sum`: scores by terms and by vector, added
    (DupMAE). `hybrid`: the `lanes`, fused. `rerank`: the best by terms, scored by late interaction or by the `scorer`."""
    scoring: Scoring
    params: SearchParams
    term_params: TermParams = _WHOLE
    exact: bool = False
    filter: Filter | None = None
    bm25: Mapping[str, Bm25] = field(default_factory=dict)
    """By term field, where counts are weighed."""
    depth: int = 100
    """Documents that each side gives to `hybrid`, and terms to `rerank`; never fewer than k. Larger: recall; time grows."""
    fusion: str = "rrf"
    """`hybrid`: `rrf`, reciprocal ranks, or `weighted`, a weighted sum of normalised scores (`index/search/fusion.py`)."""
    fusion_k: float = 60
    """`rrf`. Larger: less between the first ranks, more for being in both."""
    normalise: str = "minmax"
    """`weighted`: `minmax`, `zscore` or `none`."""
    weights: tuple[float, ...] | None = None
    """`hybrid`: what ranks or scores by each of the `lanes` count; None: all alike."""
    lanes: tuple[str, ...] = ()
    """`hybrid`: what is fused, by default all that there is: `tokens`, the term fields by name (`terms` where nobody named the
    only one), `vector`. COIL's tokens have the vector within."""
    field: str = TERMS
    """`terms`, `sum`: the term field; `rerank`: the one whose best are scored. By default the first."""
    scorer: str = "tokens"
    """`rerank`: what scores, `tokens`, `vector` or a term field (TILDEv2 over BM25): exactly, 0 where no term is shared."""
    late: tuple[str, ...] = ()
    """`hybrid`: the lanes that a document is not in while it waits for what a model computes of it (`retrieval/text/freshness.py`). There it counts
    as it does in the others."""
    notes: tuple[str, ...] = ()
    """Which of the options that were given change nothing on this route, and why: one sentence each."""
    embed: Embed | None = None
    """`rerank` by a term field of `beta:`: embeds the documents that were found (SVDR's late parametric)."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidArgument(f"mode is {self.mode!r}; it must be one of {', '.join(MODES)}")
        if self.fusion not in FUSIONS:
            raise InvalidArgument(f"fusion is {self.fusion!r}; it must be one of {', '.join(FUSIONS)}")
        if self.normalise not in NORMALISE:
            raise InvalidArgument(f"normalise is {self.normalise!r}; it must be one of {', '.join(NORMALISE)}")
        if self.depth < 1:
            raise InvalidArgument(f"depth is {self.depth}; it must be at least 1")
        if not (np.isfinite(self.fusion_k) and self.fusion_k >= 0):
            raise InvalidArgument(f"fusion_k is {self.fusion_k}; it must be at least 0 (60 is usual)")
        if self.mode == "hybrid" and self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, weights: Sequence[float]) -> None:
        if len(weights) != len(self.lanes) or not np.isfinite(weights).all():
            raise InvalidArgument(
                f"weights are {list(weights)} for {len(self.lanes)} rankings ({', '.join(self.lanes)}); "
                "give one finite number for each"
            )

    @property
    def finding(self) -> tuple[str, ...]:
        """What finds documents: lanes, or `sum`."""
        if self.mode == "hybrid":
            return self.lanes
        return (self.field,) if self.mode in ("terms", "rerank") else (self.mode,)

    @property
    def sides(self) -> tuple[bool, tuple[str, ...], bool]:
        """Whether this route needs a query's token vectors, in which fields its terms, and whether its global vector (COIL's
        tokens do not say so)."""
        more = {"sum": (self.field, "vector"), "rerank": (self.field, self.scorer)}
        lanes = more.get(self.mode, self.finding)
        fields = dict.fromkeys(lane for lane in lanes if lane not in ("tokens", "vector"))
        return "tokens" in lanes, tuple(fields), "vector" in lanes

    @property
    def asking(self) -> tuple[tuple[str, Any], ...]:
        """The parameters that say what is needed of a query, to be hashed and compared."""
        choices = {"hybrid": ("lanes",), "terms": ("field",), "sum": ("field",), "rerank": ("field", "scorer")}
        return ("mode", self.mode), *((name, getattr(self, name)) for name in choices.get(self.mode, ()))


def route_of(search: dict[str, Any], system: System, collection: Collection, k: int | None) -> Route:
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
    bm25 = {name: Bm25() for name, field in collection.schema.terms.items() if field.counts}
    lanes, chosen = _lanes(collection.schema, scoring), {n: v for n, v in chosen.items() if v is not None}
    mode = chosen.pop("mode", None) or _meant(chosen) or _usual(collection.schema, bm25)
    _check_lanes(mode, chosen, lanes, collection.schema)
    condition = None if filter is None else as_filter(filter)
    named = {
        "lanes": tuple(chosen.pop("lanes", lanes)),
        "field": chosen.pop("field", None) or _first(collection.schema),
    }
    route = Route(mode, scoring, params, TermParams(**left), exact, condition, bm25, **named, **chosen)
    if mode == "sum" and route.field in bm25:
        raise InvalidArgument("mode is 'sum', and scores of BM25 and of a vector are no sum; use hybrid")
    if exact and left:
        raise InvalidArgument(f"exact leaves nothing out, {', '.join(left)} do; give one or the other")
    if k is not None:
        route = replace(route, notes=idle(route, search, collection))
    if target is not None and not 0 < target <= 1:
        raise InvalidArgument(f"target_recall is {target}; it must be above 0 and at most 1")
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
    depth, first = max(k, route.depth) if route.mode in ("hybrid", "rerank") else k, _first(collection.schema)
    if other := [name for name in route.finding if name in collection.schema.terms and name != first]:
        raise InvalidArgument(
            f"target_recall is measured for the first term field, {first}, and this search goes by {other[0]}; leave it out, "
            "and the search by terms is exact"
        )
    if first in route.finding:
        route = replace(route, term_params=collection.reaching_terms(target, depth))
    if "tokens" in route.finding:
        reaching = collection.reaching(target, depth, route.params)
        route = replace(route, exact=reaching is None, params=reaching or route.params)
    return route


def _first(schema: Schema) -> str:
    return next(iter(schema.terms), TERMS)


def _meant(chosen: dict[str, Any]) -> str | None:
    """The mode that a parameter implies."""
    implied = {"lanes": "hybrid", "scorer": "rerank", "field": "terms"}
    return next((mode for name, mode in implied.items() if name in chosen), None)


def _check_lanes(mode: str, chosen: dict[str, Any], held: tuple[str, ...], schema: Schema) -> None:
    """InvalidArgument: a lane, field or scorer that this collection does not hold."""
    if mode == "hybrid" and len(held) < 2:
        other = [name for name in ("terms", "tokens", "vector") if name not in held]
        raise InvalidArgument(
            f"mode is 'hybrid', and this collection holds no {' or '.join(other)} beside {', '.join(held)}"
        )
    lanes = chosen.get("lanes", held)
    if isinstance(lanes, str) or not set(lanes) <= set(held) or len(set(lanes)) < len(lanes) or not lanes:
        raise InvalidArgument(f"lanes are {lanes!r}; give some of {', '.join(held)}, each once")
    if "field" in chosen and schema.terms:
        schema.need_terms(chosen["field"])
    if chosen.get("scorer", "tokens") not in ("tokens", "vector", *schema.terms):
        raise InvalidArgument(f"scorer is {chosen['scorer']!r}; it must be one of {', '.join(held)}")
    if mode == "rerank" and "scorer" not in chosen and not schema.dim and len(held) > 1:
        raise InvalidArgument(f"mode is 'rerank', and there are no token vectors; say which scores: {', '.join(held)}")


def _usual(schema: Schema, bm25: Mapping[str, Bm25]) -> str:
    if schema.dim or not schema.vector:
        return "tokens" if schema.dim else "terms"
    # BM25 and a vector were not made to be added.
    return "vector" if not schema.terms else "hybrid" if bm25 or len(schema.terms) > 1 else "sum"


def _lanes(schema: Schema, scoring: Scoring) -> tuple[str, ...]:
    own = schema.vector and not (schema.dim and scoring.tokens == "same_id")
    return (*(("tokens",) if schema.dim else ()), *schema.terms, *(("vector",) if own else ()))


def as_filter(condition: Any) -> Filter:
    """A filter, or the JSON form of one."""
    return parse(condition) if isinstance(condition, Mapping) else condition


def compiled(view: View, filter: Any) -> tuple[str, Sequence[Any]]:
    """SQL of a filter, or of its JSON form, and its parameters; None: a condition that every document satisfies."""
    return ("1", ()) if filter is None else compile(as_filter(filter), view.declared)


def find(snapshot: Snapshot, route: Route, queries: Queries, k: int) -> list[Hits]:
    """The k best documents of every query. Scores: of tokens, terms, vectors, sums of two, or (hybrid) what fusion makes of them."""
    check_named(route, queries)
    if route.mode == "hybrid":
        found = [by_lane(snapshot, route, lane, queries, max(k, route.depth)) for lane in route.lanes]
        joined = [fused(snapshot, route, rankings).hits for rankings in steps(zip(*found, strict=True))]
        return [Hits(hits.docs[:k], hits.scores[:k]) for hits in joined]
    if route.mode == "rerank":
        found = by_lane(snapshot, route, route.field, queries, max(k, route.depth))
        scored = (rescored(snapshot, route, queries.one(q), hits.docs) for q, hits in steps(enumerate(found)))
        return [best(hits.docs, scores, k) for hits, scores in zip(found, scored, strict=True)]
    (lane,) = route.finding
    return by_lane(snapshot, route, lane, queries, k)


def rescored(snapshot: Snapshot, route: Route, query: Queries, docs: np.ndarray) -> np.ndarray:
    """(docs,) float32: what the scorer of `rerank` makes of documents for one query."""
    if route.scorer == "tokens":
        return snapshot.score_tokens(tokens_of(query), docs, scoring=route.scoring)
    if route.scorer == "vector":
        return snapshot.score_vectors(vectors_of(query)[0], docs)
    terms = terms_of(query, route.scorer)
    if route.embed:
        return late_scores(route.embed, terms, [document_text(d.payload) for d in snapshot.documents(docs)])
    return snapshot.score_terms(terms, docs, route.bm25.get(route.scorer), route.scorer)


def fused(snapshot: Snapshot, route: Route, rankings: Sequence[Hits]) -> Fused:
    """The rankings of the lanes as one, and what each lane adds to a document's score."""
    docs = np.unique(np.concatenate([ranking.docs for ranking in rankings]))
    waiting = docs[snapshot.view.pending_among(docs)]
    blind = [waiting if lane in route.late else waiting[:0] for lane in route.lanes]
    if route.fusion == "rrf":
        return rrf(rankings, route.fusion_k, route.weights, blind)
    return weighted(rankings, route.weights, route.normalise, blind)


def by_lane(snapshot: Snapshot, route: Route, lane: str, queries: Queries, k: int) -> list[Hits]:
    """The ranking by one kind of score."""
    if lane == "tokens":
        return snapshot.search(tokens_of(queries), k, route.scoring, route.params, route.filter, route.exact)
    if lane == "vector":
        return snapshot.search_vectors(vectors_of(queries), k, route.filter, route.exact)
    if lane != "sum":
        bm25, terms = route.bm25.get(lane), terms_of(queries, lane)
        return snapshot.search_terms(terms, k, route.filter, bm25, route.term_params, lane)
    terms, vectors = terms_of(queries, route.field), vectors_of(queries)
    return snapshot.search_added(terms, vectors, k, route.filter, route.exact, route.field)


def check_named(route: Route, queries: Queries) -> None:
    """InvalidArgument: terms without the name of a field, where more than one is needed."""
    if isinstance(queries.terms, Terms) and len(fields := route.sides[1]) > 1:
        raise InvalidArgument(
            f"this search needs terms of {' and '.join(fields)}; give them by the names of their fields"
        )


def terms_of(queries: Queries, field: str) -> Terms:
    """The terms of queries in a field. InvalidArgument: there are none."""
    held = queries.terms.get(field) if isinstance(queries.terms, Mapping) else queries.terms
    return _given(held, "terms" if field == TERMS else f"terms of the field {field}")


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
