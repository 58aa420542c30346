"""A client that stops in the middle of a stream holds up nobody: what others write, seal, merge and delete goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import TESTS

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from plait.index.reading.check import check_collection
from served import Server, Wire, code, failure, serving, tensor

DIM = 4


C: dict[str, Any] = {"collection": "c"}


class Shared:
    """A server that several tests use, each with a collection of its own."""

    def __init__(self, root: Path, server: Server):
        self.root, self.server, self._made = root, server, 0

    def collection(self, **sides: Any) -> dict[str, Any]:
        """A new one, as a field of requests."""
        self._made += 1
        plait.create(self.root / f"c{self._made}", encoder=None, **sides).close()
        return {"collection": f"c{self._made}"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    root = tmp_path_factory.mktemp("shared")
    with serving(root) as server:
        yield Shared(root, server)


def document(id: str) -> dict[str, Any]:
    return {"id": id, "tokens": {"vectors": tensor(np.ones((2, DIM), np.float32))}}


def text(id: str) -> dict[str, Any]:
    return {"id": id, "payload": {"text": "moon " * 20}}


class Stalled:
    """A bulk stream that sends its first messages and stops until it is told to go on."""

    def __init__(self, server: Server, wire: Wire, messages: list[dict[str, Any]]):
        self.go, self.found = threading.Event(), []
        self._wire, self._messages = wire, messages
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        ends = time.monotonic() + 30
        while sum(sizes_of_nameless_files(server)) < sum(len(m["documents"]) for m in messages) * 8 * DIM:
            assert time.monotonic() < ends, "nothing of the stream has come"
            time.sleep(0.01)

    def _run(self) -> None:
        def sent() -> Iterator[dict[str, Any]]:
            yield from self._messages
            self.go.wait(60)
            yield {"last": True}

        try:
            self.found += self._wire.stream("IngestDocuments", sent(), 60)
        except grpc.RpcError as error:
            self.found.append(failure(error)[0])

    def end(self) -> Any:
        self.go.set()
        self._thread.join(60)
        (answer,) = self.found
        return answer


def sizes_of_nameless_files(server: Server) -> Iterator[int]:
    """Of files that the server has open, that no folder names and that were no segment's: what it keeps of streams."""
    for link in Path(f"/proc/{server.process.pid}/fd").iterdir():
        try:
            if "(deleted)" in (name := os.readlink(link)) and "/.gone-" not in name:
                yield link.stat().st_size
        except FileNotFoundError:
            continue


@pytest.mark.parametrize("make", [document, text])
def test_a_bulk_write_that_stalls_holds_up_no_other(shared: Shared, make: Any) -> None:
    sides: dict[str, Any] = {"dim": DIM} if make is document else {"terms": "bm25"}
    c, server = shared.collection(**sides), shared.server
    wire = Wire(server.target)
    stalled = Stalled(
        server, wire, [{**c, "bulk": True, "documents": [make("a")]}, {"documents": [make("b"), make("c")]}]
    )
    assert wire("UpsertDocuments", **c, documents=[make("d")]).count == 1
    (whole,) = wire.stream("IngestDocuments", [{**c, "bulk": True, "last": True, "documents": [make("e")]}])
    assert whole.count == 1
    (one,) = wire.stream("IngestDocuments", [{**c, "documents": [make("f")]}])
    assert one.messages == 1 and wire("DeleteDocuments", **c, ids={"ids": ["d"]}).count == 1
    assert wire.ended(wire("CompactCollection", **c).operation).state == 3
    assert [d.id for d in wire("ListDocuments", **c).documents] == ["e", "f"]
    answer = stalled.end()
    assert (answer.messages, answer.count) == (3, 3)
    assert [d.id for d in wire("ListDocuments", **c).documents] == ["a", "b", "c", "e", "f"]
    # Decided when it begins to write: an id that has come meanwhile ends it, and nothing of it is kept.
    late = Stalled(server, wire, [{**c, "bulk": True, "documents": [make("g")]}, {"documents": [make("h")]}])
    wire("UpsertDocuments", **c, documents=[make("h")])
    assert late.end() == "ALREADY_EXISTS"
    assert [d.id for d in wire("GetDocuments", **c, ids=["g", "h"]).documents] == ["h"]
    # A collection can go while streams to it are open.
    last = Stalled(server, wire, [{**c, "bulk": True, "documents": [make("i")]}])
    wire("DeleteCollection", **c, confirm_name=c["collection"])
    assert last.end() == "NOT_FOUND" and sum(sizes_of_nameless_files(server)) == 0
    wire.close()


