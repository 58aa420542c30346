"""One option of a record: its help, its bounds, what a larger value does, and the check of a value against them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

from ...index.errors import InvalidArgument

if TYPE_CHECKING:
    from ...index.filters.conditions import Filter

# `plait --help` reads this file, so it imports neither NumPy nor what needs it.
_UINT32 = 1 << 32
"""Counts are `uint32` on the wire."""

Kind = Literal[
    "flag", "count", "number", "choice", "name", "names", "numbers", "texts", "missing", "filter", "terms", "vector"
]


@dataclass(frozen=True)
class Option:
    """What a caller needs to know of one option."""

    kind: Kind
    help: str
    """One sentence, without its full stop."""
    default: str = ""
    """What holds where the option is not given."""
    unit: str = ""
    choices: tuple[str, ...] = ()
    least: float | None = None
    above: float | None = None
    """The bound below, where it is no value itself."""
    most: float | None = None
    grows: str = ""
    """What grows with the value."""
    shrinks: str = ""
    """What shrinks when the value grows."""
    modes: tuple[str, ...] = ()
    """The modes in which it counts; empty: all."""
    fusion: str = ""
    """The fusion with which it counts; empty: any."""
    finds: str = ""
    """`tokens`, `terms`: it counts only where a search finds documents by these; empty: in every search."""
    implies: str = ""
    """The mode that a search has if this option is given and `mode` is not."""

    @property
    def bounds(self) -> str:
        """The bounds in words, such as `at least 1`; empty: there are none."""
        below = f"at least {self.least:g}" if self.least is not None else ""
        below = f"above {self.above:g}" if self.above is not None else below
        above = f"at most {self.most:g}" if self.most is not None else ""
        return " and ".join(filter(None, (below, above)))

    @property
    def effect(self) -> str:
        """What a larger value does, as one sentence; empty: the help says it."""
        raised = f"raises {self.grows}" if self.grows else ""
        lowered = f"lowers {self.shrinks}" if self.shrinks else ""
        return f"A larger value {' and '.join(filter(None, (raised, lowered)))}." if raised or lowered else ""

    def checked(self, name: str, value: Any) -> Any:
        """The value as a search takes it. InvalidArgument names option, value, bound and remedy, and has the field."""
        try:
            return _CHECKS[self.kind](self, value)
        except _Wrong as wrong:
            verb = "are" if self.kind in ("names", "numbers") else "is"
            raise InvalidArgument(f"{name} {verb} {value!r:.80}; {wrong}", field=name) from None


class _Wrong(Exception):
    """What a value must be."""


def _flag(option: Option, value: Any) -> bool:
    if isinstance(value, str) or value not in (True, False):
        raise _Wrong("it must be True or False")
    return bool(value)


def _count(option: Option, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _Wrong("it must be a whole number")
    if int(value) >= _UINT32:
        raise _Wrong(f"it must be below {_UINT32:,}")
    return int(_bounded(option, int(value)))


def _number(option: Option, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _Wrong(f"it must be a number{', ' if option.bounds else ''}{option.bounds}")
    return _bounded(option, float(value))


def _bounded(option: Option, value: float) -> float:
    below = (option.least is not None and value < option.least) or (option.above is not None and value <= option.above)
    if below or (option.most is not None and value > option.most) or not math.isfinite(value):
        raise _Wrong(f"it must be {option.bounds or 'a finite number'}")
    return value


def _choice(option: Option, value: Any) -> str:
    if value not in option.choices:
        raise _Wrong(f"it must be one of {', '.join(option.choices)}")
    return value


def _name(option: Option, value: Any) -> str:
    if not isinstance(value, str):
        raise _Wrong("it must be a name, as text")
    return value


def _names(option: Option, value: Any) -> tuple[str, ...]:
    names = () if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise _Wrong("give a list of names, or leave it out for all")
    return names


def _numbers(option: Option, value: Any) -> tuple[float, ...]:
    numbers = () if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not numbers or not all(isinstance(n, Real) and math.isfinite(n) for n in numbers):
        raise _Wrong("give one finite number for each lane, or leave them out")
    return tuple(float(n) for n in numbers)


def _missing(option: Option, value: Any) -> str | float:
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if not isinstance(value, str) or value not in option.choices:
        raise _Wrong(f"it must be one of {', '.join(option.choices)}, or a finite number")
    return value


def _filter(option: Option, value: Any) -> Filter:
    from ...index.filters.conditions import Filter

    if isinstance(value, Mapping):
        return as_filter(value)
    if not isinstance(value, Filter):
        raise _Wrong("give a condition, such as {'year': 2020}")
    return value


def _texts(option: Option, value: Any) -> tuple[str, ...]:
    texts = (None,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise _Wrong("give a list of texts")
    return texts  # type: ignore[return-value]


def _terms(option: Option, value: Any) -> str | dict[str, str]:
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise _Wrong("give what makes the terms, or that of each field by name")
    return dict(value)


def _vector(option: Option, value: Any) -> int | bool | None:
    return value or None if isinstance(value, bool) else _count(option, value)


_CHECKS = {
    "flag": _flag,
    "count": _count,
    "number": _number,
    "choice": _choice,
    "name": _name,
    "names": _names,
    "numbers": _numbers,
    "texts": _texts,
    "missing": _missing,
    "filter": _filter,
    "terms": _terms,
    "vector": _vector,
}


def as_filter(condition: Any) -> Any:
    """A filter, or the filter that its JSON form describes."""
    from ...index.filters.sql import parse

    return parse(condition) if isinstance(condition, Mapping) else condition


def option(kind: Kind, help: str, **about: Any) -> Any:
    """A field of a record of options. None: not given."""
    return dataclasses.field(default=None, metadata={"option": Option(kind, help, **about)})


def options_of(record: type) -> dict[str, Option]:
    """The options of a record by name, in its order."""
    return {one.name: one.metadata["option"] for one in dataclasses.fields(record)}


def check_all(record: Any, options: Mapping[str, Option]) -> None:
    """Checks what was given and keeps it in one form: numbers as Python's, lists as tuples. For `__post_init__`."""
    for name, value in vars(record).items():
        if value is not None:
            object.__setattr__(record, name, options[name].checked(name, value))


def described(options: Mapping[str, Option]) -> list[dict[str, str]]:
    """One row for each option, for a reference: what it is called, takes, means and does, each as text."""
    return [
        {
            "name": name,
            "flag": f"--{name.replace('_', '-')}",
            "kind": one.kind,
            "help": f"{one.help}.",
            "default": one.default,
            "unit": one.unit,
            "choices": ", ".join(one.choices),
            "bounds": one.bounds,
            "effect": one.effect,
            "modes": ", ".join(one.modes),
        }
        for name, one in options.items()
    ]
