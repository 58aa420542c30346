"""One request on its way through the server: its number, its deadline, its turn."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from ...index.errors import Overloaded
from ...index.stopping import stopping
from ..messages.status import Expired
from .interceptor import current, stage_ended

_ENDLESS_S = 1e9
"""For a call without a deadline gRPC says some 10^18 seconds, which no clock takes as a timeout."""


class Gate:
    """Lets so many requests work at once and so many wait, and so many streams be open; refuses the rest at once."""

    def __init__(self, workers: int, queue: int, streams: int):
        self._places, self._streams = _tokens(workers + queue), _tokens(streams)
        self._full = f"{queue} requests wait already, the limit (queue); try again later"
        self._crowded = f"{streams} streams are open already, the limit (streams); try again later"
        self._free = workers
        self._line: deque[SimpleQueue[None]] = deque()
        """One for each that waits for its turn, the first to come first. While anybody waits, no turn is free."""
        self._turns = threading.Lock()

    def place(self) -> AbstractContextManager[None]:
        """The right to be worked on or to wait for it. Its message is read inside, so that no other is kept in memory.

        Raises:
            Overloaded: too many wait already.
        """
        return _taken(self._places, self._full)

    def stream(self) -> AbstractContextManager[None]:
        """The right to be an open stream. Overloaded: too many are."""
        return _taken(self._streams, self._crowded)

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return len(self._line)

    def enter(self, wait_s: float | None) -> None:
        """The turn of one worker, in order of coming. Expired: it did not come in time (None: it
        may take as long as it will)."""
        with self._turns:
            if self._free:
                self._free -= 1
                return
            mine: SimpleQueue[None] = SimpleQueue()
            self._line.append(mine)
        try:
            mine.get(timeout=wait_s and max(0.0, wait_s))
        except Empty:
            self._give_up(mine)
            raise Expired(False, f"the deadline passed while the request waited for {wait_s:.1f} s") from None

    def leave(self) -> None:
        """Passes the turn on to whoever has waited longest; a newcomer does not find it free before."""
        with self._turns:
            if self._line:
                self._line.popleft().put(None)
            else:
                self._free += 1

    def _give_up(self, mine: SimpleQueue[None]) -> None:
        with self._turns:
            if mine in self._line:
                self._line.remove(mine)
                return
        self.leave()  # the turn had come in that moment


def _tokens(count: int) -> SimpleQueue[None]:
    """One token for each: `threading.Semaphore` is Python around two locks, this one call in C."""
    made: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        made.put(None)
    return made


@contextmanager
def _taken(tokens: SimpleQueue[None], otherwise: str) -> Iterator[None]:
    try:
        tokens.get_nowait()
    except Empty:
        raise Overloaded(otherwise) from None
    try:
        yield
    finally:
        tokens.put(None)


class Call:
    """What the methods of a service see of a request beside its message."""

    def __init__(self, context: grpc.ServicerContext, gate: Gate, deadline_s: float | None):
        self.rpc = current.get()
        """None: no interceptor stands around the handlers."""
        self.id = self.rpc.request_id if self.rpc else uuid.uuid4().hex
        self._context, self._gate = context, gate
        remaining = context.time_remaining()
        bounds = [b for b in (remaining, deadline_s) if b is not None and b < _ENDLESS_S]
        self._ends = time.monotonic() + min(bounds) if bounds else None

    def check(self) -> None:
        """Between two steps of work. Expired: nobody waits for the answer any more."""
        if self._ends is not None and time.monotonic() >= self._ends:
            raise Expired(False, "the deadline passed; the work was given up between two steps")
        if not self._context.is_active():
            raise Expired(True, "the caller has gone")

    def left(self) -> float | None:
        """Seconds until the deadline; None: there is none."""
        return None if self._ends is None else self._ends - time.monotonic()

    def on_end(self, told: Callable[[], Any]) -> None:
        """Lets `told` be called when the call has ended, also by its caller going away."""
        if not self._context.add_callback(told):
            told()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The right to work, which ends at the deadline, and when the caller has gone. Errors: `Gate.enter`,
        `check`."""
        asked = time.monotonic()
        self._gate.enter(self.left())
        try:
            stage_ended("queue", time.monotonic() - asked)
            self.check()
            with stopping(self.check):
                yield
        finally:
            self._gate.leave()
