"""What a client without a key may cost: health checks, watches, reflection and streams that are dropped at once."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from plait.service.keys import create as create_key
from served import Server, Wire, code, serving

STATES = health_pb2.HealthCheckResponse
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


@pytest.fixture
def guarded(tmp_path: Path) -> Any:
    plait.create(tmp_path / "c", encoder=None, dim=4).close()
    _, token = create_key(tmp_path / "keys.json", "a", "read")
    return tmp_path, ("--keys", str(tmp_path / "keys.json")), [("authorization", f"Bearer {token}")]


def channel(server: Server) -> grpc.Channel:
    """A connection of its own."""
    return grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)])


def stub(server: Server) -> Any:
    return health_pb2_grpc.HealthStub(channel(server))


def named(service: str) -> Any:
    return health_pb2.HealthCheckRequest(service=service)


@pytest.mark.parametrize("kind, path", [("stream_unary", CHECK), ("stream_stream", WATCH)])
def test_calls_that_say_nothing_stop_nobody(guarded: Any, kind: str, path: str) -> None:
    """A hundred of them, more than the server has threads: other health checks and calls with a key are answered."""
    root, arguments, metadata = guarded
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(300)
        yield from ()

    with serving(root, *arguments, workers=2, queue=2, streams=2) as server:
        silent = channel(server)
        make = getattr(silent, kind)(path, None, None)
        held = [make.future(nothing()) if kind == "stream_unary" else make(nothing()) for _ in range(100)]
        wire, health = Wire(server.target, metadata), stub(server)
        for _ in range(5):
            assert code(lambda: wire("CountDocuments", collection="c")) == "OK"
            assert health.Check(named(""), timeout=30).status == STATES.SERVING
        # By themselves they end: each is waited for, but not for ever.
        codes = {code(one.result) if kind == "stream_unary" else code(lambda one=one: list(one)) for one in held}
        assert codes <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
        over.set()
        silent.close()
        wire.close()


def test_health_answers_while_all_places_are_taken(guarded: Any) -> None:
    root, arguments, metadata = guarded
    with serving(root, *arguments, workers=1, queue=0, streams=1) as server:
        wire, health = Wire(server.target, metadata), stub(server)
        # It waits for a state that does not come.
        from served import message, method

        waiting = message(method("GetDocuments").input_type, {"collection": "c", "ids": ["a"], "at_least_seq": 10**9})
        held, ends = wire.begin("GetDocuments", waiting.SerializeToString(), 300), time.monotonic() + 120
        while code(lambda: wire("CountDocuments", collection="c")) != "RESOURCE_EXHAUSTED":
            assert time.monotonic() < ends
            if held.done():  # a count had the only place when it came
                held = wire.begin("GetDocuments", waiting.SerializeToString(), 300)
        assert health.Check(named(""), timeout=30).status == STATES.SERVING
        assert next(health.Watch(named(""), timeout=30)).status == STATES.SERVING
        held.cancel()
        wire.close()


def test_watches_have_a_bound_in_all_and_for_each_address(guarded: Any) -> None:
    root, arguments, _ = guarded
    with serving(root, *arguments, watches=100, peer_watches=4) as server:
        health = stub(server)
        held = [health.Watch(named("")) for _ in range(4)]
        assert [next(one).status for one in held] == [STATES.SERVING] * 4
        with pytest.raises(grpc.RpcError) as refused:
            next(health.Watch(named("")))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        assert "peer_watches" in refused.value.details()  # type: ignore[attr-defined]
        assert health.Check(named(""), timeout=30).status == STATES.SERVING
        held.pop().cancel()
        again = None
        while again is None:  # until the server has noticed
            with suppress(grpc.RpcError):
                again = next(health.Watch(named("plait.v1.SearchService")))
        assert again.status == STATES.SERVING
    with serving(root, *arguments, watches=2) as server:
        health = stub(server)
        held = [health.Watch(named("")) for _ in range(2)]
        assert [next(one).status for one in held] == [STATES.SERVING] * 2
        with pytest.raises(grpc.RpcError, match="limit \\(watches\\)"):
            next(health.Watch(named("")))


def test_an_unknown_name_is_answered_and_not_kept(guarded: Any) -> None:
    """Memory of 200 names of a million characters would be 200 MB; the streams have ended."""
    root, arguments, _ = guarded
    with serving(root, *arguments) as server:
        health = stub(server)
        with pytest.raises(grpc.RpcError) as unknown:
            health.Check(named("y" * 1_000_000), timeout=30)
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]

        def watched(name: str) -> int:
            while True:  # its places are few, and what has ended gives its own back a moment later
                call = health.Watch(named(name), timeout=60)
                try:
                    return next(call).status
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
                finally:
                    call.cancel()

        before = memory(server)
        assert {watched(f"{i}" + "x" * 1_000_000) for i in range(200)} == {STATES.SERVICE_UNKNOWN}
        assert memory(server) - before < 100 << 20


def memory(server: Server) -> int:
    """Bytes that the process has in memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
    return 1024 * int(line.split()[1])


def test_a_watch_ends_when_the_server_drains(guarded: Any) -> None:
    """Told that nothing is served any more; the server does not wait for it."""
    root, arguments, _ = guarded
    server = Server(root, *arguments, grace_s=3_600)
    watch = stub(server).Watch(named(""))
    assert next(watch).status == STATES.SERVING
    assert server.stop() == 0
    assert [one.status for one in watch] == [STATES.NOT_SERVING]


def test_reflection_stands_inside_the_limits(guarded: Any) -> None:
    root, arguments, metadata = guarded
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(300)
        yield from ()

    with serving(root, *arguments, streams=1, stream_idle_s=3) as server:
        make = channel(server).stream_stream(REFLECTION, None, None)
        held = [make(nothing(), metadata=metadata) for _ in range(200)]
        assert code(lambda: Wire(server.target, metadata)("CountDocuments", collection="c")) == "OK"
        codes = {code(lambda one=one: next(one)) for one in held}
        assert codes == {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
        over.set()


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """A frame of HTTP/2."""
    return struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def literal(name: str, value: str) -> bytes:
    """A header field without compression."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def test_streams_that_are_reset_at_once_starve_nobody(guarded: Any) -> None:
    """HTTP/2 rapid reset (CVE-2023-44487) by one connection, without a key, while another client calls."""
    root, arguments, metadata = guarded
    pseudo = {":method": "POST", ":scheme": "http", ":path": "/plait.v1.SearchService/Search", ":authority": "x"}
    head = b"".join(literal(*pair) for pair in {**pseudo, "content-type": "application/grpc", "te": "trailers"}.items())
    over, begun = threading.Event(), threading.Event()

    def reset(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as attacker, suppress(OSError):
            threading.Thread(target=drained, args=(attacker,), daemon=True).start()
            attacker.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
            for first in range(1, 1 << 30, 200):
                streams = range(first, first + 200, 2)
                attacker.sendall(b"".join(frame(1, 4, s, head) + frame(3, 0, s, b"\0\0\0\x08") for s in streams))
                if first > 20_000:
                    begun.set()
                if over.is_set():
                    return

    def drained(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(1 << 16):
                pass

    with serving(root, *arguments) as server:
        wire = Wire(server.target, metadata)
        assert code(lambda: wire("CountDocuments", collection="c")) == "OK"
        thread = threading.Thread(target=reset, args=(int(server.target.rpartition(":")[2]),))
        thread.start()
        assert begun.wait(120)
        got = [code(lambda: wire("CountDocuments", collection="c")) for _ in range(50)]
        over.set()
        thread.join()
        assert got == ["OK"] * 50
        wire.close()
