from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Span(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("text", "spans")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    text: str
    spans: _containers.RepeatedCompositeFieldContainer[Span]
    def __init__(self, text: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[Span, _Mapping]]] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("query", "document", "similarity", "contribution")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    query: Token
    document: Token
    similarity: float
    contribution: float
    def __init__(self, query: _Optional[_Union[Token, _Mapping]] = ..., document: _Optional[_Union[Token, _Mapping]] = ..., similarity: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class TermContribution(_message.Message):
    __slots__ = ("term", "query_weight", "document_weight", "contribution", "field")
    TERM_FIELD_NUMBER: _ClassVar[int]
    QUERY_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    term: str
    query_weight: float
    document_weight: float
    contribution: float
    field: str
    def __init__(self, term: _Optional[str] = ..., query_weight: _Optional[float] = ..., document_weight: _Optional[float] = ..., contribution: _Optional[float] = ..., field: _Optional[str] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("name", "rank", "score", "limit", "cutoff", "passed", "codec_error", "alternative")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CUTOFF_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    CODEC_ERROR_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVE_FIELD_NUMBER: _ClassVar[int]
    name: str
    rank: int
    score: float
    limit: int
    cutoff: float
    passed: bool
    codec_error: float
    alternative: bool
    def __init__(self, name: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., limit: _Optional[int] = ..., cutoff: _Optional[float] = ..., passed: _Optional[bool] = ..., codec_error: _Optional[float] = ..., alternative: _Optional[bool] = ...) -> None: ...

class LaneShare(_message.Message):
    __slots__ = ("lane", "rank", "score", "weight", "contribution")
    LANE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    lane: str
    rank: int
    score: float
    weight: float
    contribution: float
    def __init__(self, lane: _Optional[str] = ..., rank: _Optional[int] = ..., score: _Optional[float] = ..., weight: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("id", "score", "matches", "text", "terms", "terms_score", "stages", "vector_score", "field_scores", "lanes", "verdict")
    class FieldScoresEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    TERMS_SCORE_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_SCORE_FIELD_NUMBER: _ClassVar[int]
    FIELD_SCORES_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    text: str
    terms: _containers.RepeatedCompositeFieldContainer[TermContribution]
    terms_score: float
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    vector_score: float
    field_scores: _containers.ScalarMap[str, float]
    lanes: _containers.RepeatedCompositeFieldContainer[LaneShare]
    verdict: str
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ..., text: _Optional[str] = ..., terms: _Optional[_Iterable[_Union[TermContribution, _Mapping]]] = ..., terms_score: _Optional[float] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., vector_score: _Optional[float] = ..., field_scores: _Optional[_Mapping[str, float]] = ..., lanes: _Optional[_Iterable[_Union[LaneShare, _Mapping]]] = ..., verdict: _Optional[str] = ...) -> None: ...
