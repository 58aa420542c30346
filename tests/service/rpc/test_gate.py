"""Turns are given in the order of coming, to so many at once, and none is lost."""

from __future__ import annotations

import threading
import time

import pytest
from plait.service.messages.status import Expired
from plait.service.rpc.calls import Gate


def waiting(gate: Gate, order: list[int], number: int) -> threading.Thread:
    """A thread that waits for its turn and notes that it had it; returned when it stands in line."""

    def take() -> None:
        gate.enter(None)
        order.append(number)
        gate.leave()

    before = gate.waiting
    thread = threading.Thread(target=take)
    thread.start()
    while gate.waiting == before:
        time.sleep(0)
    return thread


def test_who_came_first_is_first():
    gate, order = Gate(1, 100, 1), []
    gate.enter(0)
    threads = [waiting(gate, order, n) for n in range(30)]
    gate.leave()
    for thread in threads:
        thread.join()
    assert order == list(range(30)) and gate.waiting == 0


def test_a_newcomer_finds_no_turn_that_was_passed_on():
    """The thread that it was passed to may not have run yet."""
    gate, order = Gate(1, 100, 1), []
    gate.enter(0)
    first = waiting(gate, order, 0)
    gate.leave()
    gate.enter(10)
    assert order == [0]
    gate.leave()
    first.join()


def test_who_gives_up_takes_no_turn_along():
    gate, order = Gate(2, 100, 1), []
    gate.enter(0)
    gate.enter(0)
    with pytest.raises(Expired, match=r"the deadline passed while the request waited for 0\.0 s"):
        gate.enter(0.01)
    assert gate.waiting == 0
    last = waiting(gate, order, 1)
    gate.leave()
    last.join()
    gate.leave()
    gate.enter(0)
    gate.enter(0)
    with pytest.raises(Expired):
        gate.enter(0)


def test_a_turn_that_comes_as_its_waiter_gives_up_goes_on():
    gate = Gate(1, 100, 1)
    for _ in range(300):
        gate.enter(0)
        giving_up = threading.Thread(target=lambda: _try(gate, 0.001))
        giving_up.start()
        time.sleep(0.001)
        gate.leave()
        giving_up.join()
        gate.enter(1)
        gate.leave()
    assert gate.waiting == 0


def test_no_more_turns_than_workers_at_once():
    gate, now, most, lock = Gate(3, 100, 1), 0, 0, threading.Lock()

    def work() -> None:
        nonlocal now, most
        for _ in range(200):
            gate.enter(None)
            with lock:
                now += 1
                most = max(most, now)
            time.sleep(0)
            with lock:
                now -= 1
            gate.leave()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (now, gate.waiting) == (0, 0) and most == 3


def _try(gate: Gate, wait_s: float) -> None:
    try:
        gate.enter(wait_s)
    except Expired:
        return
    gate.leave()
