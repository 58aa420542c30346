"""Encoders tell how far they are, text by text, to whoever waits for them; between two
texts their work can be stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ...index.stopping import look

_tell: ContextVar[Callable[[int], None] | None] = ContextVar("plait_encoded", default=None)


@contextmanager
def telling(tell: Callable[[int], None]) -> Iterator[None]:
    """Inside the block, encoders of this thread call `tell` with the number of texts that they have just finished."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def encoded(texts: int) -> None:
    """An encoder has finished so many more texts. Raises what ends the work, if something does."""
    look()
    tell = _tell.get()
    if tell is not None:
        tell(texts)
