"""Making the next item while this one is used: an encoder does not wait for the disk, nor the disk for the encoder."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items in the same order, each made in a thread of its own while the one before it is used.

    Never more than one is made ahead. An error comes where its item would have come. Who stops early, by an error, an
    interrupt or `close`, waits for the item under way, and no other is begun.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="plait-ahead") as pool:
        coming = pool.submit(next, items, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, items, _END)
            yield item  # pyright: ignore[reportReturnType]
