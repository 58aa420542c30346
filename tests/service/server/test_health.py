"""Health of reading and of writing, told apart, on real servers: a disk that takes no more
ends writes and nothing else."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plait.index.reading.check import check_collection
from served import Server, Wire, code, method, services, tensor

STATES = health_pb2.HealthCheckResponse
WRITING = "plait.v1.DocumentService"
READING = {"", *(s.full_name for s in services())} - {WRITING}
QUERY = {"encoded": {"tokens": {"vectors": tensor(np.ones((2, 4), np.float32))}}}


def document(id: str, tokens: int = 2) -> dict[str, Any]:
    return {"id": id, "tokens": {"vectors": tensor(np.ones((tokens, 4), np.float32))}}


def states(stub: Any) -> dict[str, int]:
    return {n: stub.Check(health_pb2.HealthCheckRequest(service=n), timeout=10).status for n in (*READING, WRITING)}


def test_the_service_that_writes_is_the_one_with_the_scope() -> None:
    from plait.service.server.health import WRITING as derived

    assert derived == {WRITING} and method("UpsertDocuments").containing_service.full_name == WRITING


def test_a_full_disk_ends_writing_and_reading_goes_on(tmp_path: Path) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=4).close()
    server = Server(tmp_path)
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        wire = Wire(server.target)
        wire("UpsertDocuments", collection="c", documents=[document("a")])
        assert set(states(stub).values()) == {STATES.SERVING}
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=WRITING), timeout=30)
        assert next(watch).status == STATES.SERVING
        # No file of the server can grow any more: the kernel refuses as it does when a disk is full.
        largest = max(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        many = [document(f"b{i}", 500) for i in range(100)]
        status, message, _ = wire.error("UpsertDocuments", collection="c", documents=many)
        assert status == "UNAVAILABLE" and "disk" in message
        assert next(watch).status == STATES.NOT_SERVING
        assert states(stub) == {**dict.fromkeys(READING, STATES.SERVING), WRITING: STATES.NOT_SERVING}
        found = wire("Search", collection="c", query=QUERY)
        assert [hit.id for hit in found.hits] == ["a"] and wire("CountDocuments", collection="c").count == 1
        # It is tried again from time to time, and succeeds when the disk takes writes.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while next(watch).status != STATES.SERVING:
            pass
        assert wire("UpsertDocuments", collection="c", documents=many).count == len(many)
        wire("Search", collection="c", query=QUERY)
        watch.cancel()
        wire.close()
    said = "".join(server.log)
    assert (
        server.stop() == 0
        and "NOT_SERVING" in said
        and "writing works again" in said
        and not check_collection(tmp_path / "c")
    )


def test_what_a_bulk_write_left_on_a_full_disk_is_dropped_when_it_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plait.index.segments.segment import SegmentWriter
    from plait.service.server import health
    from plait.service.server.server import build_server
    from plait.service.settings import Settings

    monkeypatch.setattr(health, "_EVERY_S", 0.01)
    plait.create(tmp_path / "c", encoder=None, dim=4).close()
    service = build_server(Settings(root=tmp_path, listen="127.0.0.1:0"))
    service.grpc.start()
    calls, real = iter(range(99)), SegmentWriter.append

    def append(self: Any, *given: Any) -> None:
        if next(calls) == 1:  # the second batch
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(self, *given)

    monkeypatch.setattr(SegmentWriter, "append", append)
    wire = Wire(f"127.0.0.1:{service.port}")
    batches = [{"collection": "c", "bulk": True, "documents": [document(id)], "last": id == "b"} for id in "ab"]
    assert code(lambda: list(wire.stream("IngestDocuments", batches))) == "UNAVAILABLE" and next(calls) == 2
    ends = time.monotonic() + 60
    while (status := code(lambda: wire("UpsertDocuments", collection="c", documents=[document("c")]))) != "OK":
        assert status in ("UNAVAILABLE", "FAILED_PRECONDITION") and time.monotonic() < ends, status
    (again,) = wire.stream("IngestDocuments", batches)
    assert again.count == 2
    assert [d.id for d in wire("ListDocuments", collection="c").documents] == ["a", "b", "c"]
    wire.close()
    service.stop(5)
    assert not check_collection(tmp_path / "c")


def test_little_room_ends_writing_until_there_is_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything fails: less than the greatest message is free."""
    from plait.service.server import health
    from plait.service.server.server import build_server
    from plait.service.settings import Settings

    settings, real = Settings(root=tmp_path, listen="127.0.0.1:0"), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(health, "_EVERY_S", 0.01)
    service = build_server(settings)
    service.grpc.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=WRITING), timeout=30)
            assert next(watch).status == STATES.SERVING
            for free, state in ((-1, STATES.NOT_SERVING), (0, STATES.SERVING)):
                room = real._replace(free=settings.limits.message_bytes + free)
                monkeypatch.setattr(shutil, "disk_usage", lambda _, room=room: room)
                assert next(watch).status == state
                assert states(stub) == {**dict.fromkeys(READING, STATES.SERVING), WRITING: state}
            watch.cancel()
    finally:
        service.stop(5)
