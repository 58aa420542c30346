"""Making the next item while this one is used: an encoder does not wait for the disk, nor the disk for the encoder."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from threading import Event
from typing import TypeVar

from ...index.errors import Unavailable
from ...index.stopping import current_check, stopping

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items in the same order, each made in a thread of its own while the one before it is used.

    Never more than one is made ahead. An error comes where its item would have come. Who stops early, by an error, an
    interrupt or `close`, waits for the item under way, which ends at its next `look`, and no other is begun.
    """
    left, outer = Event(), current_check()

    def check() -> None:
        if left.is_set():
            raise Unavailable("whoever wanted this has gone")
        if outer is not None:
            outer()

    with stopping(check):
        context = copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="plait-ahead") as pool:
        try:
            coming = pool.submit(context.run, next, items, _END)
            while (item := coming.result()) is not _END:
                coming = pool.submit(context.run, next, items, _END)
                yield item  # pyright: ignore[reportReturnType]
        finally:
            left.set()
