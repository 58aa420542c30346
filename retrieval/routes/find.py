"""A route is run: by token vectors, by terms, by a global vector, or by several of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...index.catalog.view import View
from ...index.errors import InvalidArgument, never_fails
from ...index.filters.sql import compile
from ...index.hits import Hits, best
from ...index.reading.snapshot import Snapshot
from ...index.search.fusion import Fused, rrf, weighted
from ...index.stopping import steps
from ...index.terms import TERMS, Terms
from ...index.tokens import Tokens
from ..corpus import document_text
from ..sparse.beta import late_scores
from .option import as_filter
from .route import Route


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries made ready for a route: the sides that it needs.

    Examples:
        >>> plait.Queries(plait.from_matrices([[[1, 0]], [[0, 1]]])).one(1)
        Queries(1: Tokens(1 documents: 1 vectors of 2 float32))
    """

    tokens: Tokens | None = None
    """With the global vectors, if there are such; of these alone, as `from_vectors` makes them, if there are no tokens.
    """
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
        if len(self) == 1:
            return self
        tokens = None if self.tokens is None else self.tokens.take([query])
        if isinstance(self.terms, Mapping):
            return Queries(tokens, {name: rows.take([query]) for name, rows in self.terms.items()})
        return Queries(tokens, None if self.terms is None else self.terms.take([query]))


def compiled(view: View, filter: Any) -> tuple[str, Sequence[Any]]:
    """SQL of a filter, or of its JSON form, and its parameters; None: a condition that every document satisfies."""
    return ("1", ()) if filter is None else compile(as_filter(filter), view.declared)


Several = Sequence[str] | Tokens | Queries
"""The queries of one call: texts, token vectors, or what an encoder made of texts."""


def run(snapshot: Snapshot, route: Route, queries: Queries, k: int) -> list[Hits]:
    """The k best documents of every query, without those below `min_score`.

    Scores are those of tokens, terms, vectors, sums of two, or (hybrid) what fusion makes of them.
    """
    check_named(route, queries)
    found, least = _ranked(snapshot, route, queries, k), route.options.min_score
    return found if least is None else [_from(hits, least) for hits in found]


def _from(hits: Hits, least: float) -> Hits:
    """The hits that score at least this. Compared as float64, as a caller compares `Hit.score`."""
    count = np.count_nonzero(hits.scores.astype(np.float64) >= least)
    return Hits(hits.docs[:count], hits.scores[:count])


def _ranked(snapshot: Snapshot, route: Route, queries: Queries, k: int) -> list[Hits]:
    if route.mode == "hybrid":
        found = [by_lane(snapshot, route, lane, queries, max(k, route.depth)) for lane in route.lanes]
        joined = [fused(snapshot, route, rankings).hits for rankings in steps(zip(*found, strict=True))]
        return [Hits(hits.docs[:k], hits.scores[:k]) for hits in joined]
    if route.mode == "rerank":
        found = by_lane(snapshot, route, route.field, queries, max(k, route.depth))
        scored = (
            rescored(snapshot, route, route.scorer, queries.one(q), hits.docs) for q, hits in steps(enumerate(found))
        )
        return [best(hits.docs, scores, k) for hits, scores in zip(found, scored, strict=True)]
    (lane,) = route.finding
    return by_lane(snapshot, route, lane, queries, k)


def rescored(snapshot: Snapshot, route: Route, scorer: str, query: Queries, docs: np.ndarray) -> np.ndarray:
    """(docs,) float32: the exact scores of documents for one query, by `tokens`, `vector` or a term field."""
    if scorer == "tokens":
        return snapshot.score_tokens(tokens_of(query), docs, scoring=route.scoring)
    if scorer == "vector":
        return snapshot.score_vectors(vectors_of(query)[0], docs)
    terms = terms_of(query, scorer)
    if route.embed:
        return late_scores(route.embed, terms, [document_text(d.payload) for d in snapshot.documents(docs)])
    return snapshot.score_terms(terms, docs, route.bm25.get(scorer), scorer)


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
