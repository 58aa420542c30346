"""Lets a caller stop work that has begun: a deadline has passed, or whoever asked has gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Check = Callable[[], None]
"""Returns when the work may go on, and raises the error that ends it. Called often: it must be cheap."""

T = TypeVar("T")

_check: ContextVar[Check | None] = ContextVar("plait_stopping", default=None)


@contextmanager
def stopping(check: Check) -> Iterator[None]:
    """Work of this thread inside the block calls `check` between its steps, SQLite's queries included."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


def current_check() -> Check | None:
    """The check of the block that this thread is in; None: nothing stops the work."""
    return _check.get()


def look() -> None:
    """Between two steps of long work: raises the error that ends it, if there is one."""
    check = _check.get()
    if check is not None:
        check()


def steps(items: Iterable[T]) -> Iterator[T]:
    """The items, with a look before each: for loops whose rounds take long, or are many."""
    for item in items:
        look()
        yield item
