"""Snapshots of a server are operations: they outlast the deadlines of calls, tell bytes, can be cancelled, and leave
all or nothing."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from google.protobuf.json_format import MessageToDict
from plait.index.reading import backup
from served import Wire, code

DIM = 4
DEADLINE_S = 2.0
DONE, FAILED, CANCELLED = 3, 4, 5


class Served:
    """A server in this process, whose deadline is short, and whose copying can be held up."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch):
        from plait.service.server.server import build_server
        from plait.service.settings import Settings

        with plait.create(root / "c", encoder=None, dim=DIM) as index:
            for i in range(2):
                index.upsert_tokens([f"d{i}"], plait.from_matrices([np.full((2, DIM), 1 + i, np.float32)]))
                index.collection.seal()
        self.root, self.copying, self.go = root, threading.Event(), threading.Event()
        self.go.set()
        for owner, name in ((backup, "_link"), (shutil, "copyfile")):
            monkeypatch.setattr(owner, name, self._slow(getattr(owner, name)))
        self.service = build_server(Settings(root=root, listen="127.0.0.1:0", deadline_s=DEADLINE_S))
        self.service.grpc.start()
        target = f"127.0.0.1:{self.service.port}"
        self.wire, self.client = Wire(target), plait.connect(target, timeout_s=DEADLINE_S)

    def hold(self) -> None:
        """The next file is copied when `go` is set."""
        self.copying.clear()
        self.go.clear()

    def parts(self) -> list[Path]:
        return [*self.root.rglob("*.part")]

    def _slow(self, copy: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*paths: Path) -> Any:
            self.copying.set()
            assert self.go.wait(60)
            return copy(*paths)

        return slow


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    made = Served(tmp_path, monkeypatch)
    yield made
    made.go.set()
    made.client.close()
    made.wire.close()
    made.service.stop(5)


REQUESTS: dict[str, dict[str, Any]] = {
    "CreateSnapshot": {"collection": "c", "name": "new"},
    "RestoreSnapshot": {"name": "kept", "collection": "new"},
}


@pytest.mark.parametrize("rpc", REQUESTS)
def test_what_takes_longer_than_every_deadline_is_waited_for(served: Served, rpc: str) -> None:
    seq = served.client.create_snapshot("c", "kept")
    served.hold()
    threading.Timer(1.5 * DEADLINE_S, served.go.set).start()
    told: list[tuple[int, int]] = []
    if rpc == "CreateSnapshot":
        assert served.client.create_snapshot("c", "new", lambda *step: told.append(step)) == seq
        assert "new" in [one["name"] for one in served.client.snapshots()]
    else:
        assert served.client.restore_snapshot("kept", "new", lambda *step: told.append(step)) == seq
        assert served.client.open("new").count() == 2
    assert told == sorted(told) and told[-1][0] == told[-1][1] > 0 and not served.parts()


@pytest.mark.parametrize("rpc", REQUESTS)
def test_a_name_is_reserved_while_it_is_made_and_free_once_that_was_cancelled(served: Served, rpc: str) -> None:
    served.client.create_snapshot("c", "kept")
    served.hold()
    operation = served.wire(rpc, **REQUESTS[rpc]).operation
    assert served.copying.wait(60) and served.parts()
    waiting = served.wire("CompactCollection", collection="c").operation
    assert code(lambda: served.wire(rpc, **REQUESTS[rpc])) == "ALREADY_EXISTS"
    if rpc == "RestoreSnapshot":
        taken: dict[str, Any] = {"collection": "new", "encoder": "none", "dim": DIM}
        assert code(lambda: served.wire("CreateCollection", **taken)) == "ALREADY_EXISTS"
        assert code(lambda: served.wire("CountDocuments", collection="new")) == "UNAVAILABLE"
    assert served.client.collections() == ["c"] and [s["name"] for s in served.client.snapshots()] == ["kept"]
    served.wire("CancelOperation", id=operation.id)
    served.go.set()
    assert served.wire.ended(operation).state == CANCELLED
    assert served.wire.ended(waiting).state == DONE
    assert served.client.collections() == ["c"] and [s["name"] for s in served.client.snapshots()] == ["kept"]
    assert not served.parts()
    assert served.wire.ended(served.wire(rpc, **REQUESTS[rpc]).operation).state == DONE


