"""A call whose message does not come in time ends, and what it held is free: others are
answered meanwhile and afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from plait.service.messages.status import Expired
from plait.service.rpc.read_timeout import ReadTimeout
from served import Wire, code, failure, serving

SECONDS = 0.3


class Caller:
    """A call as the server sees it: messages that are there at once, and what then comes, which may be nothing."""

    def __init__(self, messages: int, then: str, private: bool = True):
        self.why: list[Any] = []
        self._messages, self._then, self._over = messages, then, threading.Event()
        if private:
            self._rpc_event = SimpleNamespace(call=SimpleNamespace(cancel=self._cancelled))

    def cancel(self) -> None:
        self._cancelled(1, "")

    def _cancelled(self, code: int, why: str) -> None:
        self.why.append((code, why))
        self._over.set()

    def __iter__(self) -> Iterator[bytes]:
        for number in range(self._messages):
            yield bytes([number])
        if self._then == "nothing":
            assert self._over.wait(60)
        if self._then != "end":
            raise grpc.RpcError


@pytest.mark.parametrize("private", [True, False])
def test_each_read_ends_as_its_caller_had_it(private: bool) -> None:
    """Hundreds at a time, of which some say nothing more: they alone are ended, and told why where gRPC lets one."""
    reads = ReadTimeout(SECONDS, "some_s", "hurry")
    kinds = ("end", "lost", "nothing")
    callers = [(kinds[n % 3], Caller(n % 5, kinds[n % 3], private)) for n in range(300)]

    def told(then: str, caller: Any) -> tuple[int, str]:
        got = []
        try:
            got.extend(reads.each(iter(caller), caller))
        except Expired as error:
            return len(got), f"{error.code}: {error}"
        return len(got), "end"

    with ThreadPoolExecutor(len(callers)) as pool:
        found = list(pool.map(lambda pair: told(*pair), callers))
    late = f"no whole message came within {SECONDS:g} s, the limit (some_s); hurry"
    ends = {"end": "end", "lost": "1: the caller has gone", "nothing": f"4: {late}"}
    assert found == [(n % 5, ends[then]) for n, (then, _) in enumerate(callers)]
    why = [(4, late) if private else (1, "")]
    assert [caller.why for _, caller in callers] == [why if then == "nothing" else [] for then, _ in callers]


def silent(wire: Wire, hold: threading.Event) -> Any:
    """A search that is open and sends nothing."""

    def sent() -> Iterator[bytes]:
        hold.wait(60)
        yield from ()

    return wire.channel.stream_unary("/plait.v1.SearchService/Search").future(sent(), timeout=60)


def test_clients_that_send_nothing_keep_others_out_for_no_longer(tmp_path: Path) -> None:
    plait.create(tmp_path / "c", encoder=None, terms="bm25").close()
    with serving(tmp_path, workers=1, queue=2, deadline_s=1) as server:
        wire, hold, ends = Wire(server.target), threading.Event(), time.monotonic() + 60
        status, calls = "", []
        while status != "RESOURCE_EXHAUSTED":
            assert time.monotonic() < ends, status
            calls = [silent(wire, hold) for _ in range(3)]
            while not all(call.done() for call in calls) and status != "RESOURCE_EXHAUSTED":
                status = code(lambda: wire("CountDocuments", collection="c"))
                assert status in ("OK", "RESOURCE_EXHAUSTED")
        for call in calls:
            status, message, _ = failure(call.exception(60))
            assert status == "DEADLINE_EXCEEDED" and "1 s" in message and "deadline_s" in message
        while (status := code(lambda: wire("CountDocuments", collection="c"))) != "OK":
            assert status == "RESOURCE_EXHAUSTED" and time.monotonic() < ends
        hold.set()
        wire.close()
    assert sum('"DEADLINE_EXCEEDED"' in line for line in server.log) >= 3
