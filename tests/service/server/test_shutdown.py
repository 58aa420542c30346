"""A server that is told to end does, whatever its calls, operations and streams do meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from plait.index.errors import PlaitError
from plait.index.reading.check import check_collection
from plait.index.tokens import from_matrices
from served import Server, Wire, code, message, method

DOCUMENTS = 20_000
SLOW = {"any_of": {"filters": [{"range": {"field": "s", "gt": {"text": f"x{i}"}}} for i in range(250)]}}
"""Some hundred million comparisons over the documents below: a minute for one call, if nothing stops it."""
VALUES = 50
"""Of each document."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slow")
    with plait.create(folder / "c", encoder=None, dim=2) as index:
        tokens = from_matrices([np.ones((1, 2), np.float16)] * DOCUMENTS)
        payloads = [{"s": [f"value {i} {j}" for j in range(VALUES)]} for i in range(DOCUMENTS)]
        index.add_tokens([f"d{i}" for i in range(DOCUMENTS)], tokens, payloads)
    return folder


def data(rpc: str, **fields: Any) -> bytes:
    return message(method(rpc).input_type, fields).SerializeToString()


@pytest.mark.parametrize("arguments", [(), ("--processes", "2")], ids=["one process", "two and a writer"])
@pytest.mark.parametrize("rpc", ["CountDocuments", "DeleteDocuments"])
def test_sigterm_ends_calls_that_outlast_the_grace(root: Path, rpc: str, arguments: tuple[str, ...]) -> None:
    """Three reads, or three writes, that would take minutes. `stop` waits a minute for the exit code."""
    server = Server(root, *arguments, grace_s=0.5)
    wires = [Wire(server.target) for _ in range(3)]
    calls = [wire.begin(rpc, data(rpc, collection="c", filter=SLOW), None) for wire in wires]
    while code(lambda: wires[0]("CountDocuments", collection="c")) != "OK":
        pass
    assert server.stop() == 0, "".join(server.log)
    assert {code(call.result) for call in calls} <= {"CANCELLED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
    for wire in wires:
        wire.close()
    assert "Traceback" not in "".join(server.log) and not check_collection(root / "c")
    with plait.open(root / "c") as index:
        assert len(index.list_documents(10)) == 10


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Any]:
    from plait.service.server.server import build_server
    from plait.service.settings import Settings

    plait.create(tmp_path / "c", encoder=None, dim=2).close()
    made = build_server(Settings(root=tmp_path, listen="127.0.0.1:0"))
    made.grpc.start()
    yield made


def test_a_step_that_cannot_be_stopped_is_left_alone(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is closed under it, and `stop` says so."""
    from plait.service.server import server as module

    monkeypatch.setattr(module, "_LEAVE_S", 0.3)
    begun, go = threading.Event(), threading.Event()

    def stuck(*_: Any) -> Any:
        begun.set()
        assert go.wait(120)
        raise PlaitError("over")

    with service.collections.use("c") as opened:
        monkeypatch.setattr(opened.retriever, "count", stuck, raising=False)
        closed: list[bool] = []
        monkeypatch.setattr(opened.retriever, "close", lambda: closed.append(True), raising=False)
    wire = Wire(f"127.0.0.1:{service.port}")
    call = wire.begin("CountDocuments", data("CountDocuments", collection="c"), None)
    assert begun.wait(120)
    assert service.stop(0.1) is False and not closed
    assert code(call.result) in ("CANCELLED", "UNAVAILABLE")
    go.set()
    wire.close()


def test_an_operation_that_is_stuck_does_not_hold_the_server(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from plait.service.server import server as module

    monkeypatch.setattr(module, "_LEAVE_S", 0.3)
    begun, go = threading.Event(), threading.Event()

    def stuck(_: Any) -> dict[str, Any]:
        begun.set()
        assert go.wait(120)
        return {}

    service.operations.start("compact", "c", stuck)
    assert begun.wait(120) and service.stop(0.1) is False
    go.set()


def test_an_operation_stops_between_its_steps(service: Any) -> None:
    """Also where it reports no progress: what looks whether to go on is told."""
    from plait.index.stopping import look
    from plait.service.wire import operations_pb2

    begun = threading.Event()

    def work(_: Any) -> dict[str, Any]:
        begun.set()
        while True:
            look()

    id = service.operations.start("check", "c", work).id
    assert begun.wait(120)
    assert service.stop(0.1) is True
    assert service.operations.get(id).state == operations_pb2.STATE_CANCELLED