@pytest.mark.parametrize(
    ("make", "bad", "status"),
    [
        (document, {**document("b"), "id": ""}, "INVALID_ARGUMENT"),
        (document, {"id": "b", "tokens": {"vectors": tensor(np.ones((2, DIM + 1), np.float32))}}, "INVALID_ARGUMENT"),
        (
            document,
            {"id": "b", "tokens": {"vectors": tensor(np.full((2, DIM), np.nan, np.float32))}},
            "INVALID_ARGUMENT",
        ),
        (document, text("b"), "INVALID_ARGUMENT"),
        (document, document("known"), "ALREADY_EXISTS"),
        (document, document("a"), "ALREADY_EXISTS"),
        (text, document("b"), "INVALID_ARGUMENT"),
        (text, {"id": "b", "payload": {"title": "no text"}}, "INVALID_ARGUMENT"),
        (text, text("known"), "ALREADY_EXISTS"),
        (text, text("a"), "ALREADY_EXISTS"),
    ],
)
def test_a_bulk_write_is_told_at_once_what_cannot_be_taken(shared: Shared, make: Any, bad: Any, status: str) -> None:
    """The client never ends its stream: it hears of the bad message while it could send more."""
    sides: dict[str, Any] = {"dim": DIM} if make is document else {"terms": "bm25"}
    c, server = shared.collection(**sides), shared.server
    wire, hold = Wire(server.target), threading.Event()
    wire("UpsertDocuments", **c, documents=[make("known")])

    def sent() -> Iterator[dict[str, Any]]:
        yield {**c, "bulk": True, "documents": [make("a")]}
        yield {"documents": [bad]}
        hold.wait(60)

    assert code(lambda: list(wire.stream("IngestDocuments", sent(), 30))) == status
    hold.set()
    assert [d.id for d in wire("ListDocuments", **c).documents] == ["known"]
    wire.close()


@pytest.mark.parametrize("others", [0, 40_000])
def test_a_bulk_write_names_the_message_that_repeats_an_id(shared: Shared, others: int) -> None:
    """However many came between; the same id in two messages of another stream replaces, as it does in two writes."""
    c, server = shared.collection(terms="bm25"), shared.server
    wire, hold = Wire(server.target), threading.Event()

    def sent() -> Iterator[dict[str, Any]]:
        yield {**c, "bulk": True, "documents": [text("a"), text("b")]}
        for first in range(0, others, 1_000):
            yield {"documents": [{"id": f"{n}", "payload": {"text": "sun"}} for n in range(first, first + 1_000)]}
        yield {"documents": [text("c"), text("b"), text("d")]}
        hold.wait(60)

    with pytest.raises(grpc.RpcError) as caught:
        list(wire.stream("IngestDocuments", sent(), 60))
    status, message, details = failure(caught.value)
    assert status == details["ErrorInfo"].reason == "ALREADY_EXISTS"
    assert message.startswith(f"documents[1] of message {2 + others // 1_000} has the id 'b', which came in message 1 ")
    hold.set()
    assert wire("CountDocuments", **c).count == 0
    same = wire.stream("IngestDocuments", [{**c, "documents": [text("a")]}, {"documents": [text("a")]}])
    assert [answer.count for answer in same] == [1, 2] and wire("CountDocuments", **c).count == 1
    wire.close()


