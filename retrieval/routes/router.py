"""`Router`: the options of a search, and what the collection holds, become a complete `Route`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...index.catalog.schema import Schema
from ...index.collection import Collection
from ...index.errors import InvalidArgument
from ...index.params import Bm25, Scoring, SearchParams, TermParams
from ...index.terms import TERMS
from ..sparse.beta import Embed
from ..systems import System
from .idle import idle
from .option import as_filter
from .options import OPTIONS, SearchOptions
from .route import Route

_STATE = frozenset({"target_recall", *(name for name, option in OPTIONS.items() if option.finds == "tokens")})
"""Options whose route depends on the segments and the calibration of the moment: it is made for every search."""
_ROUTES = 256
"""Routes that a router keeps. More: memory; fewer: a client with as many sets of options pays for each search again."""


@dataclass(frozen=True, eq=False)
class Router:
    """Makes the routes of searches in one collection. Equal options have one route, which is made once."""

    collection: Collection
    system: System
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Further names of term fields, and the collection's own."""
    at_once: Container[str] = ()
    """The term fields that a document is in as soon as it is written, before a model has seen it."""
    _made: dict[tuple[Any, ...], Route] = dataclasses.field(default_factory=dict)

    def route(self, options: SearchOptions, k: int | None, embed: Callable[[str], Embed | None]) -> Route:
        """The way of a search. In `hybrid` and `rerank` a target recall is of what each lane finds, at its depth.

        Args:
            k: documents wanted; None: it is about one document, a target recall changes nothing, and nothing is noted.
            embed: of a term field, what embeds documents that were found by it; None: nothing does.

        Raises:
            InvalidArgument: an option that this collection cannot serve, two that contradict each other.
            FailedPrecondition: a target recall where none was measured.
        """
        # The filter is not in the key: conditions that are equal to Python may differ to a filter, such as 1 and True.
        given = {name: value for name, value in options.given().items() if name != "filter"}
        if k is not None and not _STATE.isdisjoint(given):
            route = self._make(given, k, embed)
        else:
            key = k is None, *given.items()
            if (found := self._made.get(key)) is None:
                found = self._make(given, k, embed)
                if len(self._made) >= _ROUTES:
                    self._made.clear()
                self._made[key] = found
            route = found
        return route if options.filter is None else replace(route, filter=as_filter(options.filter))

    def _make(self, given: dict[str, Any], k: int | None, embed: Callable[[str], Embed | None]) -> Route:
        given, schema = _own_names(given, self.names), self.collection.schema
        options = SearchOptions(**given)
        scoring = replace(self.system.scoring, missing=given.get("missing", self.system.scoring.missing))
        bm25 = {name: Bm25() for name, field in schema.terms.items() if field.counts}
        held = _lanes(schema, scoring)
        mode = options.mode or _implied(given) or _usual(schema, bm25)
        _check_lanes(mode, given, held, schema)
        route = Route(
            options,
            mode,
            scoring,
            replace(self.system.params, **_some(given, SearchParams)),
            TermParams(**_some(given, TermParams)),
            options.exact or False,
            bm25=bm25,
            lanes=options.lanes or held,
            field=options.field or _first(schema),
            **{name: given[name] for name in _DEFAULTED if name in given},
        )
        _check_together(route, given)
        late = tuple(lane for lane in route.lanes if lane not in self.at_once)
        scorer = route.field if route.scorer == "tokens" and not schema.dim else route.scorer
        embeds = embed(scorer) if mode == "rerank" and scorer in schema.terms else None
        route = replace(route, late=late, embed=embeds, scorer=scorer if embeds else route.scorer)
        if k is None:
            return route
        route = replace(route, notes=idle(route, self.collection))
        if options.target_recall is None or route.exact:
            return route
        return _reaching(route, self.collection, options.target_recall, k)


_DEFAULTED = ("depth", "fusion", "fusion_k", "normalise", "weights", "scorer")
"""Options that have their default in `Route`."""


def _some(given: Mapping[str, Any], kind: Any) -> dict[str, Any]:
    """Those of the options that are fields of a record."""
    return {name: given[name] for name in kind.__dataclass_fields__ if name in given}


