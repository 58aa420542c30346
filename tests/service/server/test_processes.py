"""A server of several processes is one server: what a client sees, and what is left when one of them dies."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import TESTS

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from plait.index.errors import PlaitError, Unavailable
from plait.index.reading.check import check_collection
from plait.service.server import supervisor
from plait.service.settings import Settings
from served import COMMAND, Server, Wire, code, failure, serving, tensor

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="processes share a port by SO_REUSEPORT as Linux has it"
)

DIM = 4
READERS = {"reader-0", "reader-1"}
SEVERAL = "--processes", "2", "--admin", "127.0.0.1:0"
PATIENCE_S = 60


def until(true: Callable[[], Any]) -> Any:
    """What it returns, as soon as that is true."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.02)
    return found


def tokens(*first: float) -> plait.Tokens:
    """One document of two tokens for each number."""
    vectors = np.array([[x, 1, 0, 0] for x in first for _ in range(2)], np.float32)
    return plait.Tokens(vectors, np.arange(0, 2 * len(first) + 1, 2))


def document(id: str) -> dict[str, Any]:
    return {"id": id, "tokens": {"vectors": tensor(np.ones((2, DIM), np.float32))}}


def parents() -> dict[int, int]:
    """Of every process that is not a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found[int(path.parent.name)] = int(parent)
    return found


def descendants(pid: int) -> set[int]:
    known = parents()
    found = {pid}
    while more := {p for p, parent in known.items() if parent in found} - found:
        found |= more
    return found - {pid}


def lives(server: Server) -> dict[str, list[int]]:
    """The process ids that each process has had, as the log has them."""
    found: dict[str, list[int]] = {}
    for line in [line for line in [*server.log] if '"a process takes calls"' in line]:
        said = json.loads(line)
        found.setdefault(said["process"], []).append(said["pid"])
    return found


def measured(server: Server, name: str, **labels: str) -> dict[str, float]:
    """A metric with these labels, by process."""
    (admin,) = re.findall(r"http://\S+", "".join(server.log))[:1]
    text = urllib.request.urlopen(f"{admin}/metrics", timeout=30).read().decode()
    found: dict[str, float] = {}
    for line, value in re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.M):
        said = dict(re.findall(r'(\w+)="([^"]*)"', line))
        process = said.pop("process")
        if said == labels:
            found[process] = float(value)
    return found


def searches(server: Server) -> dict[str, float]:
    """How many each process has answered."""
    return measured(server, "plait_request_seconds_count", method="/plait.v1.SearchService/Search", code="OK")


def everywhere(server: Server, asked: Callable[[plait.Server], Any]) -> None:
    """Asks over new connections until every process that answers has been asked. `asked` searches once."""
    before = searches(server)

    def all_did() -> bool:
        for _ in range(4):
            with plait.connect(server.target) as client:
                asked(client)
        now = searches(server)
        return all(now.get(reader, 0) > before.get(reader, 0) for reader in READERS)

    until(all_did)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("several"), *SEVERAL) as server:
        yield server


@contextmanager
def ended(server: Server) -> Iterator[set[int]]:
    """All of its processes are gone when the block has ended."""
    all_of_them = descendants(server.process.pid) | {server.process.pid}
    yield all_of_them
    until(lambda: not all_of_them & {*parents()})


def outcomes(target: str) -> list[Any]:
    """What a client gets of every kind of call: answers, streams, operations, errors. Numbers of states are left out:
    the background makes some, when it comes to it."""
    found: list[Any] = []

    def note(call: Callable[[], Any]) -> None:
        try:
            found.append(call())
        except PlaitError as error:
            found.append((type(error), str(error)))

    with plait.connect(target) as client:
        index = client.create("a", encoder=None, dim=DIM)
        note(lambda: index.upsert_tokens(["x", "y"], tokens(0, 1), [{"n": 1}, {"n": 2}]).count)
        note(lambda: [(h.id, h.score, h.payload) for h in index.search(tokens(1), 2)[0]])
        note(lambda: index.search(tokens(1), 2, at_least_seq=10**9))
        note(lambda: index.explain(tokens(1), "y").score)
        note(lambda: index.delete(["y"]).count)
        note(lambda: index.update_payload("x", {"n": 3}).count)
        note(lambda: index.update_payload("not there", {"n": 3}))
        note(lambda: index.get(["x", "y"]))
        ids = [f"d{i}" for i in range(600)]
        note(lambda: index.add_tokens(ids, tokens(*range(600))))  # a stream whose writes come to be at its end
        note(lambda: index.add_tokens(ids, tokens(*range(600))))
        note(lambda: index.upsert_tokens(ids, tokens(*range(600))).count)  # a stream of acknowledged writes
        note(lambda: index.check())
        note(lambda: index.compact())
        note(lambda: index.count())
        note(lambda: client.create("a", encoder=None, dim=DIM))
        note(lambda: client.set_alias("b", "a"))
        note(lambda: client.open("b").search(tokens(5), 1)[0][0].id)
        note(lambda: client.create_snapshot("a", "s") > 0)
        note(lambda: client.restore_snapshot("s", "c") > 0)
        note(lambda: client.open("c").search(tokens(5), 1)[0][0].id)
        note(lambda: client.delete("a"))
        note(lambda: client.open("b"))
        note(lambda: client.collections())
        note(lambda: client.delete("a"))
        client.delete("c")
    wire = Wire(target)
    for rpc, name in [("UpsertDocuments", "nowhere"), ("CreateCollection", "../x")]:
        status, message, details = wire.error(rpc, collection=name)
        details.pop("ErrorInfo").metadata["request_id"]  # each has its own
        found.append((status, message, details))
    wire.close()
    return found


def test_a_client_gets_the_same_from_one_process_and_from_several(several: Server, tmp_path: Path) -> None:
    with serving(tmp_path) as alone, plait.connect(alone.target) as client:
        expected = outcomes(alone.target)
        assert client.info()["processes"] == 1 and not descendants(alone.process.pid)
        assert not lives(alone)
    assert outcomes(several.target) == expected
    with plait.connect(several.target) as client:
        assert client.info()["processes"] == 2
    assert {*lives(several)} == {"writer", *READERS}


def test_every_process_sees_what_was_answered(several: Server) -> None:
    with plait.connect(several.target) as client:
        for again in range(2):
            # The second time the name is of another collection, which begins with the same numbers.
            index = client.create("seen", encoder=None, dim=DIM)
            for n in range(2):
                id = f"{again}-{n}"
                seq = index.upsert_tokens([id], tokens(n)).seq

                def newest(asking: plait.Server, n: int = n, id: str = id, seq: int = seq) -> None:
                    hits = asking.open("seen").search(tokens(n), 10, at_least_seq=seq)[0]
                    assert hits[0].id == id and len(hits) == n + 1

                everywhere(several, newest)
            other = client.create(f"other-{again}", encoder=None, dim=DIM)
            other.upsert_tokens([f"other-{again}"], tokens(0))
            client.set_alias("alias", f"other-{again}")

            def aliased(asking: plait.Server, id: str = f"other-{again}") -> None:
                assert [h.id for h in asking.open("alias").search(tokens(0))[0]] == [id]

            everywhere(several, aliased)
            client.delete("seen")
        with pytest.raises(PlaitError, match="no collection"):
            client.open("seen")


def test_a_bulk_write_that_its_client_cuts_short_is_not_kept(several: Server) -> None:
    with plait.connect(several.target) as client:
        index, wire, ends = client.create("cut", encoder=None, dim=DIM), Wire(several.target), threading.Event()

        def half() -> Iterator[dict[str, Any]]:
            yield {"collection": "cut", "bulk": True, "documents": [document("half")]}
            ends.wait(PATIENCE_S)

        call = wire.stream("IngestDocuments", half(), None)
        until(lambda: measured(several, "plait_requests_under_way")["writer"] == 1)
        call.cancel()
        ends.set()
        until(lambda: measured(several, "plait_requests_under_way")["writer"] == 0)
        assert index.add_tokens(["whole"], tokens(0)) == 1
        assert [d["id"] for d in index.list_documents()] == ["whole"]
        wire.close()
        client.delete("cut")


def test_a_stream_that_is_passed_on_ends_when_it_waits_too_long(tmp_path: Path) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=DIM).close()
    with serving(tmp_path, *SEVERAL, stream_idle_s=0.5) as server:
        wire, ends = Wire(server.target), threading.Event()

        def half() -> Iterator[dict[str, Any]]:
            yield {"collection": "c", "bulk": True, "documents": [document("half")]}
            ends.wait(PATIENCE_S)

        with pytest.raises(grpc.RpcError) as caught:
            list(wire.stream("IngestDocuments", half(), None))
        status, message, _ = failure(caught.value)
        assert status == "DEADLINE_EXCEEDED" and "stream_idle_s" in message
        ends.set()
        assert wire("UpsertDocuments", collection="c", documents=[document("a")]).count == 1
        assert [d.id for d in wire("ListDocuments", collection="c").documents] == ["a"]
        wire.close()


def test_a_reader_that_was_killed_is_replaced_and_nobody_notices(several: Server) -> None:
    with plait.connect(several.target) as client:
        index = client.create("kept", encoder=None, dim=DIM)
        index.upsert_tokens(["a"], tokens(0))

        def found(asking: plait.Server) -> None:
            assert [h.id for h in asking.open("kept").search(tokens(0))[0]] == ["a"]

        for reader in sorted(READERS):  # one of them is the one that this client talks to
            killed = lives(several)[reader]
            os.kill(killed[-1], signal.SIGKILL)
            until(lambda reader=reader, killed=killed: found(client) or len(lives(several)[reader]) > len(killed))
        everywhere(several, found)
        client.delete("kept")


def test_a_writer_that_was_killed_has_lost_nothing_acknowledged(several: Server) -> None:
    with plait.connect(several.target) as client:
        index, written, failed = client.create("lasting", encoder=None, dim=DIM), [], []
        stop = threading.Event()

        def write(worker: int) -> None:
            while not stop.is_set():
                id = f"{worker}-{len(written)}-{len(failed)}"
                try:
                    written.append((id, index.upsert_tokens([id], tokens(worker)).seq))
                except Unavailable as error:
                    failed.append(error)
                    stop.wait(0.05)

        with ThreadPoolExecutor(3) as pool:
            running = [pool.submit(write, worker) for worker in range(3)]
            try:
                until(lambda: len(written) >= 20)
                lived = lives(several)["writer"]
                os.kill(lived[-1], signal.SIGKILL)
                until(lambda: failed)
                assert index.search(tokens(0), 1)[0]  # who reads does not need it
                until(lambda: len(lives(several)["writer"]) > len(lived))
                before = len(written)
                until(lambda: len(written) >= before + 5)
            finally:
                stop.set()
            for one in running:
                one.result()
        ids = [id for id, _ in written]
        for first in range(0, len(ids), 500):
            some = ids[first : first + 500]
            assert [d["id"] for d in index.get(some)] == some
        assert index.seq >= max(seq for _, seq in written) and not index.check()
        client.delete("lasting")


def test_sigterm_under_load_loses_no_acknowledged_write_and_leaves_no_process(tmp_path: Path) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=DIM).close()
    server, written, refused, stop = Server(tmp_path, *SEVERAL), [], [], threading.Event()
    wires = [Wire(server.target) for _ in range(4)]

    def write(worker: int) -> None:
        for n in range(1_000_000):
            id, wire = f"{worker}-{n}", wires[worker % len(wires)]
            status = code(lambda id=id, wire=wire: wire("UpsertDocuments", collection="c", documents=[document(id)]))
            (written if status == "OK" else refused).append((id, status))
            if status != "OK" or stop.is_set():
                return

    with ended(server) as processes, ThreadPoolExecutor(8) as pool:
        assert len(processes) >= 4
        running = [pool.submit(write, worker) for worker in range(8)]
        try:
            until(lambda: len(written) >= 40)
            assert server.stop() == 0 and "Traceback" not in "".join(server.log)
        finally:
            stop.set()
        for one in running:
            one.result()
    for wire in wires:
        wire.close()
    # Turned away, or dropped by gRPC before a handler had them; nothing broke in the middle.
    assert {status for _, status in refused} <= {"UNAVAILABLE", "CANCELLED"}
    assert not check_collection(tmp_path / "c")
    with plait.open(tmp_path / "c") as index:
        assert {d["id"] for d in index.get([id for id, _ in written])} == {id for id, _ in written}


def test_processes_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    server = Server(tmp_path, *SEVERAL)
    with plait.connect(server.target) as client:
        client.create("c", encoder=None, dim=DIM).upsert_tokens(["a"], tokens(0))
    with ended(server) as processes:
        assert len(processes) >= 4
        server.process.kill()
        server.process.wait(PATIENCE_S)
    server.kill()
    with plait.open(tmp_path / "c") as index:
        assert [d["id"] for d in index.get(["a"])] == ["a"]


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--keys", "nowhere.json"], "nowhere.json"), (["--listen", "{taken}"], "cannot be bound")]
)
def test_a_process_that_cannot_start_ends_all_with_its_reason(
    several: Server, tmp_path: Path, arguments: list[str], said: str
) -> None:
    given = [a.format(taken=several.target) for a in arguments]
    run = [sys.executable, "-c", COMMAND, "serve", str(tmp_path), "--processes", "2", "--listen", "127.0.0.1:0", *given]
    ran = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE_S, cwd=TESTS)
    assert ran.returncode != 0 and said in ran.stderr and "Traceback" not in ran.stderr


def test_a_process_that_the_system_refuses_is_an_error_and_no_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(supervisor._Child, "start", refuse)
    with pytest.raises(Unavailable, match="no room"):
        supervisor.Supervisor(Settings(root=tmp_path, listen="127.0.0.1:0", processes=2))