def test_between_two_messages_a_stream_holds_no_collection(tmp_path: Path) -> None:
    for name in ("old", "new"):
        plait.create(tmp_path / name, encoder=None, dim=DIM).close()
    with serving(tmp_path) as server:
        wire, hold = Wire(server.target), threading.Event()
        wire("SetAlias", alias="live", collection="old")

        def sent() -> Iterator[dict[str, Any]]:
            yield {"collection": "live", "documents": [document("a")]}
            hold.wait(30)
            yield {"documents": [document("b")]}
            hold.clear()
            hold.wait(30)
            yield {"documents": [document("c")]}

        answers = wire.stream("IngestDocuments", sent())
        assert next(answers).messages == 1
        # The stream stays with the collection that it began with.
        wire("SetAlias", alias="live", collection="new")
        hold.set()
        assert next(answers).count == 2
        assert [wire("CountDocuments", collection=name).count for name in ("old", "new")] == [2, 0]
        wire("DeleteCollection", collection="old", confirm_name="old")
        hold.set()
        with pytest.raises(grpc.RpcError) as caught:
            next(answers)
        assert failure(caught.value)[0] == "NOT_FOUND"
        wire.close()
    assert not check_collection(tmp_path / "new")


def test_a_stream_that_waits_too_long_for_its_client_ends_and_says_why(tmp_path: Path) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=DIM).close()
    with serving(tmp_path, streams=1, stream_idle_s=0.5) as server:
        wire, hold = Wire(server.target), threading.Event()

        def sent(*messages: dict[str, Any]) -> Iterator[dict[str, Any]]:
            yield from messages
            hold.wait(60)

        def ended(*messages: dict[str, Any]) -> tuple[str, str, int]:
            answers, got = wire.stream("IngestDocuments", sent(*messages)), []
            with pytest.raises(grpc.RpcError) as caught:
                got.extend(answers)
            return *failure(caught.value)[:2], len(got)

        # Before the first message; after it; within a bulk write, of which nothing is kept. The client is told first,
        # and then the place is free.
        first = {**C, "documents": [document("a")]}
        for messages, answered in ([], 0), ([first], 1), ([{**first, "bulk": True, "documents": [document("b")]}], 0):
            until = time.monotonic() + 60
            while (end := ended(*messages))[0] == "RESOURCE_EXHAUSTED":
                assert time.monotonic() < until
            assert end[0] == "DEADLINE_EXCEEDED" and "0.5 s" in end[1] and "stream_idle_s" in end[1]
            assert end[2] == answered
        # Work that takes longer is no wait, and the place of each was free again for the next.
        hold.set()
        one = [{**C, "documents": [document("c")]}]
        while (status := code(lambda: list(wire.stream("IngestDocuments", one)))) != "OK":
            assert status == "RESOURCE_EXHAUSTED" and time.monotonic() < until
        assert [d.id for d in wire("ListDocuments", **C).documents] == ["a", "c"]
        wire.close()


VANISHES = """
import sys, time
import grpc
from plait import connect
from plait.service.wire.documents_pb2 import IngestDocumentsRequest
from plait.service.wire.documents_pb2_grpc import DocumentServiceStub

def sent():
    yield IngestDocumentsRequest(collection="c", bulk=True, documents=[{"id": "a", "payload": {"text": "moon"}}])
    print("sent", flush=True)
    time.sleep(600)

stub = DocumentServiceStub(connect(sys.argv[1])._channel.grpc)
while True:
    try:
        list(stub.IngestDocuments(sent()))
    except grpc.RpcError:
        time.sleep(0.05)  # the place is taken by the test's own stream, which came first
"""


def test_a_client_that_vanished_is_noticed(tmp_path: Path) -> None:
    """Stopped, its connection stays open, as that of a machine without power does, and nobody answers on it."""
    plait.create(tmp_path / "c", encoder=None, terms="bm25").close()
    with serving(tmp_path, streams=1, keepalive_s=0.5) as server:
        run = [sys.executable, "-c", VANISHES, server.target]
        with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, cwd=TESTS) as client:
            try:
                assert client.stdout and client.stdout.readline() == "sent\n"
                wire, ends = Wire(server.target), time.monotonic() + 60
                one = {**C, "documents": [text("b")]}
                while code(lambda: list(wire.stream("IngestDocuments", [one]))) != "RESOURCE_EXHAUSTED":
                    assert time.monotonic() < ends
                client.send_signal(signal.SIGSTOP)
                while (status := code(lambda: list(wire.stream("IngestDocuments", [one])))) != "OK":
                    assert status == "RESOURCE_EXHAUSTED" and time.monotonic() < ends, status
                    time.sleep(0.05)
                assert [d.id for d in wire("ListDocuments", **C).documents] == ["b"]
                wire.close()
            finally:
                client.kill()
