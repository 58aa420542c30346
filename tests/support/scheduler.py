"""Threads that run one at a time: at every failpoint and at every lock, a seed chooses who goes on.

A schedule is a function of its seed, so a fault that is found can be run again. `running` puts locks of this file in
the place of those that plait's modules make meanwhile; threads that no scheduler started pass through them undisturbed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from plait.index.disk import failpoints

_LONG_S = 120.0
"""No schedule takes so long: it hangs."""


class Stuck(AssertionError):
    """Every thread waits for another."""


class Scheduler:
    """Runs tasks as threads, one at a time."""

    def __init__(self, seed: int):
        self._rng = np.random.default_rng(seed)
        self._patience = float(self._rng.choice([0.02, 0.2, 0.5, 0.8]))
        """How likely it is that another thread goes on at a point."""
        self._go: dict[int, threading.Semaphore] = {}
        self._names: dict[int, str] = {}
        self._waiting: dict[int, tuple[Callable[[], bool], bool]] = {}
        """What a thread waits for, and whether it would give up waiting."""
        self._end = threading.Event()
        self.trace: list[str] = []
        """Who went on, and where."""
        self.errors: list[BaseException] = []

    def run(self, tasks: dict[str, Callable[[], None]]) -> None:
        """Runs all tasks to their ends. What they raise is in `errors`."""
        self._started = threading.Barrier(len(tasks) + 1)
        threads = [threading.Thread(target=self._task, args=item, daemon=True) for item in tasks.items()]
        for thread in threads:
            thread.start()
        self._started.wait(_LONG_S)
        self._next(None)
        assert self._end.wait(_LONG_S), f"a schedule hangs: {self.trace[-40:]}"
        if not any(isinstance(error, Stuck) for error in self.errors):
            for thread in threads:
                thread.join(_LONG_S)

    def point(self, name: str) -> None:
        """A place at which another thread may go on."""
        me = threading.get_ident()
        if me in self._go and self._rng.random() < self._patience:
            self.trace.append(f"{self._names[me]} at {name}")
            self._next(me)

    def wait(self, until: Callable[[], bool], gives_up: bool = False) -> None:
        """Lets others go on until something holds."""
        me = threading.get_ident()
        if me not in self._go:
            assert until() or gives_up, "nobody will ever let this thread go on"
            return
        self._waiting[me] = until, gives_up
        self._next(me)
        del self._waiting[me]

    def _task(self, name: str, task: Callable[[], None]) -> None:
        me = threading.get_ident()
        self._go[me], self._names[me] = threading.Semaphore(0), name
        self._started.wait(_LONG_S)
        self._go[me].acquire()
        try:
            task()
        except BaseException as error:
            error.add_note(f"in {name}, after {self.trace[-60:]}")
            self.errors.append(error)
        del self._go[me]
        if self._go:
            self._next(None)
        else:
            self._end.set()

    def _next(self, me: int | None) -> None:
        """Gives the turn to a thread that can go on, perhaps the same."""
        able = sorted(self._go, key=self._names.__getitem__)
        free = [t for t in able if t not in self._waiting or self._waiting[t][0]()]
        free = free or [t for t in able if self._waiting[t][1]]
        if not free:
            self.errors.append(Stuck(f"all threads wait for each other: {self.trace[-60:]}"))
            self._end.set()
            threading.Event().wait()  # the test has failed, and this thread goes with the process
        chosen = free[int(self._rng.integers(len(free)))]
        if chosen != me:
            turn = self._go[me] if me is not None else None
            self._go[chosen].release()
            if turn is not None:
                turn.acquire()


class Lock:
    """`threading.Lock` or `RLock` under a scheduler."""

    def __init__(self, scheduler: Scheduler, again: bool):
        self._scheduler, self._again = scheduler, again
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        me = threading.get_ident()
        self._scheduler.point("a lock")
        while self._owner is not None and not (self._again and self._owner == me):
            if not blocking:
                return False
            self._scheduler.wait(lambda: self._owner is None, timeout >= 0)
            if timeout >= 0 and self._owner is not None:
                return False
        self._owner, self._count = me, self._count + 1
        return True

    def release(self) -> None:
        self._count -= 1
        if not self._count:
            self._owner = None

    def locked(self) -> bool:
        return self._owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition(Lock):
    """`threading.Condition` under a scheduler."""

    def __init__(self, scheduler: Scheduler, lock: Any = None):
        super().__init__(scheduler, again=True)
        assert lock is None, "conditions over a lock of their own"
        self._told = 0

    def wait(self, timeout: float | None = None) -> bool:
        told, count = self._told, self._count
        self._owner, self._count = None, 0
        self._scheduler.wait(lambda: self._told > told and self._owner is None, timeout is not None)
        while self._owner is not None:
            self._scheduler.wait(lambda: self._owner is None)
        self._owner, self._count = threading.get_ident(), count
        return self._told > told

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        while not (found := predicate()):
            if not self.wait(timeout):
                return predicate()
        return found

    def notify(self, n: int = 1) -> None:
        self._told += 1

    def notify_all(self) -> None:
        self._told += 1


class Event:
    """`threading.Event` under a scheduler."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler, self._set = scheduler, False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._scheduler.wait(lambda: self._set, timeout is not None)
        return self._set


class Threading:
    """The module `threading` as plait's modules see it meanwhile."""

    def __init__(self, scheduler: Scheduler):
        self.Lock: Callable[[], Any] = lambda: Lock(scheduler, again=False)
        self.RLock: Callable[[], Any] = lambda: Lock(scheduler, again=True)
        self.Condition: Callable[..., Any] = lambda lock=None: Condition(scheduler, lock)
        self.Event: Callable[[], Any] = lambda: Event(scheduler)

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


@contextmanager
def running(seed: int) -> Iterator[Scheduler]:
    """A scheduler that every failpoint and every lock made in the block's time asks."""
    scheduler = Scheduler(seed)
    modules = [m for name, m in sys.modules.items() if name.startswith("plait.index.") and hasattr(m, "threading")]
    patches = [mock.patch.object(module, "threading", Threading(scheduler)) for module in modules]
    patches += [
        mock.patch.object(module, name, Condition(scheduler))
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, threading.Condition)
    ]
    actions = {name: partial(scheduler.point, name) for name in getattr(failpoints, "PLACES", ())}
    for patch in patches:
        patch.start()
    for name, action in actions.items():
        failpoints.set_action(name, action)
    try:
        yield scheduler
    finally:
        for name in actions:
            failpoints.set_action(name, None)
        for patch in patches:
            patch.stop()
