"""The way of one document through a search: its rank at every stage, and where it fell out, by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..index.code_scores import code_ranking, codec_error
from ..index.coded import CodedStore
from ..index.exact import ExactStore
from ..index.hits import Hits, best
from ..index.kernels import widen
from ..index.scoring import TermParams
from ..index.search import locate
from ..index.snapshot import Snapshot
from .routes import Queries, Route, by_lane, fused, rescored, tokens_of

_DEEP = 10_000
"""Ranks that are told; below, only whether a document passed."""


@dataclass(frozen=True)
class Stage:
    """A step that ranks documents and lets the best of them through."""

    name: str
    """`filter`, `codes` (of the document's own segment), `tokens`, a term field, `vector`, `sum`, `fusion` or `rerank`."""
    passed: bool
    rank: int | None = None
    """From 1; None: the stage does not rank the document, or not within the first 10,000."""
    score: float | None = None
    limit: int | None = None
    """How many pass."""
    cutoff: float | None = None
    """The score of the last that passed: what a document that fell out lacks is the difference."""
    codec_error: float | None = None
    """`codes`: MaxSim over what the document's codes stand for, less the exact one."""


def stages(snapshot: Snapshot, route: Route, query: Queries, number: int, k: int) -> list[Stage]:
    """Every stage that the document comes to in a search for the k best; it is a hit if it passes all of them."""
    found: list[Stage] = []
    if route.filter is not None:
        passed = any(
            number in p.segment.documents[p.allowed] for p in snapshot.parts(route.filter) if p.allowed is not None
        )
        found.append(Stage("filter", passed))
        if not passed:
            return found
    depth = max(k, route.depth) if route.mode in ("hybrid", "rerank") else k
    rankings = []
    for lane in route.finding:
        if lane == "tokens":
            ranking, codes = _by_tokens(snapshot, route, query, number, depth)
            found += codes
            own = _own_score(snapshot, route, query, number)
        else:
            (ranking,), own = by_lane(snapshot, route, lane, query, _deep(snapshot, route, lane, depth)), None
        rankings.append(Hits(ranking.docs[:depth], ranking.scores[:depth]))
        found.append(_placed(lane, ranking, number, depth, own))
    if route.mode == "rerank" and found[-1].passed:
        docs = rankings[0].docs
        reranked = best(docs, rescored(snapshot, route, query, docs), len(docs))
        found.append(_placed("rerank", reranked, number, k))
    if route.mode == "hybrid":
        found.append(_placed("fusion", fused(snapshot, route, rankings), number, k))
    return found


def _deep(snapshot: Snapshot, route: Route, lane: str, depth: int) -> int:
    """How many ranks can be told without another choice of candidates."""
    chosen = lane in route.sides[1] and route.term_params != TermParams()
    return depth if chosen else max(depth, min(_DEEP, snapshot.view.count()))


def returned(way: list[Stage]) -> bool:
    """Whether the search returns the document; of a hybrid search its fusion alone decides."""
    return bool(way) and (way[-1].passed if way[-1].name == "fusion" else all(stage.passed for stage in way))


def _by_tokens(snapshot: Snapshot, route: Route, queries: Queries, number: int, depth: int) -> tuple[Hits, list[Stage]]:
    """The ranking by tokens, as deep as it goes without another choice of candidates, and the stage of the codes."""
    query, parts = tokens_of(queries), snapshot.parts(route.filter, route.exact)
    chosen = route.scoring.tokens == "all" and not all(isinstance(p.store, ExactStore) for p in parts)
    deep = depth if chosen else max(depth, min(_DEEP, snapshot.view.count()))
    (ranking,) = snapshot.search(query, deep, route.scoring, route.params, route.filter, route.exact)
    part, position = locate(parts, number)
    vectors = widen(query.vectors)
    codes = code_ranking(part, vectors, depth, route.params) if chosen and isinstance(part.store, CodedStore) else None
    if codes is None:
        return ranking, []
    hits, limit = codes
    return ranking, [_placed("codes", hits, number, limit, error=codec_error(part.segment, vectors, position))]


def _own_score(snapshot: Snapshot, route: Route, queries: Queries, number: int) -> float | None:
    """The score of a document that no ranking holds: exact late interaction; None where only what was retrieved counts."""
    if route.scoring.tokens == "retrieved":
        return None
    score = float(snapshot.score_tokens(tokens_of(queries), np.array([number]), scoring=route.scoring)[0])
    return score if np.isfinite(score) else None


def _placed(
    name: str, ranking: Hits, number: int, limit: int, score: float | None = None, error: float | None = None
) -> Stage:
    at = np.flatnonzero(ranking.docs == number)
    rank = int(at[0]) + 1 if len(at) else None
    if rank is not None:
        score = float(ranking.scores[rank - 1])
    last = min(limit, len(ranking))
    cutoff = float(ranking.scores[last - 1]) if last else None
    return Stage(name, rank is not None and rank <= limit, rank, score, limit, cutoff, error)
