"""The threads of a server's calls: the one that became idle last takes the next call."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

_Task = tuple[Future, Callable[..., Any], tuple, dict]


class Threads(Executor):
    """As many as were ever needed at once, at most `most`; what finds none free waits in order.

    `ThreadPoolExecutor` gives a call to the thread that has been idle longest, so all of them take turns even when two
    would do. Each that wakes may wait for the core on which it ran last: with two callers on two cores there were a
    sixth fewer searches, and cores stayed idle (`benchmarks/thread_pools.py`).

    No process waits for these threads at its end; `shutdown` does.
    """

    def __init__(self, most: int, name: str):
        self.most, self._name = most, name
        self._idle: list[SimpleQueue[_Task | None]] = []
        self._waiting: deque[_Task] = deque()
        self._threads: list[threading.Thread] = []
        self._ended = False
        self._lock = threading.Lock()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        """RuntimeError: it was shut down."""
        task: _Task = (Future(), fn, args, kwargs)
        with self._lock:
            if self._ended:
                raise RuntimeError(f"{self._name} was shut down")
            if self._idle:
                self._idle.pop().put(task)
            elif len(self._threads) < self.most:
                thread = threading.Thread(
                    target=self._work, args=(task,), name=f"{self._name}-{len(self._threads)}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
            else:
                self._waiting.append(task)
        return task[0]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout_s: float | None = None) -> None:
        """Lets what was submitted be done, or, with `cancel_futures`, what has begun.

        Args:
            timeout_s: the longest to wait for it; None: as long as it takes.
        """
        with self._lock:
            self._ended = True
            while cancel_futures and self._waiting:
                self._waiting.popleft()[0].cancel()
            for box in self._idle:
                box.put(None)
            self._idle.clear()
        ends = None if timeout_s is None else time.monotonic() + timeout_s
        for thread in self._threads if wait else ():
            thread.join(None if ends is None else max(0.0, ends - time.monotonic()))

    @property
    def busy(self) -> bool:
        """Whether some thread is still there: after `shutdown`, one that works on."""
        return any(thread.is_alive() for thread in self._threads)

    def _work(self, first: _Task) -> None:
        box: SimpleQueue[_Task | None] = SimpleQueue()
        box.put(first)
        while task := box.get():
            future, fn, args, kwargs = task
            error = result = None
            try:
                if future.set_running_or_notify_cancel():
                    result = fn(*args, **kwargs)
            except BaseException as caught:
                error = caught
            # Free before anyone is told: who is told may ask for more at once, and another thread would be taken for
            # it.
            self._next(box)
            if error is not None:
                future.set_exception(error)
            elif not future.cancelled():
                future.set_result(result)
            del task, future, fn, args, kwargs, error, result  # an idle thread keeps nothing alive

    def _next(self, box: SimpleQueue[_Task | None]) -> None:
        with self._lock:
            if self._waiting:
                box.put(self._waiting.popleft())
            elif self._ended:
                box.put(None)
            else:
                self._idle.append(box)