@pytest.mark.parametrize("rpc", REQUESTS)
def test_one_that_was_cancelled_while_it_waited_gives_its_name_back(served: Served, rpc: str) -> None:
    served.client.create_snapshot("c", "kept")
    served.hold()
    first = served.wire("CreateSnapshot", collection="c", name="first").operation
    second = served.wire(rpc, **REQUESTS[rpc]).operation
    assert served.wire("CancelOperation", id=second.id).operation.state == 1
    served.go.set()
    assert [served.wire.ended(o).state for o in (first, second)] == [DONE, CANCELLED]
    assert served.wire.ended(served.wire(rpc, **REQUESTS[rpc]).operation).state == DONE


def test_what_goes_wrong_meanwhile_ends_the_operation(served: Served) -> None:
    served.client.create_snapshot("c", "kept")
    vectors = next((served.root / ".snapshots" / "kept").glob("segment-*/vectors"))
    content = bytearray(vectors.read_bytes())
    content[0] ^= 1
    vectors.unlink()  # a link: the collection has the same file
    vectors.write_bytes(content)
    with pytest.raises(plait.PlaitError, match=r"restore of new did not finish: .*vectors"):
        served.client.restore_snapshot("kept", "new")
    assert served.client.collections() == ["c"] and not served.parts()
    # So does a snapshot's end before its turn comes.
    served.hold()
    served.wire("CreateSnapshot", collection="c", name="first")
    operation = served.wire("RestoreSnapshot", **REQUESTS["RestoreSnapshot"]).operation
    served.client.delete_snapshot("kept")
    served.go.set()
    ended = served.wire.ended(operation)
    assert ended.state == FAILED and "kept" in ended.error and ended.kind == "restore"


def test_too_many_that_wait_are_refused_and_keep_no_name(served: Served) -> None:
    served.hold()
    first = served.wire("CreateSnapshot", collection="c", name="first").operation
    while (found := code(lambda: served.wire("CheckCollection", collection="c"))) == "OK":
        pass
    assert found == "RESOURCE_EXHAUSTED"
    assert code(lambda: served.wire("CreateSnapshot", collection="c", name="new")) == "RESOURCE_EXHAUSTED"
    served.go.set()
    last = served.wire("ListOperations").operations[0]
    assert [served.wire.ended(o).state for o in (first, last)] == [DONE, DONE]
    assert served.client.create_snapshot("c", "new") > 0


def test_a_damaged_snapshot_hides_no_other_and_can_be_deleted(served: Served) -> None:
    for name in ("a", "b", "c"):
        served.client.create_snapshot("c", name)
    (served.root / ".snapshots" / "b" / "catalog.db").write_bytes(b"no catalog" * 1000)
    found = served.client.snapshots()
    assert [(one["name"], one["documents"], bool(one["problem"])) for one in found] == [
        ("a", 2, False), ("b", 0, True), ("c", 2, False),
    ]  # fmt: skip
    assert "catalog.db" in found[1]["problem"]
    assert code(lambda: served.wire("CreateSnapshot", collection="c", name="b")) == "ALREADY_EXISTS"
    served.client.delete_snapshot("b")
    assert [one["name"] for one in served.client.snapshots()] == ["a", "c"]


def test_the_result_says_what_was_made(served: Served) -> None:
    ended = served.wire.ended(served.wire("CreateSnapshot", collection="c", name="s").operation)
    assert (ended.kind, ended.collection, ended.done) == ("snapshot", "c", ended.total)
    folder = served.root / ".snapshots" / "s"
    assert ended.total == sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    (listed,) = served.client.snapshots()
    assert MessageToDict(ended.result) == {n: listed[n] for n in ("name", "seq", "documents")}
