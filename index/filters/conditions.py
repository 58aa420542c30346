"""The nodes of a payload filter: conditions on the fields of a document, checked when they are made."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from reprlib import repr as brief
from typing import Any, TypeAlias

from ..errors import InvalidArgument

MAX_NODES = 256
"""Nodes of a filter; one more costs one more look into every payload that no index rules out."""
MAX_DEPTH = 32
"""Nodes from the root to a leaf, both included."""
MAX_VALUES = 1000
"""Values of one In."""
MAX_ALL_VALUES = 10_000
"""Values of all conditions of a filter together."""
MAX_FIELD = 128
"""Characters of a field, quotes and dots included."""
MAX_KEYS = 32
"""Keys of a field; each joins a table, and SQLite joins at most 64."""
MAX_INDEXED = 64
"""Payload fields with an index; each makes every write dearer."""
ID = "$id"

Bound: TypeAlias = str | int | float
Value: TypeAlias = Bound | bool | None

_KEY = re.compile(r'"(?:[^"]|"")*"|[^".]+')
_FIELD = re.compile(rf"(?:{_KEY.pattern})(?:\.(?:{_KEY.pattern}))*")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Eq:
    """The field is this value; None: it is null, which is not to be missing."""

    field: str
    value: Value

    def __post_init__(self) -> None:
        _check(self.field, (self.value,))


@dataclass(frozen=True)
class In:
    """The field is one of these values, at most MAX_VALUES; of none: false."""

    field: str
    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, list | tuple):
            raise InvalidArgument(f"the values for {brief(self.field)} are {brief(self.values)}; write a list")
        if len(self.values) > MAX_VALUES:
            raise InvalidArgument(f"{brief(self.field)} has {len(self.values)} values; at most {MAX_VALUES} are taken")
        object.__setattr__(self, "values", tuple(self.values))
        _check(self.field, self.values)


@dataclass(frozen=True)
class Range:
    """The field is within all the given bounds, which are numbers or text, not both; None: no such bound."""

    field: str
    gt: Bound | None = None
    gte: Bound | None = None
    lt: Bound | None = None
    lte: Bound | None = None

    def __post_init__(self) -> None:
        bounds = self.bounds().values()
        _check(self.field, bounds)
        if any(isinstance(b, bool) for b in bounds) or len({isinstance(b, str) for b in bounds}) != 1:
            raise InvalidArgument(
                f"the bounds of {self.field!r} are {brief(self.bounds())}; give one to four of gt, gte, lt and lte, "
                "all numbers or all text"
            )

    def bounds(self) -> dict[str, Bound]:
        """The bounds that are given, by name."""
        named = {"gt": self.gt, "gte": self.gte, "lt": self.lt, "lte": self.lte}
        return {name: bound for name, bound in named.items() if bound is not None}


@dataclass(frozen=True)
class Exists:
    """The field is there, be it null or empty."""

    field: str

    def __post_init__(self) -> None:
        _check(self.field, ())


@dataclass(frozen=True, init=False)
class And:
    """All conditions hold; without any: true."""

    conditions: tuple[Filter, ...]

    def __init__(self, *conditions: Filter):
        object.__setattr__(self, "conditions", conditions)


@dataclass(frozen=True, init=False)
class Or:
    """At least one condition holds; without any: false."""

    conditions: tuple[Filter, ...]

    def __init__(self, *conditions: Filter):
        object.__setattr__(self, "conditions", conditions)


@dataclass(frozen=True)
class Not:
    """The condition does not hold."""

    condition: Filter


Filter: TypeAlias = Eq | In | Range | Exists | And | Or | Not


def keys(field: str) -> list[str]:
    """The object keys that a field names, outermost first. InvalidArgument: it is no field."""
    if not isinstance(field, str):
        raise InvalidArgument(f"the field {brief(field)} is no text")
    if len(field) > MAX_FIELD:
        raise InvalidArgument(f"the field {brief(field)} has {len(field)} characters; at most {MAX_FIELD} are taken")
    if not _FIELD.fullmatch(field) or _NO_TEXT.search(field):
        raise InvalidArgument(
            f"{field!r} is no field; join keys of Unicode text without U+0000 by dots, and put a key that is empty or "
            'holds a dot or a quote in double quotes, a quote inside them twice: a."b.c"'
        )
    found = [k[1:-1].replace('""', '"') if k[0] == '"' else k for k in _KEY.findall(field)]
    if len(found) > MAX_KEYS:
        raise InvalidArgument(f"the field {field!r} has {len(found)} keys; at most {MAX_KEYS} are taken")
    return found


def _check(field: str, values: Collection[Any]) -> None:
    """InvalidArgument: this is no field, or these are no values to compare it with."""
    keys(field)
    for value in values:
        if not isinstance(value, Value):
            remedy = 'take text, a number, a boolean or null; for several values "in", for bounds "range"'
        elif isinstance(value, float) and not math.isfinite(value):
            remedy = "numbers must be finite"
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            remedy = f"integers go from {-(2**63)} to {2**63 - 1}"
        elif isinstance(value, str) and _NO_TEXT.search(value):
            remedy = "text must be Unicode without U+0000"
        elif field == ID and not isinstance(value, str):
            remedy = "ids are text"
        else:
            continue
        raise InvalidArgument(f"{field!r} is compared with {brief(value)}; {remedy}")


def parts(filter: Filter) -> tuple[Filter, ...]:
    """The conditions that a filter is made of; a leaf has none."""
    match filter:
        case And(conditions) | Or(conditions):
            return conditions
        case Not(condition):
            return (condition,)
    return ()


def size(filter: Filter) -> int:
    """The number of nodes."""
    return 1 + sum(map(size, parts(filter)))


def check_size(
    filter: Filter, most: int = MAX_NODES, deepest: int = MAX_DEPTH, most_values: int = MAX_ALL_VALUES
) -> None:
    """InvalidArgument: the filter has more nodes or values than it may, is nested too
    deep, or holds what is no condition."""
    nodes, values, waiting = 0, 0, [(filter, 1)]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, Filter):
            raise InvalidArgument(f"{brief(node)} is no filter; take Eq, In, Range, Exists, And, Or or Not")
        nodes += 1
        check_depth(depth, deepest)
        if nodes > most:
            raise InvalidArgument(f"the filter has {nodes} nodes or more; at most {most} are taken")
        values += len(node.values) if isinstance(node, In) else 0
        if values > most_values:
            raise InvalidArgument(
                f"the lists of the filter hold {values:,} values or more; at most {most_values:,} are taken together"
            )
        waiting += [(part, depth + 1) for part in parts(node)]


def check_depth(depth: int, deepest: int = MAX_DEPTH) -> None:
    if depth > deepest:
        raise InvalidArgument(f"the filter is {depth} levels deep or more; at most {deepest} are taken")


def fields_of(filter: Filter) -> list[str]:
    """The payload fields that a filter names, each once, in their order; `$id` is none."""
    named = [filter.field] if isinstance(filter, Eq | In | Range | Exists) and filter.field != ID else []
    return list(dict.fromkeys([*named, *(name for part in parts(filter) for name in fields_of(part))]))
