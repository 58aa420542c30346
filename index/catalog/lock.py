"""The right to write to a collection: one process has it at a time, for as long as anything in it is at work."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..disk.failpoints import reach
from ..errors import FailedPrecondition, Unavailable
from .catalog import LOCK

_ours: weakref.WeakSet[WriterLock] = weakref.WeakSet()
"""All of this process: who finds the file locked can tell whether this process has it."""


class WriterLock:
    """Counts who is at work, and gives the lock back when nobody is.

    The system drops it with the process, however that ends: a stale lock cannot be left behind.
    """

    def __init__(self, folder: Path, allowed: Callable[[], None], taken: Callable[[], None]):
        """
        Args:
            allowed: raises what keeps this handle from writing: it is closed, forked, or reads alone.
            taken: called whenever the lock was taken, before anybody writes.
        """
        self._folder, self._allowed, self._taken = folder, allowed, taken
        self._turn = threading.RLock()
        self._holders, self._kept = 0, False
        self._file: weakref.finalize | None = None
        _ours.add(self)

    @property
    def taken(self) -> bool:
        """Whether this process has the lock by this handle."""
        return self._file is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """This process is the only writer for as long as the block runs.

        Raises:
            Unavailable: another process writes, or another handle of this one. Also what `allowed` raises.
        """
        with self._turn:
            self._take()
            self._holders += 1
        try:
            yield
        finally:
            with self._turn:
                self._holders -= 1
                self._give_back()

    def keep(self) -> None:
        """Takes the lock until `release`. Errors: `held`."""
        with self._turn:
            self._take()
            self._kept = True

    def release(self) -> None:
        """Ends what `keep` began. The lock goes when the last block of `held` has ended."""
        with self._turn:
            self._kept = False
            self._give_back()

    def _take(self) -> None:
        self._allowed()
        if self._file is not None:
            return
        reach("lock")
        try:
            file = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            lasting = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            refused = FailedPrecondition if lasting else Unavailable
            raise refused(f"{self._folder} cannot be written to by this process ({error})") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            same = os.fstat(file)
            os.close(file)
            raise Unavailable(_who(self._folder, same)) from None
        self._file = weakref.finalize(self, os.close, file)
        try:
            self._taken()
        except BaseException:
            self._give_back()
            raise

    def _give_back(self) -> None:
        if self._file is not None and not self._holders and not self._kept:
            reach("unlock")
            self._file()
            self._file = None

    def _descriptor(self) -> int | None:
        found = self._file and self._file.peek()
        return found[2][0] if found else None

    def _leave_to_parent(self) -> None:
        """In a forked child: the lock is the parent's, and goes when the parent gives it back."""
        self._turn, self._holders, self._kept = threading.RLock(), 0, False
        if self._file is not None:
            self._file()
            self._file = None


def _who(folder: Path, locked: os.stat_result) -> str:
    held = [one._descriptor() for one in list(_ours)]
    if any(os.path.samestat(os.fstat(file), locked) for file in held if file is not None):
        return (
            f"{folder} is being written to by another handle of this same process, so waiting does not help; "
            "close that one (`close()`, or open it in a `with` block), or write through it"
        )
    return f"another process is writing to {folder}; wait for it to end"


def _forked() -> None:
    for one in list(_ours):
        one._leave_to_parent()


os.register_at_fork(after_in_child=_forked)
