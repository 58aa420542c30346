"""The threads of a server's calls: none is lost, none is made that is not needed, the
latest to become idle is taken."""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.service.rpc.pool import Threads


def test_the_thread_that_became_idle_last_takes_the_next_task():
    threads, stops = Threads(3, "test"), [threading.Event() for _ in range(3)]
    began = [threading.Event() for _ in stops]

    def work(n: int) -> int:
        began[n].set()
        stops[n].wait()
        return threading.get_ident()

    futures = [threads.submit(work, n) for n in range(3)]
    for event in began:
        event.wait()
    idents = []
    for n in (1, 2, 0):
        stops[n].set()
        idents.append(futures[n].result())
        _until_idle(threads, len(idents))
    assert threads.submit(threading.get_ident).result() == idents[-1]
    _until_idle(threads, 3)
    assert threads.submit(threading.get_ident).result() == idents[-1]
    assert len(set(idents)) == 3
    threads.shutdown()


def test_one_caller_is_answered_by_one_thread():
    threads = Threads(8, "test")
    idents = {threads.submit(threading.get_ident).result() for _ in range(500)}
    assert len(idents) == 1, "a thread is idle before its caller is told"
    threads.shutdown()


def test_what_finds_no_thread_waits_in_order():
    threads, stop, order = Threads(1, "test"), threading.Event(), []
    first = threads.submit(stop.wait)
    rest = [threads.submit(order.append, n) for n in range(20)]
    assert not order
    stop.set()
    wait([first, *rest])
    assert order == list(range(20))
    threads.shutdown()


def test_errors_reach_the_caller_and_the_thread_goes_on():
    threads = Threads(1, "test")
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 // 0).result()
    with pytest.raises(SystemExit):
        threads.submit(lambda: exit(3)).result()
    assert threads.submit(lambda: 7).result() == 7
    threads.shutdown()


def test_shutdown_lets_what_was_submitted_be_done():
    threads = Threads(2, "test")
    stop = threading.Event()
    futures = [threads.submit(stop.wait) for _ in range(6)]
    threading.Timer(0.05, stop.set).start()
    threads.shutdown()
    assert all(future.result(0) for future in futures)
    assert not any(t.name.startswith("test-") for t in threading.enumerate())
    with pytest.raises(RuntimeError, match="test was shut down"):
        threads.submit(int)


def test_shutdown_may_cancel_what_has_not_begun():
    threads, stop = Threads(1, "test"), threading.Event()
    first, second = threads.submit(stop.wait), threads.submit(int)
    threads.shutdown(wait=False, cancel_futures=True)
    assert second.cancelled() and not first.done()
    threads.shutdown(timeout_s=0.01)
    assert not first.done(), "no longer than it was told to wait"
    stop.set()
    assert first.result() is True
    threads.shutdown()


@settings(max_examples=25)
@given(st.integers(1, 4), st.lists(st.integers(0, 3), max_size=60))
def test_every_task_is_done_once(most: int, nested: list[int]):
    threads, done, lock = Threads(most, "test"), [], threading.Lock()

    def work(n: int, more: int) -> None:
        with lock:
            done.append(n)
        # From a callback of another task, as gRPC submits while it ends one.
        inner.extend(threads.submit(done.append, -1) for _ in range(more))

    inner: list[Future[Any]] = []
    outer = [threads.submit(work, n, more) for n, more in enumerate(nested)]
    wait(outer)
    wait([*inner])
    assert sorted(n for n in done if n >= 0) == list(range(len(nested)))
    assert done.count(-1) == sum(nested)
    assert len(threads._threads) <= most
    threads.shutdown()


def _until_idle(threads: Threads, count: int) -> None:
    while len(threads._idle) < count:
        pass
