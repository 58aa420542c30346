"""Scrubbing: the bytes of open segments are compared with their checksums again and again, at a bounded rate.

A segment is compared when it is opened, and a server may have it open for weeks. What a disk or somebody does to the
file meanwhile is found here at the latest; reads of the collection are then DataLoss and name the file.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping

from .files import BLOCK, Files

RATE = 16 << 20
"""Bytes a second, of all collections of a process together: about a hundredth of a core, and a terabyte in 18 hours."""
PAUSE_S = 60.0
"""Between the end of a round and the next: a small collection is not read all the time."""


class Budget:
    """Bytes that may be read by now, at a rate. Unused ones are kept for a second."""

    def __init__(self, rate: int, now: Callable[[], float] = time.monotonic):
        self._rate, self._now = rate, now
        self._left, self._last, self._lock = 0.0, now(), threading.Lock()

    def take(self, size: int) -> bool:
        """Whether so many bytes may be read now. A block larger than what is left is read, and paid off later."""
        with self._lock:
            now = self._now()
            self._left = min(self._rate, self._left + (now - self._last) * self._rate)
            self._last = now
            if self._left <= 0:
                return False
            self._left -= size
            return True


_OF_THE_PROCESS = Budget(RATE)


class Scrubber:
    """Takes up where it stopped, one block after the other; any thread may let it go on."""

    def __init__(
        self,
        opened: Callable[[], Mapping[int, Files]],
        budget: Budget = _OF_THE_PROCESS,
        pause_s: float = PAUSE_S,
    ):
        """
        Args:
            opened: the files of every segment that is open now, by the segment's number.
        """
        self._opened, self._budget, self._pause_s = opened, budget, pause_s
        self._blocks = self._round()
        self._resting_until, self._working = 0.0, threading.Lock()
        self.rounds = 0
        """How often all that was open has been read."""

    def step(self) -> bool:
        """Reads what the budget allows. False: whoever calls has nothing to wait for."""
        if time.monotonic() >= self._resting_until and self._working.acquire(blocking=False):
            try:
                while self._budget.take(BLOCK):
                    if next(self._blocks, None) is None:
                        self._blocks = self._round()
                        self._resting_until = time.monotonic() + self._pause_s
                        break
            finally:
                self._working.release()
        return False

    def round(self) -> None:
        """Reads everything now, whatever the budget."""
        for _ in self._round():
            pass

    def _round(self) -> Iterator[int]:
        """The bytes read, block by block; ends when everything was."""
        for number in sorted(self._opened()):
            # One that was merged away since is let go, or its files would stay on the disk.
            if (files := self._opened().get(number)) is not None:
                yield from self._read(number, files)
        self.rounds += 1

    def _read(self, number: int, files: Files) -> Iterator[int]:
        for name in files:
            crc = 0
            for block in files.blocks(name):
                if self._opened().get(number) is not files:
                    return
                crc = zlib.crc32(block.data, crc)
                yield len(block)
            files.judge(name, crc)
