"""SearchService: queries in, ranked documents out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...index.hits import best
from ...index.params import TermParams
from ...index.search.tally import Tally, tally
from ...index.stopping import steps
from ...index.terms import Terms
from ...index.tokens import concatenate
from ...retrieval.routes.explanation import explained
from ...retrieval.routes.find import Queries, rescored, run
from ...retrieval.routes.options import SearchOptions
from ...retrieval.routes.route import Route
from ..hosting.collections import Collections, Opened
from ..limits import BadField, Limits
from ..messages.explanations import write_explanation
from ..messages.options import read_options
from ..messages.queries import read_queries, write_query
from ..rpc.answers import AnswerTooLarge, Room, put_columns, put_hits
from ..rpc.calls import Call
from ..rpc.interceptor import stage_ended
from ..wire import search_pb2 as wire
from .consistency import wait_for_state

_DEPTH = 10
_TOGETHER = 16
"""Queries of a batch searched between two looks at the deadline."""
_LESS = "ask for fewer documents (k), or leave their payloads out (payload: false)"


Probe = Callable[[str, Sequence[str], Callable[[], Sequence[str] | None]], None]
"""Told of a search: the collection, the ids found, and how to find the ids of an exact search in the same state, later
and in any thread (None: the state has changed)."""


class SearchMethods:
    def __init__(self, collections: Collections, limits: Limits, probe: Probe | None = None):
        self._collections, self._limits, self._probe = collections, limits, probe

    def search(self, request: wire.SearchRequest, call: Call) -> wire.SearchResponse:
        k = self._limits.check("k", request.k if request.HasField("k") else _DEPTH, "k", least=1)
        payload = not request.HasField("payload") or request.payload
        with self._collections.use(request.collection) as opened:
            wait_for_state(opened.retriever, request, call)
            route = opened.retriever.route(read_options(request.options, self._limits), k)
            clock = Clock()
            queries = self._queries(opened, route, [request.query], "query")
            clock.lap("encode_ms")
            call.check()
            with opened.retriever.collection.snapshot() as snapshot:
                with tally() as scored:
                    (hits,) = run(snapshot, route, queries, k)
                clock.lap("search_ms", scored)
                call.check()
                response = wire.SearchResponse(seq=snapshot.state.seq, notes=route.notes)
                put_hits(snapshot, hits, payload, response.hits, Room(self._limits, "k", _LESS))
            leaves_out = route.mode != "terms" or route.term_params != TermParams()
            if self._probe and not route.exact and leaves_out:
                exact = replace(route, exact=True, term_params=TermParams())
                exactly = partial(self._exactly, opened.name, exact, queries, k, response.seq)
                self._probe(opened.name, [hit.id for hit in response.hits], exactly)
        clock.lap("fetch_ms")
        response.timing.MergeFrom(clock.timing)
        return response

    def batch_search(self, request: wire.BatchSearchRequest, call: Call) -> wire.BatchSearchResponse:
        k = self._limits.check("k", request.k if request.HasField("k") else _DEPTH, "k", least=1)
        self._limits.check("batch_queries", len(request.queries), "queries", least=1)
        response, scores, clock = wire.BatchSearchResponse(), [], Clock()
        room = Room(self._limits, "k", f"{_LESS}, or send fewer queries at a time")
        with self._collections.use(request.collection) as opened:
            wait_for_state(opened.retriever, request, call)
            route = opened.retriever.route(read_options(request.options, self._limits), k)
            with opened.retriever.collection.snapshot() as snapshot:
                response.seq = snapshot.state.seq
                response.notes.extend(route.notes)
                for first in range(0, len(request.queries), _TOGETHER):
                    if len(response.counts) < first:
                        break
                    call.check()
                    some = request.queries[first : first + _TOGETHER]
                    queries = self._queries(opened, route, some, "queries", first)
                    clock.lap("encode_ms")
                    call.check()
                    with tally() as scored:
                        found = run(snapshot, route, queries, k)
                    clock.lap("search_ms", scored)
                    for hits in steps(found):
                        there = len(response.ids)
                        try:
                            put_columns(snapshot, hits, request.payload, response, room)
                        except AnswerTooLarge:
                            if not request.partial or not response.counts:
                                raise
                            del response.ids[there:], response.payloads[there:]
                            for place in [place for place in response.integers if place >= there]:
                                del response.integers[place]
                            break
                        response.counts.append(len(hits))
                        scores.append(hits.scores)
                    clock.lap("fetch_ms")
        response.scores = np.concatenate(scores).astype("<f4").tobytes()
        response.timing.MergeFrom(clock.timing)
        return response

    def rerank(self, request: wire.RerankRequest, call: Call) -> wire.RerankResponse:
        self._limits.check("ids", len(request.ids), "ids", least=1)
        k = self._limits.check("k", request.k if request.HasField("k") else len(request.ids), "k", least=1)
        with self._collections.use(request.collection) as opened:
            wait_for_state(opened.retriever, request, call)
            scorer = request.scorer if request.HasField("scorer") else "tokens"
            named = scorer in ("tokens", "vector")
            route = opened.retriever.route(SearchOptions(mode=scorer) if named else SearchOptions(field=scorer), None)
            (lane,) = route.finding
            queries = self._queries(opened, route, [request.query], "query")
            call.check()
            with opened.retriever.collection.snapshot() as snapshot:
                docs = np.array([snapshot.view.by_id(id).number for id in dict.fromkeys(request.ids)], np.int64)
                if scorer == "tokens" and queries.tokens is None:
                    raise BadField("query", "this query has no token vectors; rerank scores by them")
                hits = best(docs, rescored(snapshot, route, lane, queries, docs), k)
                call.check()
                response = wire.RerankResponse(seq=snapshot.state.seq)
                payload = not request.HasField("payload") or request.payload
                put_hits(snapshot, hits, payload, response.hits, Room(self._limits, "k", _LESS))
        return response

    def explain(self, request: wire.ExplainRequest, call: Call) -> wire.ExplainResponse:
        options = read_options(request.options, self._limits)
        k = self._limits.check("k", request.k, "k", least=1) if request.HasField("k") else None
        with self._collections.use(request.collection) as opened:
            wait_for_state(opened.retriever, request, call)
            route = opened.retriever.route(options, k)
            queries = self._queries(opened, route, [request.query], "query")
            call.check()
            with opened.retriever.collection.snapshot() as snapshot:
                response = wire.ExplainResponse(seq=snapshot.state.seq, notes=route.notes)
                sides, shown = opened.retriever.term_sides, request.query.text
                write_explanation(
                    explained(snapshot, route, queries, request.id, shown, sides, k), response.explanation
                )
        return response

    def encode(self, request: wire.EncodeRequest, call: Call) -> wire.EncodeResponse:
        self._limits.check("batch_queries", len(request.texts), "texts", least=1)
        with self._collections.use(request.collection) as opened:
            route = opened.retriever.route(read_options(request.options, self._limits), None)
            response, room = wire.EncodeResponse(), Room(self._limits, "texts", "send fewer texts at a time")
            for i, text in steps(enumerate(request.texts)):
                self._limits.check("text_characters", len(text), f"texts[{i}]")
                made = write_query(opened.encode(route, text))
                room.take(made)
                response.queries.append(made)
        return response

    def _exactly(self, name: str, route: Route, queries: Queries, k: int, seq: int) -> list[str] | None:
        with self._collections.use(name) as opened, opened.retriever.collection.snapshot() as snapshot:
            if snapshot.state.seq != seq:
                return None
            (hits,) = run(snapshot, route, queries, k)
            return [document.id for document in snapshot.documents(hits.docs)]

    def _queries(
        self, opened: Opened, route: Route, given: Sequence[wire.Query], field: str, first: int = 0
    ) -> Queries:
        """What the route needs of all given queries, which are all texts or all encoded."""
        kinds = {query.WhichOneof("kind") for query in given}
        if len(kinds) != 1 or None in kinds:
            raise BadField(field, f"{field}: give a text or an encoded query, the same in all of a batch")
        if "text" in kinds:
            for i, query in enumerate(given, first):
                at = f"{field}[{i}].text" if field == "queries" else f"{field}.text"
                self._limits.check("text_characters", len(query.text), at)
            return _joined([opened.encode(route, query.text) for query in steps(given)])
        return read_queries([query.encoded for query in given], self._limits, f"{field}.encoded")


class Clock:
    """Wall time by stage."""

    def __init__(self) -> None:
        self._last, self.timing = time.perf_counter(), wire.Timing()

    def lap(self, stage: str, scored: Tally | None = None) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        setattr(self.timing, stage, getattr(self.timing, stage) + 1000 * seconds)
        stage_ended(stage.removesuffix("_ms"), seconds)
        if scored and scored.documents:
            stage_ended("candidates", seconds - scored.seconds)
            stage_ended("score", scored.seconds, scored.documents)


def _joined(queries: Sequence[Queries]) -> Queries:
    if len(queries) == 1:
        return queries[0]
    tokens = [q.tokens for q in queries if q.tokens is not None]
    alone = [q.terms for q in queries if isinstance(q.terms, Terms)]
    named = [q.terms for q in queries if isinstance(q.terms, Mapping)]
    by_field = {name: _stacked([terms[name] for terms in named]) for name in (named[0] if named else ())}
    return Queries(concatenate(tokens) if tokens else None, _stacked(alone) if alone else by_field or None)


def _stacked(terms: Sequence[Terms]) -> Terms:
    from scipy import sparse

    rows: Any = sparse.vstack([t.rows for t in terms], format="csr")
    if terms[0].offsets is None:
        return Terms(rows)
    return Terms(rows, np.cumsum([0, *(t.rows.shape[0] for t in terms)]).astype(np.int64))
