"""Flags of commands that are made from a record of options: one flag for each of its fields, with the field's help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer

from ...index.errors import InvalidArgument
from ...retrieval.routes.option import Option
from ...retrieval.routes.options import OPTIONS, SearchOptions
from ...retrieval.text.options import MADE_OF, CollectionOptions
from .options import Pool, Prune, read_filter

_RECORDS: dict[Any, Mapping[str, Option]] = {SearchOptions: OPTIONS, CollectionOptions: MADE_OF}
_TYPES: dict[str, Any] = {
    "flag": bool,
    "vector": bool,
    "count": int | None,
    "number": float | None,
    "texts": list[str] | None,
    "terms": list[str] | None,
}
"""What typer reads; everything else is text that `_value` reads."""
_SHORT: dict[str, Any] = {"prune": Prune, "pool": Pool}
"""Flags beside `--reduce` for some of its reducers."""


def flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with a flag for each field of the records among its parameters, which it gets as records."""
    own = inspect.signature(command, eval_str=True).parameters
    records = {name: one.annotation for name, one in own.items() if one.annotation in _RECORDS}

    @wraps(command)
    def run(**given: Any) -> Any:
        made = {name: _record(record, given) for name, record in records.items()}
        return command(**given, **made)

    return signed(run, [one for name in own for one in (_flags(records[name]) if name in records else [own[name]])])


def signed(command: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """The command, with these parameters for typer to read."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _record(record: Any, given: dict[str, Any]) -> Any:
    """The record of the flags that are its own, which are taken out of `given`."""
    values = {name: _value(name, option, given.pop(name)) for name, option in _RECORDS[record].items()}
    if record is CollectionOptions:
        values["reduce"] = _reducers(values["reduce"], given.pop("prune"), given.pop("pool"))
    return record(**values)


def _flags(record: Any) -> list[inspect.Parameter]:
    rows, made = record.described(), []
    for row, option in zip(rows, _RECORDS[record].values(), strict=True):
        default = f"Default: {option.default}." if option.default else ""
        help = " ".join(filter(None, (row["help"], option.effect, default)))
        made.append(
            _flag(row["name"], Annotated[_TYPES.get(option.kind, str | None), typer.Option(row["flag"], help=help)])
        )
        if row["name"] == "reduce":
            made += [_flag(name, shape) for name, shape in _SHORT.items()]
    return made


def _flag(name: str, shape: Any) -> inspect.Parameter:
    start = False if shape.__origin__ is bool else None
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=start, annotation=shape)


def _value(name: str, option: Option, given: Any) -> Any:
    """What a flag's text means; None: it was not given. InvalidArgument: it cannot be read."""
    if given is None or given is False or given == []:
        return None
    match option.kind:
        case "names":
            return tuple(part.strip() for part in given.split(","))
        case "numbers":
            return _numbers(name, given)
        case "filter":
            return read_filter(given)
        case "missing" if given not in option.choices:
            return _number(given)
        case "terms":
            from ...retrieval.text.term_side import named_fields

            return named_fields(given)
    return given


def _reducers(reduce: list[str] | None, prune: list[str] | None, pool: str | None) -> list[str] | None:
    """The reducers in the order in which they are applied; None: none of the flags was given."""
    if not (reduce or prune or pool):
        return None
    return [*(reduce or ()), *(prune or ()), *([f"pool:{pool}"] if pool and pool != "1" else ())]


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise InvalidArgument(f"--{name} is {text!r}; write one number for each lane, such as 1,0.5") from None


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
