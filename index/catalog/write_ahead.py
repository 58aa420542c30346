"""SQLite's log: when its pages go into the file, and how long it may get while somebody keeps it from beginning anew.

SQLite writes a transaction to the log first. Pages go from there to the file (a checkpoint), and the log begins anew
when all have gone and nobody reads an older state. A state that is held for long, or reads that
always overlap, keep it growing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..errors import Unavailable
from .connections import Loan, oldest_loan
from .database import LOG_KEPT, Connection, Error, checkpoint, code, on_commit

STEP = 4 << 20
"""Bytes that the log grows by between two tries to empty it."""
WAIT_MS = 500
"""How long a write waits for readers when the log is larger than `LOG_KEPT`: once for each so many bytes more."""
FLOOR, MULTIPLE = 1 << 30, 4
"""The log may get so large, or so many times as large as the file, if that is more. Then documents are refused."""


class WriteAheadLog:
    """The log of one catalog, as its writer in this process sees it. Used under the lock of writers."""

    def __init__(self, path: Path):
        self._path, self._file = path, path.with_name(path.name + "-wal")
        self._size, self._due = 0, STEP

    def watch(self, db: Connection) -> None:
        """Before a transaction is committed on this connection."""
        on_commit(db, self._grown)

    def committed(self, db: Connection) -> str | None:
        """After each transaction: moves pages to the file when it is time. Returns why the disk
        failed meanwhile, if it did.

        The transaction is on the disk, whatever happens here.
        """
        if self._size < self._due:
            return None
        large = self._size > LOG_KEPT
        try:
            if self._empty(db, large):
                return None
        except Error as error:
            # A full disk leaves the pages in the log. Pages that a failing disk has lost are written again by `recover`
            # alone.
            return f"{code(error)}: {error}" if code(error).startswith("SQLITE_IOERR") else None
        self._due = self._size + (LOG_KEPT if large else STEP)
        return None

    @property
    def too_long(self) -> bool:
        return self._size > max(FLOOR, MULTIPLE * self._path.stat().st_size)

    def refuse(self, db: Connection) -> None:
        """Unavailable, unless the log can be emptied now."""
        try:
            if self._empty(db, True):
                return
        except Error as error:
            raise Unavailable(f"{self._file} cannot be emptied ({code(error)}: {error}); look at the disk") from error
        holder = _named(oldest_loan(self._path))
        raise Unavailable(
            f"{self._file} has {self._size >> 20} MiB, and may have {max(FLOOR, MULTIPLE * self._path.stat().st_size) >> 20}: "
            f"{holder} keeps it from beginning anew; end that, then try again"
        )

    def stats(self) -> dict[str, Any]:
        oldest = oldest_loan(self._path)
        size = self._file.stat().st_size if self._file.exists() else 0
        return {"bytes": size, "oldest_read_s": round(time.monotonic() - oldest.since, 3) if oldest else 0.0}

    def _grown(self, size: int) -> None:
        if size < self._size:
            self._due = STEP  # it has begun anew
        self._size = size

    def _empty(self, db: Connection, large: bool) -> bool:
        emptied = checkpoint(db, WAIT_MS if large else None)
        if emptied and large:
            self._size, self._due = 0, STEP
        return emptied


def _named(oldest: Loan | None) -> str:
    if oldest is None:
        return "a reader in another process"
    held = time.monotonic() - oldest.since
    return f"a state that the thread {oldest.thread.name!r} of this process has held for {held:.0f} s"
