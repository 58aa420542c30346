"""What a server promises of writes that it did not end: nothing of a bulk write is kept,
and nothing blocks the next."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from plait.index.collection import Collection
from plait.index.disk.failpoints import VARIABLE
from plait.index.reading.check import check_collection
from plait.retrieval.corpus import open_corpus
from plait.retrieval.offline.build import build
from served import Server, Wire, code, serving, tensor
from test_processes import SEVERAL, until

DIM = 4
C: dict[str, Any] = {"collection": "c"}


def document(id: str) -> dict[str, Any]:
    return {"id": id, "tokens": {"vectors": tensor(np.ones((2, DIM), np.float32))}}


def text(id: str) -> dict[str, Any]:
    return {"id": id, "payload": {"text": f"moon {id}"}}


def bulk(*ids: str) -> list[dict[str, Any]]:
    return [{**C, "bulk": True, "documents": [document(id) for id in ids]}, {"last": True}]


def listed(wire: Wire) -> list[str]:
    return [d.id for d in wire("ListDocuments", **C).documents]


def staged(path: Path) -> int:
    with Collection(path) as collection, collection.catalog.reading() as view:
        return view.staged


@pytest.mark.parametrize("arguments", [(), SEVERAL], ids=["one process", "several"])
def test_a_server_killed_in_a_bulk_write_keeps_nothing_of_it(
    tmp_path: Path, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused for ever before: no RPC could finish or discard what was staged."""
    plait.create(tmp_path / "c", encoder=None, dim=DIM).close()
    monkeypatch.setenv(VARIABLE, "publish=kill")
    server = Server(tmp_path, *arguments)
    try:
        wire = Wire(server.target)
        wire("UpsertDocuments", **C, documents=[document("before"), document("kept")])
        with pytest.raises(grpc.RpcError):
            list(wire.stream("IngestDocuments", bulk("b1", "b2"), 30))
        if arguments:  # the writer alone has died, and is there again
            until(lambda: code(lambda: wire("UpsertDocuments", **C, documents=[document("kept")])) == "OK")
            monkeypatch.delenv(VARIABLE)
        else:
            server.process.wait(60)
            server.kill()  # it has killed itself: this takes the rest of its log
            assert server.process.returncode < 0 and staged(tmp_path / "c") == 2
            monkeypatch.delenv(VARIABLE)
            server = Server(tmp_path)
            wire = Wire(server.target)
        wire("UpsertDocuments", **C, documents=[document("after")])
        wire("DeleteDocuments", **C, ids={"ids": ["before"]})
        assert listed(wire) == ["after", "kept"] and staged(tmp_path / "c") == 0
        if not arguments:
            assert [*wire.stream("IngestDocuments", bulk("again"), 30)][-1].count == 1
    finally:
        assert server.stop() == 0
    assert check_collection(tmp_path / "c") == []


def test_a_second_bulk_write_is_told_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=DIM).close()
    monkeypatch.setenv(VARIABLE, f"publish=wait:{tmp_path / 'go'}")
    with serving(tmp_path) as server:
        wire, found = Wire(server.target), []
        first = threading.Thread(target=lambda: found.extend(wire.stream("IngestDocuments", bulk("a", "b"), 60)))
        first.start()
        until(lambda: staged(tmp_path / "c") == 2)
        with pytest.raises(grpc.RpcError) as refused:
            list(Wire(server.target).stream("IngestDocuments", bulk("c"), 30))
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE  # type: ignore[attr-defined]
        (tmp_path / "go").touch()
        first.join(60)
        assert found[-1].count == 2
        assert [*wire.stream("IngestDocuments", bulk("c"), 30)][-1].count == 1


def test_what_a_build_staged_stays_and_goes_on(tmp_path: Path) -> None:
    """A server on an interrupted build refuses writes, and the build can be run again afterwards."""
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"id": "d{i}", "text": "moon {i}"}}\n' for i in range(600)))
    root = tmp_path / "root"
    retriever = plait.create(root / "c", encoder=None, terms="bm25")
    with pytest.raises(KeyboardInterrupt):
        build(retriever, open_corpus(str(corpus)), interrupted)
    retriever.close()
    with serving(root) as server:
        wire = Wire(server.target)
        assert code(lambda: wire("UpsertDocuments", **C, documents=[text("x")])) == "FAILED_PRECONDITION"
    assert staged(root / "c") == 256
    with plait.open(root / "c") as again:
        assert build(again, open_corpus(str(corpus)))["resumed_after"] == 256
        assert len(again) == 600


def interrupted(stage: str, done: int, total: int) -> None:
    if stage == "encode" and done >= 256:
        raise KeyboardInterrupt


@pytest.mark.parametrize("rpc", ["UpsertDocuments", "IngestDocuments"])
def test_a_refused_message_writes_nothing(tmp_path: Path, rpc: str) -> None:
    """600 texts, the last of which is refused: 512 were written before."""
    plait.create(tmp_path / "c", encoder=None, terms="bm25").close()
    documents = [*(text(f"d{i}") for i in range(599)), {"id": "d599", "payload": {"n": 1}}]
    with serving(tmp_path) as server:
        wire = Wire(server.target)
        with pytest.raises(grpc.RpcError) as refused:
            if rpc == "UpsertDocuments":
                wire(rpc, **C, documents=documents)
            else:
                list(wire.stream(rpc, [{**C, "documents": documents}], 30))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        assert wire("CountDocuments", **C).count == 0
