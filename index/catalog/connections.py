"""The connections of this process to catalogs. Each is lent to one block at a time, and closed when no block has it.

A fork takes none along: SQLite remembers by file which locks its process has, and in the child these memories are
wrong. So idle connections are closed before the process forks. A file that somebody was reading or writing at that
moment cannot be used in the child.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import FailedPrecondition
from ..stopping import current_check
from .database import Connection

_STEPS = 5_000
"""Steps of SQLite's machine between two looks whether a query may go on: some 0.1 ms."""
_LOOK_S = 1.0
"""Nobody tells that a thread has died in the middle of a block: so often a wait looks for that."""
_FORK_S = 5.0
"""How long a fork waits for other threads to end what they do with a catalog."""

_state = threading.Condition()
"""Guards all that follows, and the fields of every `Connections`."""
_pools: weakref.WeakSet[Connections] = weakref.WeakSet()
_forking = False
_inherited: set[tuple[int, int]] = set()
"""Files that were in use when this process was forked, by device and inode."""


@dataclass(eq=False)
class Loan:
    """A connection that a block has."""

    writing: bool
    thread: threading.Thread = field(default_factory=threading.current_thread)
    since: float = field(default_factory=time.monotonic)
    db: Connection = None  # type: ignore[assignment]  (given before the block begins)
    broken: bool = False
    """The block wants it closed: what it left cannot be rolled back."""
    forked: bool = False
    """It is the parent's, and not to be touched."""


class Connections:
    """The connections to one catalog."""

    def __init__(self, path: Path, connect: Callable[[], Connection]):
        self.path, self._connect = path, connect
        self._idle: dict[bool, list[Connection]] = {False: [], True: []}
        self._loans: set[Loan] = set()
        self.closed = False
        self.forked = False
        """Whether this process is a child that was forked after they were opened."""
        weakref.finalize(self, _close_all, self._idle)
        with _state:
            _pools.add(self)

    @contextmanager
    def lent(self, writing: bool = False) -> Iterator[Loan]:
        """A connection for a block of this thread. What the block leaves unfinished is rolled back.

        Where the thread's work can be stopped (`index/stopping.py`), queries of the block are:
        its check's error ends them.

        Args:
            writing: another connection than readers get. It keeps what writes need in its cache.

        Raises:
            FailedPrecondition: the collection is closed, or was in use when this process was forked.
        """
        loan = self._lend(writing)
        try:
            yield loan
        finally:
            self._take_back(loan)

    def close(self, wait_s: float | None = None) -> bool:
        """Lends no more, and waits for other threads' blocks. Whether all have ended; what a
        block has is closed with it.

        Args:
            wait_s: the longest wait; None: as long as it takes.
        """
        with _state:
            self.closed = True
            idle = _emptied(self._idle)
        _close_all(idle)
        end = None if wait_s is None else time.monotonic() + wait_s
        with _state:
            while self._others() and (end is None or time.monotonic() < end):
                _state.wait(_LOOK_S if end is None else min(_LOOK_S, end - time.monotonic()))
            return not self._others()

    def close_writer(self) -> None:
        """Closes the connection for writing, which nobody may have now."""
        with _state:
            idle = {True: self._idle[True][:]}
            self._idle[True].clear()
        _close_all(idle)

    def refuse_closed(self) -> None:
        if self.closed:
            raise FailedPrecondition(f"{self.path.parent} was closed here; open it again")

    def _lend(self, writing: bool) -> Loan:
        loan = Loan(writing)
        with _state:
            if _forking:
                _state.wait_for(lambda: not _forking or any(one.thread is loan.thread for one in self._loans))
            self.refuse_closed()
            idle = self._idle[writing]
            if idle:
                loan.db = idle.pop()
            self._loans.add(loan)
        try:
            if loan.db is None:
                self._refuse_inherited()
                loan.db = self._connect()
            if check := current_check():
                loan.db.set_progress_handler(lambda: bool(check()), _STEPS)
        except BaseException:
            with _state:
                self._loans.discard(loan)
                _state.notify_all()
            raise
        return loan

    def _take_back(self, loan: Loan) -> None:
        if loan.forked:
            return
        loan.db.set_progress_handler(None)
        if loan.db.in_transaction:
            try:
                loan.db.execute("ROLLBACK")
            except Exception:
                loan.broken = True
        with _state:
            if not (loan.broken or self.closed):
                self._idle[loan.writing].append(loan.db)
                self._loans.discard(loan)
                _state.notify_all()
                return
        try:
            loan.db.close(True)
        finally:
            with _state:
                self._loans.discard(loan)
                _state.notify_all()

    def _others(self) -> bool:
        me = threading.current_thread()
        return any(loan.thread is not me and loan.thread.is_alive() for loan in self._loans)

    def _refuse_inherited(self) -> None:
        if _inherited:
            file = os.stat(self.path)
            if (file.st_dev, file.st_ino) in _inherited:
                raise FailedPrecondition(
                    f"{self.path.parent} was in use when this process was forked, and cannot be used in the child; start "
                    "processes with the method spawn, or fork while nobody reads or writes"
                )

    def _left_behind(self) -> None:
        """In a forked child: what blocks have is the parent's. It is neither used nor closed,
        now or when the process ends."""
        self.forked = True
        for loan in self._loans:
            loan.forked = True
            if loan.db is not None:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(loan.db))
            file = os.stat(self.path)
            _inherited.add((file.st_dev, file.st_ino))
        self._loans = set()


def oldest_loan(path: Path) -> Loan | None:
    """Who has read a catalog for longest, by any handle of this process."""
    with _state:
        loans = [loan for pool in _pools if pool.path == path for loan in pool._loans if not loan.writing]
    return min(loans, key=lambda loan: loan.since, default=None)


def _emptied(idle: dict[bool, list[Connection]]) -> dict[bool, list[Connection]]:
    taken = {kind: list(some) for kind, some in idle.items()}
    for some in idle.values():
        some.clear()
    return taken


def _close_all(idle: dict[bool, list[Connection]]) -> None:
    for some in idle.values():
        while some:
            some.pop().close(True)


def _before_fork() -> None:
    global _forking
    _state.acquire()
    _forking = True
    _state.wait_for(lambda: not any(pool._others() for pool in list(_pools)), _FORK_S)
    for pool in list(_pools):
        _close_all(pool._idle)


def _after_in_parent() -> None:
    global _forking
    _forking = False
    _state.notify_all()
    _state.release()


def _after_in_child() -> None:
    global _state, _forking
    _state, _forking = threading.Condition(), False
    for pool in list(_pools):
        try:
            pool._left_behind()
        except OSError:
            continue  # the file is gone: nobody opens it


os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
