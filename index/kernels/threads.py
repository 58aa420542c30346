"""How many CPU threads a search or an encoding may use. Results are the same to the bit for any number."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

from threadpoolctl import ThreadpoolController

from ..errors import InvalidArgument

_limit: ContextVar[int | None] = ContextVar("plait_threads", default=None)


def threads() -> int:
    """What a kernel may use that was not told how many.

    As many as `limited` says around the call; else as `use_threads` has set; else
    OMP_NUM_THREADS; else one for each core.
    """
    return _limit.get() or _default


def use_threads(count: int) -> None:
    """Sets what `threads` says, for the whole process."""
    global _default
    _default = count


@contextmanager
def limited(count: int | None) -> Iterator[None]:
    """Inside the block this thread's kernels, and the process's BLAS, use at most so many threads. None: as outside."""
    if count is None:
        yield
        return
    if count < 1:
        raise InvalidArgument(f"threads is {count}; it must be at least 1")
    token = _limit.set(count)
    try:
        with _pools().limit(limits=count, user_api="blas"):
            yield
    finally:
        _limit.reset(token)


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def _cores() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if asked.isdecimal() and int(asked):
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_default = _cores()
