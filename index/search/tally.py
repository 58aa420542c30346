"""What the searches of one thread scored exactly, and how long that took, for whoever asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Tally:
    """The sums of a block."""

    documents: int = 0
    """Candidates whose stored rows were read and scored. Plans without candidates (`exact`) leave it 0."""
    seconds: float = 0.0
    """Wall time of that."""


_open: ContextVar[Tally | None] = ContextVar("plait_tally", default=None)


@contextmanager
def tally() -> Iterator[Tally]:
    """Sums up the `tallied` blocks that this thread goes through inside of this one."""
    summed = Tally()
    token = _open.set(summed)
    try:
        yield summed
    finally:
        _open.reset(token)


@contextmanager
def tallied(documents: int) -> Iterator[None]:
    """Around the exact scoring of so many candidates."""
    summed = _open.get()
    if summed is None:
        yield
        return
    started = time.perf_counter()
    yield
    summed.seconds += time.perf_counter() - started
    summed.documents += documents
