"""Many more callers than a server lets in: those beyond are told when to come again, and
memory stays within its bound."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from plait.service.server.server import LINE, WINDOW
from served import Server, Wire, failure, message, method, serving, tensor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")

DIM, TOKENS = 1024, 1023
MESSAGE = 4 << 20
WORKERS, QUEUE, STREAMS = 2, 6, 2
CALLERS = 150
BOUND = 3 * MESSAGE * (WORKERS + QUEUE + STREAMS) + LINE * WINDOW
"""As docs/explanation/limits.md states it, without the work itself."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    rng = np.random.default_rng(0)
    with plait.create(tmp_path / "c", encoder=None, dim=DIM) as index:
        matrices = [rng.standard_normal((4, DIM)).astype(np.float32) for _ in range(200)]
        index.add_tokens([f"d{i}" for i in range(200)], plait.from_matrices(matrices))
    settings = {"workers": WORKERS, "queue": QUEUE, "streams": STREAMS, "log": "error"}
    with serving(tmp_path, **settings, **{"limits.message_bytes": MESSAGE}) as server:
        yield server


def query() -> bytes:
    """A search near the limit of messages."""
    vectors = tensor(np.random.default_rng(1).standard_normal((TOKENS, DIM)).astype(np.float32))
    fields = {"collection": "c", "query": {"encoded": {"tokens": {"vectors": vectors}}}}
    data = message(method("Search").input_type, fields).SerializeToString()
    assert 0.99 * MESSAGE < len(data) < MESSAGE
    return data


def grown(server: Server, wires: list[Wire], data: bytes, callers: int, waves: int) -> tuple[int, Counter[str]]:
    """Bytes that the server takes at most above what it had, and how the calls ended."""
    process, ends = Path(f"/proc/{server.process.pid}"), Counter()
    (process / "clear_refs").write_text("5")  # the peak begins anew
    before = peak(process)
    for _ in range(waves):
        calls = [wires[i % len(wires)].begin("Search", data, 120) for i in range(callers)]
        for call in calls:
            ends[ended(call)] += 1
    return peak(process) - before, ends


def peak(process: Path) -> int:
    lines = (process / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def ended(call: Any) -> str:
    try:
        call.result()
    except grpc.RpcError as error:
        status, _, details = failure(error)
        return f"{status}, again in {details['RetryInfo'].retry_delay.seconds} s" if "RetryInfo" in details else status
    return "OK"


def test_a_flood_is_refused_with_bounded_memory_and_passes(server: Server) -> None:
    data, wires = query(), [Wire(server.target) for _ in range(8)]
    assert ended(wires[0].begin("Search", data, 60)) == "OK"
    work, ends = grown(server, wires, data, WORKERS, 3)
    assert ends == {"OK": 3 * WORKERS}
    flood, ends = grown(server, wires, data, CALLERS, 3)
    assert ends.keys() == {"OK", "RESOURCE_EXHAUSTED, again in 1 s"} and ends.total() == 3 * CALLERS
    assert ends["OK"] >= WORKERS + QUEUE
    assert flood <= work + BOUND < CALLERS * MESSAGE
    until = time.monotonic() + 30
    while ended(wires[1].begin("Search", data, 60)) != "OK":
        assert time.monotonic() < until, "it did not recover"
    for wire in wires:
        wire.close()
