"""JSON payloads as `google.protobuf.Struct`, whose only number is a double; integers beyond 2^53 go beside it, exactly.

Whole doubles up to 2^53 come back as integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from ...index.errors import InvalidArgument
from ..wire.documents_pb2 import Integers

_EXACT = 2**53
_DIGITS = 310
"""Of the longest integer that has a nearest double, its sign among them. What is written today has 64 bits."""
Place = tuple[Any, ...] | None
"""The place of a value in its payload, from the inside out: its key, and the place of what holds it."""


def write_payload(payload: Mapping[str, Any], struct: Struct, integers: Integers | None = None) -> Struct:
    """Fills the struct, and `integers` with what the struct cannot hold; None: doubles are good enough.

    Raises:
        InvalidArgument: what no JSON has.
    """
    _write_fields(payload, struct, None, integers)
    return struct


def read_payload(struct: Struct, integers: Integers | None = None) -> dict[str, Any]:
    """InvalidArgument: a number that is NaN or infinite; an integer at a place where the struct has no such number."""
    payload = {key: _read(value) for key, value in struct.fields.items()}
    for pointer, digits in integers.at.items() if integers is not None else ():
        _put(payload, pointer, digits)
    return payload


def _write_fields(fields: Mapping[str, Any], struct: Struct, place: Place, integers: Integers | None) -> None:
    into = struct.fields
    for key, value in fields.items():
        if not isinstance(key, str):
            raise InvalidArgument(f"the payload key {key!r} is no text")
        _write(value, into[key], (key, place), integers)


def _write(value: Any, into: Value, place: Place, integers: Integers | None) -> None:
    if isinstance(value, str):
        into.string_value = value
    elif value is None:
        into.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        into.bool_value = value
    elif isinstance(value, int | float):
        if integers is not None and isinstance(value, int) and abs(value) > _EXACT:
            integers.at[_pointer(place)] = str(value)
        try:
            into.number_value = value
        except OverflowError:
            raise InvalidArgument(f"the payload holds an integer beyond every double at {_pointer(place)}") from None
    elif isinstance(value, Mapping):
        into.struct_value.SetInParent()
        _write_fields(value, into.struct_value, place, integers)
    elif isinstance(value, list | tuple):
        into.list_value.SetInParent()
        for i, one in enumerate(value):
            _write(one, into.list_value.values.add(), (i, place), integers)
    else:
        raise InvalidArgument(f"the payload holds {type(value).__name__} {value!r:.80}, which is no JSON")


def _pointer(place: Place) -> str:
    keys: list[str] = []
    while place is not None:
        key, place = place
        keys.append(str(key).replace("~", "~0").replace("/", "~1"))
    return "".join(f"/{key}" for key in reversed(keys))


def _put(payload: dict[str, Any], pointer: str, digits: str) -> None:
    """Replaces a double by the integer that it stands for."""
    *outer, last = [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]] or [""]
    holder: Any = payload
    at: Any
    try:
        for key in outer:
            holder = holder[int(key) if isinstance(holder, list) else key]
        at = int(last) if isinstance(holder, list) else last
        known = len(digits) <= _DIGITS and digits.removeprefix("-").isdecimal()
        if known and type(holder[at]) in (int, float) and float(holder[at]) == float(int(digits)):
            holder[at] = int(digits)
            return
    except (LookupError, ValueError, TypeError, OverflowError):
        pass
    raise InvalidArgument(
        f"integers say {digits!r:.40} at {pointer!r:.80}; the payload needs the nearest double there, and decimal digits go with it"
    )


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
