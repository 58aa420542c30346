"""Filters on the wire and in the index: the same nodes, one to one."""

from __future__ import annotations

from typing import Any

from ...index.errors import InvalidArgument
from ...index.filters import conditions as index
from ..limits import BadField, Limits
from ..wire import filter_pb2 as wire


def read_filter(filter: wire.Filter, limits: Limits, field: str = "filter") -> index.Filter:
    """BadField names the place of what is no condition, of too many of them, or of those too deep."""
    try:
        read = _read(filter, 1, limits)
        index.check_size(read, limits.filter_nodes, limits.filter_depth, limits.filter_all_values)
    except InvalidArgument as error:
        raise BadField(field, f"{field}: {error}") from None
    return read


def write_filter(filter: index.Filter, into: wire.Filter) -> wire.Filter:
    index.check_size(filter)
    return _write(filter, into)


def _read(filter: wire.Filter, depth: int, limits: Limits) -> index.Filter:
    index.check_depth(depth, limits.filter_depth)
    match filter.WhichOneof("condition"):
        case "eq":
            return index.Eq(filter.eq.field, _value(filter.eq.value))
        case "one_of":
            limits.check("filter_values", len(filter.one_of.values), "one_of.values")
            return index.In(filter.one_of.field, tuple(map(_value, filter.one_of.values)))
        case "range":
            names = [name for name in ("gt", "gte", "lt", "lte") if filter.range.HasField(name)]
            return index.Range(filter.range.field, **{name: _value(getattr(filter.range, name)) for name in names})
        case "exists":
            return index.Exists(filter.exists.field)
        case "all_of":
            return index.And(*[_read(f, depth + 1, limits) for f in filter.all_of.filters])
        case "any_of":
            return index.Or(*[_read(f, depth + 1, limits) for f in filter.any_of.filters])
        case "negated":
            return index.Not(_read(filter.negated, depth + 1, limits))
    raise InvalidArgument("a condition is empty; choose eq, one_of, range, exists, all_of, any_of or negated")


def _value(value: wire.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind is None:
        raise InvalidArgument("a value is empty; choose text, integer, number, boolean or null")
    return None if kind == "null" else getattr(value, kind)


def _write(filter: index.Filter, into: wire.Filter) -> wire.Filter:
    match filter:
        case index.Eq(field, value):
            into.eq.field = field
            _put(value, into.eq.value)
        case index.In(field, values):
            into.one_of.field = field
            for value in values:
                _put(value, into.one_of.values.add())
        case index.Range(field):
            into.range.field = field
            for name, bound in filter.bounds().items():
                _put(bound, getattr(into.range, name))
        case index.Exists(field):
            into.exists.field = field
        case index.And(conditions):
            into.all_of.SetInParent()
            for condition in conditions:
                _write(condition, into.all_of.filters.add())
        case index.Or(conditions):
            into.any_of.SetInParent()
            for condition in conditions:
                _write(condition, into.any_of.filters.add())
        case index.Not(condition):
            _write(condition, into.negated)
    return into


def _put(value: Any, into: wire.Value) -> None:
    if value is None:
        into.null = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        into.boolean = value
    elif isinstance(value, str):
        into.text = value
    elif isinstance(value, int):
        into.integer = value
    else:
        into.number = value
