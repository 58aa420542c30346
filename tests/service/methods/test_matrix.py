"""Every RPC with every canonical code that applies to it, so that one that is new fails
here until its errors are tested.

Who may call at all (UNAUTHENTICATED, PERMISSION_DENIED) is `test_service_access.py`; single values and limits are
`test_service_errors.py`, whose tables count here. What holds for all RPCs alike is generated from the descriptors.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from served import Wire, code, failure, message, method, serving
from test_errors import DIM, INVALID, NAMES, NEEDED, OF_ONE, OTHER, C, document

CODES = {"I": "INVALID_ARGUMENT", "N": "NOT_FOUND", "A": "ALREADY_EXISTS", "F": "FAILED_PRECONDITION"}
APPLIES = {
    "CreateCollection": "IA",
    "GetCollection": "IN",
    "ListCollections": "I",
    "UpdateCollection": "INF",
    "DeleteCollection": "IN",
    "SetAlias": "INA",
    "CompactCollection": "IN",
    "CheckCollection": "IN",
    "EncodePending": "IN",
    "CalibrateCollection": "IN",
    "UpsertDocuments": "INF",
    "IngestDocuments": "INAF",
    "DeleteDocuments": "INF",
    "GetDocuments": "IN",
    "ListDocuments": "IN",
    "CountDocuments": "IN",
    "UpdatePayload": "INF",
    "GetOperation": "N",
    "ListOperations": "",
    "CancelOperation": "N",
    "WatchOperation": "N",
    "Search": "INF",
    "BatchSearch": "INF",
    "Rerank": "INF",
    "Explain": "INF",
    "Encode": "INF",
    "CreateSnapshot": "INA",
    "ListSnapshots": "",
    "DeleteSnapshot": "INF",
    "RestoreSnapshot": "INA",
    "GetServerInfo": "",
}
"""Of the codes that hang on what is asked and what is there, those that an RPC can end with."""

HALF = {"collection": "half"}
TEXT = {"text": "moon"}
CASES: list[tuple[str, str, dict[str, Any], str]] = [
    # (RPC, code, request, the field at fault)
    *((rpc, "I", {**(NEEDED.get(rpc) or {}), "collection": "../c"}, "collection")
      for rpc in OF_ONE if NEEDED.get(rpc, {}) is not None and rpc != "DeleteCollection"),
    ("IngestDocuments", "I", {**C, "documents": []}, "documents"),
    ("IngestDocuments", "I", {"collection": "../c", "documents": [document("a")]}, "collection"),
    ("IngestDocuments", "N", {"collection": "nobody", "documents": [document("a")]}, ""),
    ("IngestDocuments", "A", {**C, "documents": [document("d1")], "bulk": True}, ""),
    ("IngestDocuments", "F", {**HALF, "documents": [document("b")]}, ""),
    ("IngestDocuments", "F", {**HALF, "documents": [document("b")], "bulk": True}, ""),
    ("UpsertDocuments", "F", {**HALF, "documents": [document("b")]}, ""),
    ("DeleteDocuments", "F", {**HALF, "ids": {"ids": ["a"]}}, ""),
    ("UpdatePayload", "F", {**HALF, "id": "a", "patch": {"n": 1}}, ""),
    ("WatchOperation", "N", {"id": "nothing"}, ""),
    ("BatchSearch", "F", {**C, "queries": [TEXT]}, ""),
    ("Rerank", "F", {**C, "query": TEXT, "ids": ["d1"]}, ""),
    ("Explain", "F", {**C, "query": TEXT, "id": "d1"}, ""),
    ("CreateSnapshot", "A", {**C, "name": "kept"}, ""),
    ("DeleteSnapshot", "F", {"name": "written", "confirmName": "written"}, ""),
    ("RestoreSnapshot", "A", {"name": "kept", "collection": "c"}, ""),
    ("RestoreSnapshot", "I", {"name": "../kept", "collection": "x"}, "name"),
    ("RestoreSnapshot", "I", {"name": "kept", "collection": "../x"}, "collection"),
]  # fmt: skip


def ask(wire: Wire, rpc: str, fields: dict[str, Any], timeout: float = 30) -> Any:
    """The answer of one call of any kind; of one that streams, all of them."""
    called = method(rpc)
    if called.client_streaming:
        return list(wire.stream(rpc, [fields], timeout))
    if called.server_streaming:
        return list(wire.raw(rpc, message(called.input_type, fields).SerializeToString(), timeout))
    return wire(rpc, timeout, **fields)


def make(root: Path) -> None:
    """A collection, and one where a bulk write was broken off."""
    with plait.create(root / "c", encoder=None, dim=DIM) as index:
        index.add_tokens(["d1"], plait.from_matrices([np.ones((2, DIM), np.float32)]))
    with plait.create(root / "half", encoder=None, dim=DIM) as index, index.collection.builder() as builder:
        builder.add(["a"], plait.from_matrices([np.ones((2, DIM), np.float32)]))


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    root: Path = tmp_path_factory.mktemp("root")
    make(root)
    with serving(root) as server:
        wire = Wire(server.target)
        for name in ("kept", "written"):
            wire.ended(wire("CreateSnapshot", **C, name=name).operation)
        with plait.open(root / ".snapshots" / "written") as index:
            index.delete(["d1"])
        yield wire
        wire.close()


def test_every_code_that_applies_to_an_rpc_is_tested() -> None:
    here = {(rpc, CODES[letter]) for rpc, letter, _, _ in CASES}
    there = {(rpc, "INVALID_ARGUMENT") for rpc, _, _ in INVALID} | {(rpc, status) for rpc, _, status, _ in OTHER}
    there |= {(rpc, "NOT_FOUND") for rpc in OF_ONE if NEEDED.get(rpc, {}) is not None}
    assert APPLIES.keys() == NAMES.keys(), "say which codes apply to a new RPC, and give each a case"
    applies = {(rpc, CODES[letter]) for rpc, letters in APPLIES.items() for letter in letters}
    assert {pair for pair in here | there if pair[1] in CODES.values()} == applies


@pytest.mark.parametrize(("rpc", "letter", "fields", "at"), CASES, ids=[f"{r}-{c}-{n}" for n, (r, c, *_) in enumerate(CASES)])  # fmt: skip
def test_a_call_ends_with_its_code_and_its_details(wire: Wire, rpc: str, letter: str, fields: dict, at: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        ask(wire, rpc, fields)
    status, told, details = failure(caught.value)
    assert status == CODES[letter] and len(told) > 10
    assert details["ErrorInfo"].domain == "plait" and details["ErrorInfo"].metadata["request_id"]
    if letter == "I":
        assert [v.field for v in details["BadRequest"].field_violations] == [at]
    assert ("ResourceInfo" in details) == (letter in "NA")


@contextmanager
def held(root: Path, **settings: Any) -> Iterator[tuple[Any, Wire]]:
    """A server in this process whose only worker is busy until the gate is left."""
    from plait.service.server.server import build_server
    from plait.service.settings import Settings

    make(root)
    service = build_server(Settings(root=root, listen="127.0.0.1:0", workers=1, **settings))
    service.grpc.start()
    wire = Wire(f"127.0.0.1:{service.port}")
    try:
        with service.gate.place():
            service.gate.enter(0)
            yield service, wire
    finally:
        wire.close()
        service.stop(5)


def stream_of_one() -> dict[str, Any]:
    return {**C, "documents": [document("a")]}


UNARY = [rpc for rpc, m in NAMES.items() if not (m.client_streaming or m.server_streaming)]


def test_every_call_ends_at_its_deadline(tmp_path: Path) -> None:
    """At the server's own, where a client allows more; a stream has its client's alone."""
    with held(tmp_path, deadline_s=2) as (service, wire), ThreadPoolExecutor(len(NAMES)) as pool:
        go = threading.Event()
        operation = service.operations.start("wait", "c", lambda report: go.wait(30) and {})

        def ended(rpc: str) -> tuple[str, str, dict[str, Any]]:
            fields = (
                {}
                if rpc in UNARY
                else {"IngestDocuments": stream_of_one(), "WatchOperation": {"id": operation.id}}[rpc]
            )
            with pytest.raises(grpc.RpcError) as caught:
                ask(wire, rpc, fields, 30 if rpc in UNARY else 1)
            return failure(caught.value)

        found = dict(zip(NAMES, pool.map(ended, NAMES), strict=True))
        assert {rpc: status for rpc, (status, _, _) in found.items()} == dict.fromkeys(NAMES, "DEADLINE_EXCEEDED")
        assert {found[rpc][2]["ErrorInfo"].reason for rpc in UNARY} == {"DEADLINE_EXCEEDED"}
        go.set()


def test_every_call_beyond_the_queue_is_refused_and_told_when_to_come_again(tmp_path: Path) -> None:
    with held(tmp_path, queue=0, streams=1) as (_, wire):
        hold = threading.Event()
        for rpc in UNARY:
            with pytest.raises(grpc.RpcError) as caught:
                ask(wire, rpc, {})
            status, _, details = failure(caught.value)
            assert (rpc, status, details["ErrorInfo"].reason) == (rpc, "RESOURCE_EXHAUSTED", "OVERLOADED")
            assert details["RetryInfo"].retry_delay.seconds == 1

        def sent() -> Iterator[dict[str, Any]]:
            hold.wait(30)
            yield from ()

        # Streams have places of their own, and their steps wait for a turn.
        open_one = wire.stream("IngestDocuments", sent())
        ends = time.monotonic() + 20
        for rpc in ("IngestDocuments", "WatchOperation"):
            while (status := code(lambda rpc=rpc: ask(wire, rpc, {}))) != "RESOURCE_EXHAUSTED":
                assert status in ("OK", "INVALID_ARGUMENT", "NOT_FOUND") and time.monotonic() < ends, status
        hold.set()
        assert list(open_one) == []


def test_every_call_to_a_server_that_drains_is_unavailable_and_those_under_way_end(tmp_path: Path) -> None:
    with held(tmp_path) as (service, wire), ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(lambda: wire("CountDocuments", **C).count)
        ends = time.monotonic() + 20
        while not service.gate.waiting:
            assert time.monotonic() < ends
            time.sleep(0.01)
        stopping = threading.Thread(target=service.stop, args=(20,))
        stopping.start()
        late = Wire(f"127.0.0.1:{service.port}")
        while code(lambda: late("GetServerInfo", 1)) != "UNAVAILABLE":
            assert time.monotonic() < ends
        for rpc in NAMES:
            assert (rpc, code(lambda rpc=rpc: ask(late, rpc, {}))) == (rpc, "UNAVAILABLE")
        assert not under_way.done()
        service.gate.leave()
        assert under_way.result(20) == 1
        stopping.join(20)
        late.close()
