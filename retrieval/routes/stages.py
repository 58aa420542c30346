"""The way of one document through a search: its rank at every stage, where it fell out, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...index.hits import Hits, best
from ...index.kernels.vectors import widen
from ...index.late.code_scores import code_ranking, codec_error
from ...index.late.coded import CodedStore
from ...index.late.exact import ExactStore
from ...index.params import TermParams
from ...index.reading.snapshot import Snapshot
from ...index.search.part import locate
from .find import Queries, by_lane, fused, rescored, tokens_of
from .route import Route

_DEEP = 10_000
"""Ranks that are reported; below, only whether a document passed."""


@dataclass(frozen=True)
class Stage:
    """A step that ranks documents and lets the best of them through."""

    name: str
    """`filter`, `codes` (of the document's own segment), `tokens`, a term field, `vector`, `sum`, `fusion` or `rerank`.
    """
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
    alternative: bool = False
    """`hybrid`: a step of one lane of several. A document needs one lane that finds it, so it may fall out here and be
    a hit."""


@dataclass(frozen=True)
class LaneShare:
    """What one lane of a hybrid search adds to the score of a document. The contributions
    of all lanes sum to the score."""

    lane: str
    """`tokens`, `vector` or a term field."""
    rank: int | None
    """From 1, among the documents that the lane gives to the fusion; None: it does not give this one."""
    score: float | None
    """The lane's own score; None where the lane does not give the document."""
    weight: float
    """What the search lets the lane count."""
    contribution: float


@dataclass(frozen=True)
class Way:
    """One document's way through one search."""

    stages: list[Stage]
    """Every stage that the document comes to."""
    lanes: list[LaneShare] = field(default_factory=list)
    """`hybrid`: what each lane adds to the score; empty otherwise, and where a filter leaves the document out."""

    @property
    def fused_score(self) -> float | None:
        """`hybrid`: the score after fusion; None otherwise."""
        last = self.stages[-1] if self.stages else None
        return last.score if last is not None and last.name == "fusion" else None


def way_of(snapshot: Snapshot, route: Route, query: Queries, number: int, k: int) -> Way:
    """The way of document `number` through a search for the k best. It costs as much as that search."""
    found: list[Stage] = []
    if route.filter is not None:
        passed = any(
            number in p.segment.documents[p.allowed] for p in snapshot.parts(route.filter) if p.allowed is not None
        )
        found.append(Stage("filter", passed))
        if not passed:
            return Way(found)
    depth = max(k, route.depth) if route.mode in ("hybrid", "rerank") else k
    rankings = []
    for lane in route.finding:
        if lane == "tokens":
            ranking, codes = _by_tokens(snapshot, route, query, number, depth)
            own = _own_score(snapshot, route, query, number)
        else:
            codes = []
            (ranking,), own = by_lane(snapshot, route, lane, query, _deep(snapshot, route, lane, depth)), None
        rankings.append(Hits(ranking.docs[:depth], ranking.scores[:depth]))
        steps = [*codes, _placed(lane, ranking, number, depth, own)]
        found += [replace(step, alternative=route.mode == "hybrid") for step in steps]
    if route.mode == "rerank" and found[-1].passed:
        docs = rankings[0].docs
        reranked = best(docs, rescored(snapshot, route, route.scorer, query, docs), len(docs))
        found.append(_placed("rerank", reranked, number, k))
    if route.mode != "hybrid":
        return Way(found)
    joined = fused(snapshot, route, rankings)
    found.append(_placed("fusion", joined.hits, number, k))
    at = np.flatnonzero(joined.docs == number)
    added = joined.contributions[:, at[0]] if len(at) else np.zeros(len(rankings))
    weights = route.weights or (1.0,) * len(rankings)
    shares = [
        _share(lane, ranking, number, float(weight), float(contribution))
        for lane, ranking, weight, contribution in zip(route.lanes, rankings, weights, added, strict=True)
    ]
    return Way(found, shares)


def returned(way: Sequence[Stage]) -> bool:
    """Whether the search returns the document: it passes every stage that is no alternative."""
    return bool(way) and all(stage.passed for stage in way if not stage.alternative)


def verdict(way: Sequence[Stage]) -> str:
    """One sentence: at which rank the search returns the document, or which stage left it out, and by how much."""
    if not way:
        return ""
    if returned(way):
        last = way[-1]
        return f"Returned at rank {last.rank} of the best {last.limit}."
    lost = next(stage for stage in way if not stage.passed and not stage.alternative)
    return f"Not returned: {_reason(lost, way)}."


def _reason(lost: Stage, way: Sequence[Stage]) -> str:
    if lost.name == "filter":
        return "the document does not satisfy the filter"
    if lost.name == "fusion" and lost.rank is None:
        depth = max(stage.limit or 0 for stage in way if stage.alternative and stage.name != "codes")
        return f"no lane has it among its best {depth:,}; a larger depth may find it"
    scored = "" if lost.score is None else f" with the score {lost.score:.4f}"
    if lost.rank is None:
        where = f"the search by {lost.name} does not find it{scored}"
        return f"{where}; {lost.limit:,} pass{_needed(lost)}"
    by = "the codes of its segment" if lost.name == "codes" else lost.name
    reason = f"by {by} it has rank {lost.rank:,}{scored}, and {lost.limit:,} pass{_needed(lost)}"
    return reason + ("; more candidates, or a larger nprobe, would keep it" if lost.name == "codes" else "")


def _needed(lost: Stage) -> str:
    return "" if lost.cutoff is None else f" (the last of them has {lost.cutoff:.4f})"


def _share(lane: str, ranking: Hits, number: int, weight: float, contribution: float) -> LaneShare:
    at = np.flatnonzero(ranking.docs == number)
    if not len(at):
        return LaneShare(lane, None, None, weight, contribution)
    return LaneShare(lane, int(at[0]) + 1, float(ranking.scores[at[0]]), weight, contribution)


def _deep(snapshot: Snapshot, route: Route, lane: str, depth: int) -> int:
    """How many ranks can be reported without another choice of candidates."""
    chosen = lane in route.sides[1] and route.term_params != TermParams()
    return depth if chosen else max(depth, min(_DEEP, snapshot.view.count()))


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
    """The score of a document that no ranking holds: exact late interaction; None where
    only what was retrieved counts."""
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
