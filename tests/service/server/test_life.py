"""What a server promises about its own end: acknowledged writes stay, requests under way finish, overload passes."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from plait.index.reading.check import check_collection
from served import Server, Wire, code, failure, services, serving, tensor

DIM = 4


def document(id: str) -> dict[str, Any]:
    return {"id": id, "tokens": {"vectors": tensor(np.ones((2, DIM), np.float32))}}


QUERY = {"encoded": {"tokens": {"vectors": tensor(np.ones((2, DIM), np.float32))}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    plait.create(tmp_path / "c", encoder=None, dim=DIM).close()
    return tmp_path


@pytest.mark.parametrize("seed", range(2))
def test_what_was_acknowledged_is_there_after_kill_9(root: Path, seed: int) -> None:
    server, acknowledged = Server(root), []
    wire, ends = Wire(server.target), random.Random(seed).uniform(0.02, 0.4)

    def batches() -> Iterator[dict[str, Any]]:
        for n in range(100_000):
            yield {"collection": "c", "documents": [document(f"{n}-{i}") for i in range(3)]}

    threading.Timer(ends, server.process.kill).start()
    try:
        for answer in wire.stream("IngestDocuments", batches(), None):
            acknowledged.append((answer.messages, answer.seq, answer.count))
    except grpc.RpcError as error:
        assert failure(error)[0] == "UNAVAILABLE"
    wire.close()
    server.kill()
    assert not check_collection(root / "c")
    with serving(root) as again:
        wire = Wire(again.target)
        found = wire("CountDocuments", collection="c")
        for messages, seq, count in acknowledged[-1:]:
            assert count == 3 * messages <= found.count and seq <= found.seq
            ids = [f"{n}-{i}" for n in range(messages) for i in range(3)]
            for first in range(0, len(ids), 1000):
                some = ids[first : first + 1000]
                assert [d.id for d in wire("GetDocuments", collection="c", ids=some).documents] == some
        # A transaction is there whole, or not at all.
        assert found.count % 3 == 0
        wire.close()


def test_sigterm_lets_requests_end_and_loses_no_acknowledged_write(root: Path) -> None:
    server = Server(root)
    wire, written, refused = Wire(server.target), [], []
    stop = threading.Event()

    def write(worker: int) -> None:
        n = 0
        while not stop.is_set():
            id = f"{worker}-{n}"
            status = code(lambda id=id: wire("UpsertDocuments", collection="c", documents=[document(id)]))
            (written if status == "OK" else refused).append((id, status))
            if status != "OK":
                return
            n += 1

    with ThreadPoolExecutor(6) as pool:
        running = [pool.submit(write, worker) for worker in range(6)]
        while len(written) < 30:
            time.sleep(0.01)
        exit_code = server.stop()
        stop.set()
        for one in running:
            one.result()
    wire.close()
    assert exit_code == 0 and len(written) >= 30
    # New requests were turned away, nothing broke in the middle. CANCELLED is how gRPC's core drops a request that has
    # come over the connection, and that no handler has taken, at the moment it begins to shut down: nothing was done
    # for it.
    assert {status for _, status in refused} <= {"UNAVAILABLE", "CANCELLED"}
    with plait.open(root / "c") as index:
        assert {d["id"] for d in index.get([id for id, _ in written])} == {id for id, _ in written}


def test_overload_is_refused_at_once_and_passes(root: Path) -> None:
    with serving(root, workers=1, queue=2) as server:
        wire = Wire(server.target)
        # Each holds the only worker until its deadline: it waits for a state that does not come.
        slow = {"collection": "c", "query": QUERY, "at_least_seq": 10**9}
        found: queue.Queue[Any] = queue.Queue()

        def call() -> None:
            try:
                wire("Search", 0.5, **slow)
            except grpc.RpcError as error:
                found.put(failure(error))

        with ThreadPoolExecutor(40) as pool:
            list(pool.map(lambda _: call(), range(40)))
        ended = [found.get() for _ in range(40)]
        refused = [e for e in ended if e[0] == "RESOURCE_EXHAUSTED"]
        assert len(refused) >= 30 and {e[0] for e in ended} <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
        detailed = [e[2] for e in refused if e[2]]
        assert detailed and all(d["RetryInfo"].retry_delay.seconds == 1 for d in detailed)
        for _ in range(50):
            if code(lambda: wire("Search", collection="c", query=QUERY)) == "OK":
                break
            time.sleep(0.05)
        else:
            raise AssertionError("it did not recover")
        wire.close()


def test_streams_beyond_the_limit_are_refused_and_let_searches_pass(root: Path) -> None:
    with serving(root, streams=1) as server:
        wire, hold = Wire(server.target), threading.Event()

        def slowly() -> Iterator[dict[str, Any]]:
            yield {"collection": "c", "documents": [document("a")]}
            hold.wait(30)

        first = wire.stream("IngestDocuments", slowly())
        assert next(first).messages == 1
        second = wire.stream("IngestDocuments", [{"collection": "c", "documents": [document("b")]}])
        assert code(lambda: list(second)) == "RESOURCE_EXHAUSTED"
        assert wire("Search", collection="c", query=QUERY).hits[0].id == "a"
        hold.set()
        assert list(first) == []
        wire.close()


class Given:
    """The context of a call that is cancelled at its n-th look."""

    def __init__(self, looks: int):
        self.looks = looks

    def invocation_metadata(self) -> tuple:
        return ()

    def time_remaining(self) -> None:
        return None

    def is_active(self) -> bool:
        self.looks -= 1
        return self.looks >= 0


@pytest.mark.parametrize("looks", [0, 1, 2, 3, 5])
def test_work_stops_between_two_steps(root: Path, monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """A batch of 64 queries looks before encoding and before searching each 16 of them."""
    from plait.service.hosting.collections import Collections
    from plait.service.limits import Limits
    from plait.service.messages.status import Expired
    from plait.service.methods import search as search_service
    from plait.service.rpc.calls import Call, Gate
    from plait.service.settings import Settings
    from plait.service.wire import search_pb2

    searched = []
    real = search_service.run  # pyright: ignore[reportPrivateImportUsage]
    monkeypatch.setattr(search_service, "run", lambda *a: searched.append(1) or real(*a))
    query = search_pb2.Query()
    vectors = query.encoded.tokens.vectors
    vectors.data, vectors.dtype, vectors.rows, vectors.cols = bytes(4 * DIM), 1, 1, DIM  # type: ignore[assignment]
    collections = Collections(Settings(root=root))
    methods, context = search_service.SearchMethods(collections, Limits()), Given(looks)
    call = Call(context, Gate(1, 1, 1), None)  # type: ignore[arg-type]
    with pytest.raises(Expired):
        methods.batch_search(search_pb2.BatchSearchRequest(collection="c", queries=[query] * 64), call)
    assert len(searched) == looks // 2
    collections.close()


def test_a_call_without_a_deadline_waits_for_its_turn() -> None:
    from plait.service.rpc.calls import Call, Gate

    # What gRPC says is left of a call that its client gave no deadline.
    context = SimpleNamespace(time_remaining=lambda: 9.2e18, is_active=lambda: True)
    gate = Gate(1, 1, 1)
    call = Call(context, gate, None)  # type: ignore[arg-type]
    assert call.left() is None

    def work() -> str:
        with call.turn():
            return "done"

    gate.enter(None)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(work)
        while not gate.waiting and not waits.done():
            time.sleep(0.01)
        gate.leave()
        assert waits.result(10) == "done"


def test_a_deadline_ends_with_its_own_code(root: Path) -> None:
    with serving(root, deadline_s=0.2) as server:
        wire = Wire(server.target)
        slow = {"collection": "c", "query": QUERY, "at_least_seq": 10**9}
        assert code(lambda: wire("Search", 0.05, **slow)) == "DEADLINE_EXCEEDED"
        # The server's own bound holds where a client allows more.
        status, message, details = wire.error("Search", 30, **slow)
        assert status == "DEADLINE_EXCEEDED" and "deadline" in message and details["ErrorInfo"].reason == status
        wire.close()


def test_operations_are_watched_and_cancelled(root: Path) -> None:
    with serving(root) as server:
        wire = Wire(server.target)
        wire("UpsertDocuments", collection="c", documents=[document(str(i)) for i in range(9)])
        started = wire("CompactCollection", collection="c").operation
        from google.protobuf.message import Message

        path, states = f"/{services()[0].file.package}.OperationService/WatchOperation", []
        kind = type(wire("ListOperations"))
        assert issubclass(kind, Message)
        stub = wire.channel.unary_stream(path, bytes, _watched().FromString)
        for answer in stub(b"\x0a" + bytes([len(started.id)]) + started.id.encode(), timeout=30):
            states.append(answer.operation.state)
        assert states == sorted(states) and states[-1] == 3
        done = wire("GetOperation", id=started.id).operation
        assert done.result["after"]["fresh"] == 0 and done.result["before"]["fresh"] == 9
        assert wire("CancelOperation", id=started.id).operation.state == 3
        assert [o.id for o in wire("ListOperations", collection="c").operations] == [started.id]
        wire.close()


def _watched() -> Any:
    from google.protobuf.message_factory import GetMessageClass
    from served import method

    return GetMessageClass(method("WatchOperation").output_type)


def test_an_operation_stops_at_its_next_step() -> None:
    from plait.service.hosting.operations import Operations
    from plait.service.wire import operations_pb2

    operations, steps, go = Operations(), [], threading.Event()

    def work(report: Any) -> dict[str, Any]:
        for step in range(100):
            report(step, 100)
            steps.append(step)
            go.wait(10)
        return {}

    operation = operations.start("calibrate", "c", work)
    looks = operations.watch(operation.id, SimpleNamespace(check=lambda: None))  # type: ignore[arg-type]
    while not steps:
        time.sleep(0.01)
    operations.cancel(operation.id)
    go.set()
    *_, last = looks
    assert last.state == operations_pb2.STATE_CANCELLED and len(steps) < 100
    operations.close()


def test_health_and_reflection(root: Path) -> None:
    server = Server(root)
    channel = grpc.insecure_channel(server.target)
    health: Any = health_pb2_grpc.HealthStub(channel)
    names = ["", *(s.full_name for s in services())]
    states = [health.Check(health_pb2.HealthCheckRequest(service=name), timeout=10).status for name in names]
    assert set(states) == {health_pb2.HealthCheckResponse.SERVING}
    reflected = ProtoReflectionDescriptorDatabase(channel)
    assert {s.full_name for s in services()} <= set(reflected.get_services())
    file = reflected.FindFileContainingSymbol("plait.v1.SearchService")
    assert "Search" in [m.name for s in file.service for m in s.method]
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    ended = threading.Thread(target=server.stop)
    ended.start()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    ended.join()
    channel.close()
