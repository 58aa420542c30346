from google.protobuf import struct_pb2 as _struct_pb2
from . import access_pb2 as _access_pb2
from . import documents_pb2 as _documents_pb2
from . import explanation_pb2 as _explanation_pb2
from . import filter_pb2 as _filter_pb2
from . import vectors_pb2 as _vectors_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_TOKENS: _ClassVar[Mode]
    MODE_TERMS: _ClassVar[Mode]
    MODE_HYBRID: _ClassVar[Mode]
    MODE_RERANK: _ClassVar[Mode]
    MODE_VECTOR: _ClassVar[Mode]
    MODE_SUM: _ClassVar[Mode]

class Fusion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FUSION_UNSPECIFIED: _ClassVar[Fusion]
    FUSION_RRF: _ClassVar[Fusion]
    FUSION_WEIGHTED: _ClassVar[Fusion]

class Normalise(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NORMALISE_UNSPECIFIED: _ClassVar[Normalise]
    NORMALISE_MINMAX: _ClassVar[Normalise]
    NORMALISE_ZSCORE: _ClassVar[Normalise]
    NORMALISE_NONE: _ClassVar[Normalise]

class MissingPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISSING_POLICY_UNSPECIFIED: _ClassVar[MissingPolicy]
    MISSING_POLICY_KTH: _ClassVar[MissingPolicy]
    MISSING_POLICY_ZERO: _ClassVar[MissingPolicy]
    MISSING_POLICY_NONE: _ClassVar[MissingPolicy]
MODE_UNSPECIFIED: Mode
MODE_TOKENS: Mode
MODE_TERMS: Mode
MODE_HYBRID: Mode
MODE_RERANK: Mode
MODE_VECTOR: Mode
MODE_SUM: Mode
FUSION_UNSPECIFIED: Fusion
FUSION_RRF: Fusion
FUSION_WEIGHTED: Fusion
NORMALISE_UNSPECIFIED: Normalise
NORMALISE_MINMAX: Normalise
NORMALISE_ZSCORE: Normalise
NORMALISE_NONE: Normalise
MISSING_POLICY_UNSPECIFIED: MissingPolicy
MISSING_POLICY_KTH: MissingPolicy
MISSING_POLICY_ZERO: MissingPolicy
MISSING_POLICY_NONE: MissingPolicy

class Query(_message.Message):
    __slots__ = ("text", "encoded")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    text: str
    encoded: EncodedQuery
    def __init__(self, text: _Optional[str] = ..., encoded: _Optional[_Union[EncodedQuery, _Mapping]] = ...) -> None: ...

class EncodedQuery(_message.Message):
    __slots__ = ("tokens", "terms", "vector", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _vectors_pb2.SparseVectors
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_vectors_pb2.SparseVectors, _Mapping]] = ...) -> None: ...
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    tokens: _vectors_pb2.TokenVectors
    terms: _vectors_pb2.SparseVectors
    vector: _vectors_pb2.Tensor
    fields: _containers.MessageMap[str, _vectors_pb2.SparseVectors]
    def __init__(self, tokens: _Optional[_Union[_vectors_pb2.TokenVectors, _Mapping]] = ..., terms: _Optional[_Union[_vectors_pb2.SparseVectors, _Mapping]] = ..., vector: _Optional[_Union[_vectors_pb2.Tensor, _Mapping]] = ..., fields: _Optional[_Mapping[str, _vectors_pb2.SparseVectors]] = ...) -> None: ...

