from . import access_pb2 as _access_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "format", "limits", "workers", "queue", "streams", "deadline_s", "simd", "processes", "stream_idle_s", "encoders")
    class LimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    SIMD_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    STREAM_IDLE_S_FIELD_NUMBER: _ClassVar[int]
    ENCODERS_FIELD_NUMBER: _ClassVar[int]
    version: str
    format: int
    limits: _containers.ScalarMap[str, int]
    workers: int
    queue: int
    streams: int
    deadline_s: float
    simd: str
    processes: int
    stream_idle_s: float
    encoders: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, version: _Optional[str] = ..., format: _Optional[int] = ..., limits: _Optional[_Mapping[str, int]] = ..., workers: _Optional[int] = ..., queue: _Optional[int] = ..., streams: _Optional[int] = ..., deadline_s: _Optional[float] = ..., simd: _Optional[str] = ..., processes: _Optional[int] = ..., stream_idle_s: _Optional[float] = ..., encoders: _Optional[_Iterable[str]] = ...) -> None: ...
