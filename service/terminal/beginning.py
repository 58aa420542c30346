"""The folder of a build: a new collection, one that an interrupted build began, or a
refusal that names the difference."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ...index.catalog.catalog import FILE, LOCK
from ...index.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from ...retrieval.retriever import Retriever
from ...retrieval.text.options import CollectionOptions
from .making import differences

_OWN = (FILE, f"{FILE}-wal", f"{FILE}-shm", LOCK)
"""What an empty collection consists of."""


@contextmanager
def begun(
    folder: Path, making: CollectionOptions, machine: dict[str, Any], restart: bool = False
) -> Iterator[Retriever]:
    """The collection that a build fills. What this made goes again if the block fails before a document is in it.

    Args:
        restart: begin anew, with other settings too, where an interrupted build left something.

    Raises:
        InvalidArgument: the folder is a file; another build began there with other settings.
        AlreadyExists: a finished collection is there.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidArgument(f"{folder} is a file; give a folder that is new or empty")
    settings = making.settings()
    there = (folder / FILE).exists()
    retriever = _resumed(folder, making, machine, restart) if there else None
    made = retriever is None
    if retriever is None:
        retriever = Retriever.create(folder, **settings, **machine)
    try:
        yield retriever
    except BaseException:
        if made:
            remove_empty(retriever)
        raise


def remove_empty(retriever: Retriever) -> bool:
    """Closes a collection and removes its files, if it holds no document, not even one of an interrupted build."""
    collection = retriever.collection
    with collection.catalog.reading() as view:
        empty = not (view.count() or view.staged or view.segments())
    retriever.close()
    if empty:
        for name in _OWN:
            (collection.path / name).unlink(missing_ok=True)
        with suppress(OSError):  # it holds something else
            collection.path.rmdir()
    return empty


def _resumed(folder: Path, making: CollectionOptions, machine: dict[str, Any], restart: bool) -> Retriever | None:
    """The collection that is there, ready to go on; None: it was unfinished, and is gone for a new one."""
    retriever = Retriever(folder, **machine)
    other = differences(making, retriever, whole=True)
    if count := len(retriever):
        retriever.close()
        made = f"begun with other settings: {'; '.join(other)}" if other else "built already"
        kind = InvalidArgument if other else AlreadyExists
        raise kind(
            f"{folder} is a finished collection of {count:,} documents, {made}; choose another folder, or add documents "
            f"to it (`plait add {folder} DATA`)"
        )
    if not other:
        return retriever
    with retriever.collection.catalog.reading() as view:
        staged = view.staged
    if not restart:
        retriever.close()
        raise InvalidArgument(
            f"{folder} holds an unfinished build of {staged:,} documents, begun with other settings: {'; '.join(other)}. "
            "Give the same settings to go on, --restart to begin anew, or another folder"
        )
    with retriever.collection.builder() as builder:
        builder.discard()
    if not remove_empty(retriever):
        raise FailedPrecondition(f"{folder} holds more than an unfinished build; choose another folder")
    return None
