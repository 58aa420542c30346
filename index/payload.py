"""What the id and the payload of a document may be: one set of bounds for every path on which a document is written.

Whatever is kept within them can be filtered by SQLite and sent in a message of the protocol, whose parsers take 100
levels of messages: three for a level of JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

from .errors import InvalidArgument

MAX_ID = 4_096
"""Characters of an id."""
MAX_LEVELS = 32
"""How deep a payload may nest; a payload without objects or lists in it has one level."""
MAX_BYTES = 16 << 20
"""Bytes of a payload, its text among them, as JSON in UTF-8."""
LEAST, GREATEST = -(2**63), 2**64 - 1
"""Integers: those of 64 bits, signed or not."""
_INTEGERS = f"integers go from {LEAST} to {GREATEST}, so make it a text"


def check_id(id: Any) -> str:
    """The id. InvalidArgument: no text, empty, too long, or half a surrogate pair in it."""
    if not isinstance(id, str) or not id:
        raise InvalidArgument(f"the id {id!r:.80} is no non-empty string")
    if len(id) > MAX_ID:
        raise InvalidArgument(f"the id {id!r:.40}... has {len(id):,} characters; ids have up to {MAX_ID:,}")
    return check_text(id, f"the id {id!r:.80}")


def check_ids(ids: Any) -> list[str]:
    """Ids to look for, as a list. InvalidArgument: a text, which would be taken letter by
    letter, or an id that is no text."""
    if isinstance(ids, str | bytes | dict) or not isinstance(ids, Iterable):
        raise InvalidArgument(f"ids must be a list of ids, got {ids!r:.80}")
    found = list(ids)
    for id in found:
        if not isinstance(id, str):
            raise InvalidArgument(f"the id {id!r:.80} is no text")
        check_text(id, f"the id {id!r:.80}")
    return found


def check_text(text: str, what: str) -> str:
    """The text. InvalidArgument, which begins with `what`: half a surrogate pair is in it, which no UTF-8 can write."""
    if half := _half(text):
        raise InvalidArgument(f"{what} holds {half}; no UTF-8 can write it")
    return text


def check_payload(id: str, payload: Any) -> None:
    """Refuses a payload that could not be stored, filtered or sent: InvalidArgument names the
    document, the field, the bound."""
    if not isinstance(payload, dict):
        raise InvalidArgument(f"the payload of document {id!r:.80} must be a dict, got {payload!r:.80}")
    if fault := _fault(payload, 1):
        path, fact, remedy = fault
        field = f" at {path.removeprefix('.'):.200}" if path else ""
        raise InvalidArgument(f"the payload of document {id!r:.80} {fact}{field}; {remedy}")


def encoded(id: str, payload: dict[str, Any]) -> str | None:
    """A payload as strict JSON, which SQLite's own functions can read; None for an empty one. Refuses as
    `check_payload`."""
    if not payload:
        return None
    check_payload(id, payload)
    text = json.dumps(payload, ensure_ascii=False, allow_nan=False)
    if len(text) * 4 > MAX_BYTES and (size := len(text.encode())) > MAX_BYTES:
        raise InvalidArgument(
            f"the payload of document {id!r:.80} takes {size:,} bytes as JSON; up to {MAX_BYTES:,} are kept, so split the document"
        )
    return text


Fault = tuple[str, str, str]
"""Where within a payload something stands that cannot be kept, what it is, and the remedy."""


def _fault(value: Any, level: int) -> Fault | None:
    if isinstance(value, str):
        return _text_fault(value, "holds a text with")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if LEAST <= value <= GREATEST else ("", f"holds the integer {_shown(value)}", _INTEGERS)
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", f"holds {value}", "JSON numbers are finite")
    if isinstance(value, dict | list | tuple):
        return _fault_within(value, level)
    return (
        "",
        f"holds {type(value).__name__} {value!r:.80}",
        "it is no JSON: take text, numbers, booleans, None, lists, dicts",
    )


def _fault_within(value: Any, level: int) -> Fault | None:
    if level > MAX_LEVELS:
        return "", "is nested too deep", f"{MAX_LEVELS} levels are kept"
    named = isinstance(value, dict)
    for key, inner in value.items() if named else enumerate(value):
        if named and (fault := _key_fault(key)):
            return fault
        if fault := _fault(inner, level + 1):
            return (f".{key}" if named else f"[{key}]") + fault[0], fault[1], fault[2]
    return None


def _key_fault(key: Any) -> Fault | None:
    if not isinstance(key, str):
        return "", f"has the key {key!r:.80}", "keys are text"
    return _text_fault(key, f"has the key {key!r:.80}, with")


def _text_fault(text: str, where: str) -> Fault | None:
    if "\0" in text:
        return "", f"{where} U+0000", "SQLite would cut it there"
    if half := _half(text):
        return "", f"{where} {half}", "no UTF-8 can write it"
    return None


def _half(text: str) -> str | None:
    """The first half of a surrogate pair, as JavaScript leaves it when it cuts an emoji in two."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"half a surrogate pair (U+{ord(text[error.start]):04X} at character {error.start})"
    return None


def _shown(value: int) -> str:
    return str(value) if abs(value) < 10**40 else f"of {value.bit_length()} bits"
