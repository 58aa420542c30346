"""The options of a search on the wire: a loop over `SearchOptions`, whose names are the fields' names."""

from __future__ import annotations

from functools import cache
from typing import Any

from ...retrieval.routes.option import Option
from ...retrieval.routes.options import OPTIONS, SearchOptions
from ..limits import BadField, Limits
from ..wire import search_pb2 as wire
from .filters import read_filter, write_filter

_FIELDS = wire.SearchOptions.DESCRIPTOR.fields_by_name


def write_options(options: SearchOptions) -> wire.SearchOptions:
    """What was given, and nothing else."""
    message = wire.SearchOptions()
    for name, value in options.given().items():
        match OPTIONS[name].kind:
            case "choice":
                setattr(message, name, _numbers(name)[value])
            case "names" | "numbers":
                getattr(message, name).extend(value)
            case "missing" if isinstance(value, str):
                message.missing_policy = _numbers("missing_policy")[value]  # type: ignore[assignment]
            case "missing":
                message.missing_value = value
            case "filter":
                write_filter(value, message.filter)
            case _:
                setattr(message, name, value)
    return message


def read_options(message: wire.SearchOptions, limits: Limits) -> SearchOptions:
    """What is present, within the limits. InvalidArgument names the option, BadField the field of a limit."""
    given = {name: _read(name, option, message, limits) for name, option in OPTIONS.items()}
    return SearchOptions(**given)


def _read(name: str, option: Option, message: wire.SearchOptions, limits: Limits) -> Any:
    """The value of an option; None: it is not there."""
    if option.kind in ("names", "numbers"):
        return tuple(getattr(message, name)) or None
    if option.kind == "missing":
        field = message.WhichOneof(name)
        return _named(field, message) if field == "missing_policy" else message.missing_value if field else None
    if option.kind == "choice":
        return _named(name, message)
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    value = getattr(message, name)
    if option.kind == "filter":
        return read_filter(value, limits, f"options.{name}")
    return limits.check(name, value, f"options.{name}", least=1) if name in Limits.model_fields else value


@cache
def _numbers(field: str) -> dict[str, int]:
    """The numbers of an enum's values by the names that Python has for them: `MODE_TOKENS` is `tokens`."""
    values = _FIELDS[field].enum_type.values  # type: ignore[union-attr]
    return {value.name.removeprefix(f"{field.upper()}_").lower(): value.number for value in values if value.number}


def _named(field: str, message: wire.SearchOptions) -> str | None:
    """The name that an enum's field has; None: its value is 0. BadField: it is none that this plait knows."""
    number, names = getattr(message, field), _numbers(field)
    if not number:
        return None
    for name, known in names.items():
        if known == number:
            return name
    raise BadField(f"options.{field}", f"options.{field} is {number}; it must be one of {', '.join(names)}")
