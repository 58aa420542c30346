"""JSON payloads as `google.protobuf.Struct`, whose only number is a double: whole ones come back as integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from ..index.errors import InvalidArgument

_EXACT = 2**53


def write_payload(payload: Mapping[str, Any], struct: Struct, exact: bool = False) -> Struct:
    """Fills the struct. InvalidArgument: what no JSON has; with `exact`, an integer that a double cannot hold."""
    fields = struct.fields
    for key, value in payload.items():
        if not isinstance(key, str):
            raise InvalidArgument(f"the payload key {key!r} is no text")
        _write(value, fields[key], exact)
    return struct


def read_payload(struct: Struct) -> dict[str, Any]:
    """InvalidArgument: a number that is NaN or infinite."""
    return {key: _read(value) for key, value in struct.fields.items()}


def _write(value: Any, into: Value, exact: bool) -> None:
    if isinstance(value, str):
        into.string_value = value
    elif value is None:
        into.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        if exact and isinstance(value, int) and abs(value) > _EXACT:
            raise InvalidArgument(f"the payload holds {value}; over the wire integers go to 2**53, so make it a text")
        into.number_value = value
    elif isinstance(value, Mapping):
        write_payload(value, into.struct_value, exact)
        into.struct_value.SetInParent()
    elif isinstance(value, list | tuple):
        into.list_value.SetInParent()
        for one in value:
            _write(one, into.list_value.values.add(), exact)
    else:
        raise InvalidArgument(f"the payload holds {type(value).__name__} {value!r:.80}, which is no JSON")


def _read(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        if not math.isfinite(number):
            raise InvalidArgument(f"the payload holds {number}; JSON numbers are finite")
        return int(number) if number.is_integer() and abs(number) <= _EXACT else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return read_payload(value.struct_value)
    if kind == "list_value":
        return [_read(one) for one in value.list_value.values]
    return None
