"""How many threads the libraries of NumPy take for a product."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from .errors import InvalidArgument


def blas_threads(threads: int | None) -> AbstractContextManager[Any]:
    """A block in which BLAS takes so many threads; None: as many as it would. InvalidArgument: fewer than one."""
    if threads is not None and threads < 1:
        raise InvalidArgument(f"threads is {threads}; it must be at least 1")
    return nullcontext() if threads is None else _pools().limit(limits=threads, user_api="blas")


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()
