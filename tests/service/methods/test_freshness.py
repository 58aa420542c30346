"""Documents deferred over the wire: the same as here, embedded by the process that writes, seen by all that read."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import TESTS

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
from served import Wire, serving

ROWS = [
    {"id": "a", "text": "The moon pulls the sea, and the sea pulls the moon."},
    {"id": "b", "text": "Bread rises because yeast ferments the flour."},
    {"id": "c", "text": "Foxes hunt at dusk by the sea.", "n": 1},
]
QUERY = "the moon and the sea"


def found(index: Any, **search: Any) -> list[tuple[str, float]]:
    return [(hit.id, float(np.float32(hit.score))) for hit in index.search(QUERY, **search)]


def script(index: Any) -> Iterator[Any]:
    """Everything that deferring does, as values that can be compared."""
    yield index.upsert(ROWS, defer=True).count, index.info()["pending"]
    yield (
        found(index, mode="tokens"),
        found(index, mode="terms"),
        found(index, mode="hybrid"),
        found(index, mode="rerank"),
    )
    yield index.explain(QUERY, "a", 3, mode="rerank").as_json()
    yield index.upsert([{"id": "c", "text": "Foxes by the moon"}], durable=False, defer=True).count
    steps: list[tuple[int, int]] = []
    yield index.encode_pending(limit=2, progress=lambda done, total: steps.append((done, total))).count
    yield steps[-1:], index.info()["pending"], found(index, mode="tokens")
    yield index.add([{"id": f"d{i}", "text": f"the sea number {i}"} for i in range(600)], defer=True)
    yield index.upsert(({"id": f"e{i}", "text": f"the moon number {i}"} for i in range(600)), defer=True).count
    yield index.info()["pending"], len(found(index, k=2000, mode="terms")), len(found(index, k=2000, mode="tokens"))
    index.delete([f"{kind}{i}" for kind in "de" for i in range(3, 600)])
    yield index.encode_pending().count, index.encode_pending().count, index.info()["pending"]
    for search in ({"mode": "tokens"}, {"mode": "terms"}, {"mode": "hybrid"}, {"mode": "rerank"}):
        yield found(index, k=20, **search)
    with pytest.raises(plait.InvalidArgument, match="limit is 0"):
        index.encode_pending(limit=0)
    yield index.collection.stats()["pending"], index.check() if hasattr(index, "check") else []


def test_it_is_the_same_here_and_over_the_wire(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "root", encode_pending=False) as process,
        plait.connect(process.target) as server,
        plait.create(tmp_path / "here", terms="bm25") as here,
    ):
        there = server.create("there", terms="bm25")
        for mine, theirs in zip(script(here), script(there), strict=True):
            assert mine == theirs
        plain = server.create("plain")
        with pytest.raises(plait.InvalidArgument, match="defer is True, and this collection has no terms"):
            plain.upsert(ROWS, defer=True)
        wire = Wire(process.target)
        there.upsert(ROWS, defer=True)
        assert wire("GetCollection", collection="there").collection.pending == 3
        assert [c.pending for c in wire("ListCollections").collections] == [0, 3]
        wire.close()


def plait_command(*arguments: object) -> dict[str, Any]:
    run = [sys.executable, "-c", "from plait.service.cli.main import main; main()", *map(str, arguments), "--json"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=TESTS)
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "said": done.stderr}


def test_the_command_line_defers_and_encodes(tmp_path: Path) -> None:
    data = tmp_path / "corpus.jsonl"
    data.write_text("\n".join(map(json.dumps, ROWS)))
    with serving(tmp_path / "root", encode_pending=False) as process, plait.connect(process.target) as server:
        server.create("c", terms="bm25")
        plait.create(tmp_path / "c", terms="bm25").close()
        for place in ([tmp_path / "c"], ["c", "--server", process.target]):
            assert plait_command("add", place[0], data, "--defer", *place[1:])["written"] == 3
            assert plait_command("info", *place)["pending"] == 3
            assert plait_command("search", *place, QUERY, "--mode", "tokens")["hits"] == []
            some = plait_command("encode", *place, "--limit", 1)
            assert (some["encoded"], some["pending"]) == (1, 2)
            rest = plait_command("encode", *place)
            assert (rest["encoded"], rest["pending"]) == (2, 0) and "encode: 2 of 2" in rest["said"]
            assert len(plait_command("search", *place, QUERY, "--mode", "tokens")["hits"]) == 3


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


@pytest.mark.parametrize("several", [(), ("--processes", "2")])
def test_the_process_that_writes_encodes_in_the_background(tmp_path: Path, several: tuple[str, ...]) -> None:
    with plait.create(tmp_path / "root" / "c", terms="bm25") as index:
        index.upsert(ROWS[:1], defer=True)
    with serving(tmp_path / "root", *several) as process, plait.connect(process.target) as server:
        index = server.open("c")
        # What waits already waits for no write.
        eventually(lambda: index.info()["pending"] == 0)
        assert [id for id, _ in found(index, mode="tokens")] == ["a"]
        seq = index.upsert(ROWS[1:], defer=True).seq
        hybrid = {id for id, _ in found(index, mode="hybrid", at_least_seq=seq)}
        # It may have been encoded since.
        assert {"a", "c"} <= hybrid <= {"a", "c"} | {id for id, _ in found(index, mode="tokens")}
        eventually(lambda: index.info()["pending"] == 0)
        assert {id for id, _ in found(index, mode="tokens")} == {"a", "b", "c"}
