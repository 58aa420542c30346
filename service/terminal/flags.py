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
from .options import read_filter

_TYPES: dict[str, Any] = {"flag": bool, "count": int | None, "number": float | None}
"""What typer reads; everything else is text that `_value` reads."""


def search_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose parameter `options` stands for a flag of each option of a search. It gets them as `SearchOptions`."""

    @wraps(command)
    def run(**given: Any) -> Any:
        values = {name: _value(name, option, given.pop(name)) for name, option in OPTIONS.items()}
        return command(**given, options=SearchOptions(**values))

    own = inspect.signature(command, eval_str=True).parameters
    return signed(run, [one for name in own for one in (_flags() if name == "options" else [own[name]])])


def signed(command: Callable[..., Any], parameters: list[inspect.Parameter]) -> Callable[..., Any]:
    """The command, with these parameters for typer to read."""
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _flags() -> list[inspect.Parameter]:
    rows = {row["name"]: row for row in SearchOptions.described()}
    return [_flag(name, option, rows[name]) for name, option in OPTIONS.items()]


def _flag(name: str, option: Option, row: Mapping[str, str]) -> inspect.Parameter:
    default = f"Default: {option.default}." if option.default else ""
    help = " ".join(filter(None, (row["help"], option.effect, default)))
    shape = Annotated[_TYPES.get(option.kind, str | None), typer.Option(row["flag"], help=help)]
    start = False if option.kind == "flag" else None
    return inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=start, annotation=shape)


def _value(name: str, option: Option, given: Any) -> Any:
    """What a flag's text means; None: it was not given. InvalidArgument: it cannot be read."""
    if given is None or given is False:
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
    return given


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
