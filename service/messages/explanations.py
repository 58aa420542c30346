"""Explanations on the wire and in Python."""

from __future__ import annotations

from ...retrieval.routes.explanation import Explanation, Match, TermContribution, Token
from ...retrieval.routes.stages import LaneShare, Stage
from ..wire import explanation_pb2 as wire

_TOLD = ("rank", "score", "limit", "cutoff", "codec_error")


def write_explanation(why: Explanation, into: wire.Explanation) -> None:
    into.id, into.score, into.text = why.id, why.score, why.text
    for match in why.matches:
        made = into.matches.add(similarity=match.similarity, contribution=match.contribution)
        _write_token(match.query, made.query)
        if match.document is not None:
            _write_token(match.document, made.document)
    for term in why.terms:
        into.terms.add(**vars(term))
    if why.terms_score is not None:
        into.terms_score = why.terms_score
    if why.vector_score is not None:
        into.vector_score = why.vector_score
    into.field_scores.update(why.field_scores)
    for stage in why.stages:
        into.stages.add(**vars(stage))
    for lane in why.lanes:
        into.lanes.add(**vars(lane))
    into.verdict = why.verdict


def read_explanation(why: wire.Explanation) -> Explanation:
    matches = [
        Match(
            _read_token(m.query),
            _read_token(m.document) if m.HasField("document") else None,
            m.similarity,
            m.contribution,
        )
        for m in why.matches
    ]
    terms = [TermContribution(t.term, t.query_weight, t.document_weight, t.contribution, t.field) for t in why.terms]
    score = why.terms_score if why.HasField("terms_score") else None
    product = why.vector_score if why.HasField("vector_score") else None
    stages, fields = list(map(_read_stage, why.stages)), dict(why.field_scores)
    lanes = list(map(_read_lane, why.lanes))
    return Explanation(why.id, why.score, matches, why.text, terms, score, product, stages, fields, lanes)


def _write_token(token: Token, into: wire.Token) -> None:
    into.text = token.text
    for start, end in token.spans:
        into.spans.add(start=start, end=end)


def _read_token(token: wire.Token) -> Token:
    return Token(token.text, [(span.start, span.end) for span in token.spans])


def _read_stage(stage: wire.Stage) -> Stage:
    told = {name: getattr(stage, name) for name in _TOLD if stage.HasField(name)}
    return Stage(stage.name, stage.passed, alternative=stage.alternative, **told)


def _read_lane(lane: wire.LaneShare) -> LaneShare:
    rank = lane.rank if lane.HasField("rank") else None
    return LaneShare(lane.lane, rank, lane.score if lane.HasField("score") else None, lane.weight, lane.contribution)