def _own_names(given: dict[str, Any], others: Mapping[str, str]) -> dict[str, Any]:
    """The same options with each term field under the name that the collection has for it."""
    own: dict[str, Any] = {name: others.get(given[name], given[name]) for name in ("field", "scorer") if name in given}
    if "lanes" in given:
        own["lanes"] = tuple(others.get(lane, lane) for lane in given["lanes"])
    return {**given, **own}


def _reaching(route: Route, collection: Collection, target: float, k: int) -> Route:
    """The route with parameters that reached a recall, on each side that finds documents."""
    depth, first = max(k, route.depth) if route.mode in ("hybrid", "rerank") else k, _first(collection.schema)
    if other := [name for name in route.finding if name in collection.schema.terms and name != first]:
        raise InvalidArgument(
            f"target_recall is measured for the first term field, {first}, and this search goes by {other[0]}; leave "
            "it out, and the search by terms is exact",
            field="target_recall",
        )
    if first in route.finding:
        route = replace(route, term_params=collection.reaching_terms(target, depth))
    if "tokens" in route.finding:
        reaching = collection.reaching(target, depth, route.params)
        route = replace(route, exact=reaching is None, params=reaching or route.params)
    return route


def _first(schema: Schema) -> str:
    return next(iter(schema.terms), TERMS)


def _implied(given: Mapping[str, Any]) -> str | None:
    """The mode that an option implies."""
    return next((option.implies for name, option in OPTIONS.items() if option.implies and name in given), None)


def _check_lanes(mode: str, given: Mapping[str, Any], held: tuple[str, ...], schema: Schema) -> None:
    """InvalidArgument: a lane, field or scorer that this collection does not hold."""
    if mode == "hybrid" and len(held) < 2:
        other = [name for name in ("terms", "tokens", "vector") if name not in held]
        raise InvalidArgument(
            f"mode is 'hybrid', and this collection holds no {' or '.join(other)} beside {', '.join(held)}",
            field="mode",
        )
    lanes = given.get("lanes", held)
    if not set(lanes) <= set(held) or len(set(lanes)) < len(lanes):
        raise InvalidArgument(f"lanes are {lanes!r}; give some of {', '.join(held)}, each once", field="lanes")
    if "field" in given and schema.terms:
        schema.need_terms(given["field"])
    if given.get("scorer", "tokens") not in ("tokens", "vector", *schema.terms):
        raise InvalidArgument(f"scorer is {given['scorer']!r}; it must be one of {', '.join(held)}", field="scorer")
    if mode == "rerank" and "scorer" not in given and not schema.dim and len(held) > 1:
        raise InvalidArgument(
            f"mode is 'rerank', and there are no token vectors; say which scores: {', '.join(held)}", field="mode"
        )


def _check_together(route: Route, given: Mapping[str, Any]) -> None:
    """InvalidArgument: options that contradict each other, or the route that they are for."""
    weights, leaving_out = route.weights, [*_some(given, TermParams)]
    if route.mode == "hybrid" and weights is not None and len(weights) != len(route.lanes):
        raise InvalidArgument(
            f"weights are {list(weights)} for {len(route.lanes)} rankings ({', '.join(route.lanes)}); "
            "give one finite number for each",
            field="weights",
        )
    if route.mode == "sum" and route.field in route.bm25:
        raise InvalidArgument("mode is 'sum', and scores of BM25 and of a vector are no sum; use hybrid", field="mode")
    if route.exact and leaving_out:
        raise InvalidArgument(f"exact leaves nothing out, {', '.join(leaving_out)} do; give one or the other")
    chosen = leaving_out or not {"nprobe", "candidates"}.isdisjoint(given)
    if "target_recall" in given and not route.exact and (chosen or route.scoring.tokens != "all"):
        raise InvalidArgument(
            "target_recall chooses what colbert's searches and those by terms leave out (nprobe, candidates, "
            f"{', '.join(TermParams.__dataclass_fields__)}); give one or the other"
        )


def _usual(schema: Schema, bm25: Mapping[str, Bm25]) -> str:
    if schema.dim or not schema.vector:
        return "tokens" if schema.dim else "terms"
    # BM25 and a vector were not made to be added.
    return "vector" if not schema.terms else "hybrid" if bm25 or len(schema.terms) > 1 else "sum"


def _lanes(schema: Schema, scoring: Scoring) -> tuple[str, ...]:
    own = schema.vector and not (schema.dim and scoring.tokens == "coil")
    return (*(("tokens",) if schema.dim else ()), *schema.terms, *(("vector",) if own else ()))