class SearchOptions(_message.Message):
    __slots__ = ("mode", "exact", "k_token", "nprobe", "candidates", "missing_policy", "missing_value", "depth", "fusion", "fusion_k", "normalise", "weights", "term_candidates", "query_terms", "min_idf", "alpha", "target_recall", "filter", "lanes", "field", "scorer", "min_score")
    MODE_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    K_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NPROBE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    MISSING_POLICY_FIELD_NUMBER: _ClassVar[int]
    MISSING_VALUE_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    FUSION_K_FIELD_NUMBER: _ClassVar[int]
    NORMALISE_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    TERM_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    QUERY_TERMS_FIELD_NUMBER: _ClassVar[int]
    MIN_IDF_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    TARGET_RECALL_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    SCORER_FIELD_NUMBER: _ClassVar[int]
    MIN_SCORE_FIELD_NUMBER: _ClassVar[int]
    mode: Mode
    exact: bool
    k_token: int
    nprobe: int
    candidates: int
    missing_policy: MissingPolicy
    missing_value: float
    depth: int
    fusion: Fusion
    fusion_k: float
    normalise: Normalise
    weights: _containers.RepeatedScalarFieldContainer[float]
    term_candidates: int
    query_terms: int
    min_idf: float
    alpha: float
    target_recall: float
    filter: _filter_pb2.Filter
    lanes: _containers.RepeatedScalarFieldContainer[str]
    field: str
    scorer: str
    min_score: float
    def __init__(self, mode: _Optional[_Union[Mode, str]] = ..., exact: _Optional[bool] = ..., k_token: _Optional[int] = ..., nprobe: _Optional[int] = ..., candidates: _Optional[int] = ..., missing_policy: _Optional[_Union[MissingPolicy, str]] = ..., missing_value: _Optional[float] = ..., depth: _Optional[int] = ..., fusion: _Optional[_Union[Fusion, str]] = ..., fusion_k: _Optional[float] = ..., normalise: _Optional[_Union[Normalise, str]] = ..., weights: _Optional[_Iterable[float]] = ..., term_candidates: _Optional[int] = ..., query_terms: _Optional[int] = ..., min_idf: _Optional[float] = ..., alpha: _Optional[float] = ..., target_recall: _Optional[float] = ..., filter: _Optional[_Union[_filter_pb2.Filter, _Mapping]] = ..., lanes: _Optional[_Iterable[str]] = ..., field: _Optional[str] = ..., scorer: _Optional[str] = ..., min_score: _Optional[float] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("collection", "query", "k", "options", "at_least_seq", "payload")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    collection: str
    query: Query
    k: int
    options: SearchOptions
    at_least_seq: int
    payload: bool
    def __init__(self, collection: _Optional[str] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., k: _Optional[int] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., at_least_seq: _Optional[int] = ..., payload: _Optional[bool] = ...) -> None: ...

class Hit(_message.Message):
    __slots__ = ("id", "score", "payload", "integers")
    ID_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    id: str
    score: float
    payload: _struct_pb2.Struct
    integers: _documents_pb2.Integers
    def __init__(self, id: _Optional[str] = ..., score: _Optional[float] = ..., payload: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., integers: _Optional[_Union[_documents_pb2.Integers, _Mapping]] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("encode_ms", "search_ms", "fetch_ms")
    ENCODE_MS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_MS_FIELD_NUMBER: _ClassVar[int]
    FETCH_MS_FIELD_NUMBER: _ClassVar[int]
    encode_ms: float
    search_ms: float
    fetch_ms: float
    def __init__(self, encode_ms: _Optional[float] = ..., search_ms: _Optional[float] = ..., fetch_ms: _Optional[float] = ...) -> None: ...

class SearchResponse(_message.Message):
    __slots__ = ("hits", "seq", "timing", "notes")
    HITS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    seq: int
    timing: Timing
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., seq: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchSearchRequest(_message.Message):
    __slots__ = ("collection", "queries", "k", "options", "at_least_seq", "payload", "partial")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    collection: str
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    k: int
    options: SearchOptions
    at_least_seq: int
    payload: bool
    partial: bool
    def __init__(self, collection: _Optional[str] = ..., queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., k: _Optional[int] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., at_least_seq: _Optional[int] = ..., payload: _Optional[bool] = ..., partial: _Optional[bool] = ...) -> None: ...

class BatchSearchResponse(_message.Message):
    __slots__ = ("counts", "ids", "scores", "payloads", "integers", "seq", "timing", "notes")
    class IntegersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: _documents_pb2.Integers
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[_documents_pb2.Integers, _Mapping]] = ...) -> None: ...
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    INTEGERS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    scores: bytes
    payloads: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    integers: _containers.MessageMap[int, _documents_pb2.Integers]
    seq: int
    timing: Timing
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, counts: _Optional[_Iterable[int]] = ..., ids: _Optional[_Iterable[str]] = ..., scores: _Optional[bytes] = ..., payloads: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., integers: _Optional[_Mapping[int, _documents_pb2.Integers]] = ..., seq: _Optional[int] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class RerankRequest(_message.Message):
    __slots__ = ("collection", "query", "ids", "k", "payload", "at_least_seq", "scorer")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    SCORER_FIELD_NUMBER: _ClassVar[int]
    collection: str
    query: Query
    ids: _containers.RepeatedScalarFieldContainer[str]
    k: int
    payload: bool
    at_least_seq: int
    scorer: str
    def __init__(self, collection: _Optional[str] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., ids: _Optional[_Iterable[str]] = ..., k: _Optional[int] = ..., payload: _Optional[bool] = ..., at_least_seq: _Optional[int] = ..., scorer: _Optional[str] = ...) -> None: ...

class RerankResponse(_message.Message):
    __slots__ = ("hits", "seq")
    HITS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    hits: _containers.RepeatedCompositeFieldContainer[Hit]
    seq: int
    def __init__(self, hits: _Optional[_Iterable[_Union[Hit, _Mapping]]] = ..., seq: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("collection", "query", "id", "k", "options", "at_least_seq")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    AT_LEAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    collection: str
    query: Query
    id: str
    k: int
    options: SearchOptions
    at_least_seq: int
    def __init__(self, collection: _Optional[str] = ..., query: _Optional[_Union[Query, _Mapping]] = ..., id: _Optional[str] = ..., k: _Optional[int] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ..., at_least_seq: _Optional[int] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("explanation", "seq", "notes")
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    explanation: _explanation_pb2.Explanation
    seq: int
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, explanation: _Optional[_Union[_explanation_pb2.Explanation, _Mapping]] = ..., seq: _Optional[int] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("collection", "texts", "options")
    COLLECTION_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    collection: str
    texts: _containers.RepeatedScalarFieldContainer[str]
    options: SearchOptions
    def __init__(self, collection: _Optional[str] = ..., texts: _Optional[_Iterable[str]] = ..., options: _Optional[_Union[SearchOptions, _Mapping]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("queries",)
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[EncodedQuery]
    def __init__(self, queries: _Optional[_Iterable[_Union[EncodedQuery, _Mapping]]] = ...) -> None: ...
