from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    D_TYPE_UNSPECIFIED: _ClassVar[DType]
    D_TYPE_FLOAT32: _ClassVar[DType]
    D_TYPE_FLOAT16: _ClassVar[DType]
    D_TYPE_BFLOAT16: _ClassVar[DType]
    D_TYPE_INT8: _ClassVar[DType]
D_TYPE_UNSPECIFIED: DType
D_TYPE_FLOAT32: DType
D_TYPE_FLOAT16: DType
D_TYPE_BFLOAT16: DType
D_TYPE_INT8: DType

class Tensor(_message.Message):
    __slots__ = ("data", "dtype", "rows", "cols")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    dtype: DType
    rows: int
    cols: int
    def __init__(self, data: _Optional[bytes] = ..., dtype: _Optional[_Union[DType, str]] = ..., rows: _Optional[int] = ..., cols: _Optional[int] = ...) -> None: ...

class TokenVectors(_message.Message):
    __slots__ = ("vectors", "ids", "spans", "span_offsets", "weights", "roles")
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    SPAN_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    vectors: Tensor
    ids: bytes
    spans: bytes
    span_offsets: bytes
    weights: bytes
    roles: bytes
    def __init__(self, vectors: _Optional[_Union[Tensor, _Mapping]] = ..., ids: _Optional[bytes] = ..., spans: _Optional[bytes] = ..., span_offsets: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., roles: _Optional[bytes] = ...) -> None: ...

class SparseVectors(_message.Message):
    __slots__ = ("offsets", "keys", "weights", "key_space")
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    KEY_SPACE_FIELD_NUMBER: _ClassVar[int]
    offsets: bytes
    keys: bytes
    weights: bytes
    key_space: int
    def __init__(self, offsets: _Optional[bytes] = ..., keys: _Optional[bytes] = ..., weights: _Optional[bytes] = ..., key_space: _Optional[int] = ...) -> None: ...
