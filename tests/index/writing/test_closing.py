"""Closing: reads under way end undisturbed, everything afterwards says "closed", and a handle
that nobody has goes by itself."""

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from life import DIM
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, Unavailable
from plait.index.filters.sql import Eq
from plait.index.tokens import Tokens, from_matrices
from plait.index.writing.maintenance import Policy

import plait


def some(count: int) -> Tokens:
    return from_matrices([np.full((2, DIM), 0.5, np.float16)] * count)


LONG_S = 60.0
"""A bound for what takes milliseconds."""


def filled(path: Path, **settings: Any) -> Collection:
    collection = Collection.create(path, DIM, **settings)
    collection.live.upsert(["a", "b"], some(2), [{"n": 1}, {"n": 2}])
    return collection


def test_close_waits_for_a_snapshot_of_another_thread(tmp_path: Path) -> None:
    collection = filled(tmp_path / "c")
    begun, go_on, closed, found = threading.Event(), threading.Event(), threading.Event(), []

    def read() -> None:
        with collection.snapshot() as snapshot:
            begun.set()
            go_on.wait(LONG_S)
            found.append(([d.id for d in snapshot.view.page("", 9)], closed.is_set()))

    def close() -> None:
        collection.close()
        closed.set()

    reader, closer = threading.Thread(target=read), threading.Thread(target=close)
    reader.start()
    assert begun.wait(LONG_S)
    closer.start()
    while True:  # until the closing thread has begun, and what comes is refused
        try:
            len(collection)
        except FailedPrecondition as error:
            assert "closed" in str(error) and "open it again" in str(error)
            break
    assert not closed.is_set()
    go_on.set()
    reader.join(LONG_S)
    closer.join(LONG_S)
    assert closed.is_set() and found == [(["a", "b"], False)]
    with Collection(tmp_path / "c") as again:
        assert len(again) == 2


def test_close_waits_no_longer_than_it_is_told_to(tmp_path: Path) -> None:
    collection = filled(tmp_path / "c")
    begun, go_on, found = threading.Event(), threading.Event(), []

    def read() -> None:
        with collection.snapshot() as snapshot:
            begun.set()
            go_on.wait(LONG_S)
            found.extend(d.id for d in snapshot.view.page("", 9))

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(LONG_S)
    assert collection.close(wait_s=0.01) is False
    go_on.set()
    reader.join(LONG_S)
    assert found == ["a", "b"]
    assert collection.close() is True


def test_a_thread_may_close_what_it_reads(tmp_path: Path) -> None:
    collection = filled(tmp_path / "c")
    with collection.snapshot() as snapshot:
        assert collection.close() is True
        assert [d.id for d in snapshot.view.page("", 9)] == ["a", "b"]
        with pytest.raises(FailedPrecondition, match="closed"), collection.snapshot():
            pass
    with Collection(tmp_path / "c") as again:  # nobody holds the lock, nor an older state
        again.live.delete(["a"])
        assert again.catalog.log_stats()["oldest_read_s"] == 0


COLLECTION: dict[str, Callable[[Collection], Any]] = {
    "len": len,
    "snapshot": lambda c: c.snapshot().__enter__(),
    "live": lambda c: c.live,
    "builder": lambda c: c.builder().__enter__(),
    "stats": lambda c: c.stats(),
    "seal": lambda c: c.seal(),
    "compact": lambda c: c.compact(),
    "index_fields": lambda c: c.index_fields(["n"]),
    "calibrate": lambda c: c.calibrate(),
    "calibration": lambda c: c.calibration,
    "reaching_terms": lambda c: c.reaching_terms(0.9, 10),
}


@pytest.mark.parametrize("name", COLLECTION)
def test_a_closed_collection_says_so(tmp_path: Path, name: str) -> None:
    collection = filled(tmp_path / "c")
    collection.close()
    collection.close()  # once more changes nothing
    with pytest.raises(FailedPrecondition, match="closed here; open it again"):
        COLLECTION[name](collection)


def test_a_writer_from_before_says_so(tmp_path: Path) -> None:
    collection = filled(tmp_path / "c", terms=None)
    live = collection.live
    collection.close()
    for write in (
        lambda: live.upsert(["c"], some(1)),
        lambda: live.delete(["a"]),
        lambda: live.delete_where(Eq("n", 1)),
        lambda: live.update_payload("a", {"n": 3}),
    ):
        with pytest.raises(FailedPrecondition, match="closed here; open it again"):
            write()
    with Collection(tmp_path / "c") as again:
        assert len(again) == 2


def test_a_closed_index_says_so(tmp_path: Path) -> None:
    index = plait.create(tmp_path / "c", encoder=None, terms="bm25")
    index.add([{"id": "a", "text": "bread"}])
    index.close()
    for use in (
        lambda: index.search("bread"),
        lambda: index.get(["a"]),
        lambda: index.count(),
        lambda: index.explain("bread", "a"),
        lambda: index.upsert([{"id": "b", "text": "moon"}]),
        lambda: index.add([{"id": "b", "text": "moon"}]),
        lambda: index.delete(["a"]),
        lambda: index.update_payload("a", {"n": 1}),
        lambda: len(index),
    ):
        with pytest.raises(FailedPrecondition, match="closed here; open it again"):
            use()


CROWD = """
import sys, threading, plait
index = plait.create(sys.argv[1], encoder=None, terms="bm25")
index.add([{"id": str(i), "text": f"bread {i} rises"} for i in range(200)])
index.close()
for _ in range(25):
    index, found, other = plait.open(sys.argv[1]), [], []
    begun = threading.Barrier(5)
    def search(index=index, begun=begun):
        begun.wait(60)
        try:
            while True:
                found.append(len(index.search("bread rises", k=20)))
        except plait.FailedPrecondition as error:
            other.append(str(error))
    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    while len(found) < 3:
        pass
    index.close()
    for thread in threads:
        thread.join(60)
    assert set(found) == {20} and len(other) == 4 and all("closed" in text for text in other), (found, other)
print("whole")
"""


def test_closing_under_searches_never_ends_the_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", CROWD, tmp_path / "c"], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout.strip()) == (0, "whole"), done.stderr[-2000:]


def test_a_disk_that_fails_under_a_writer_is_only_noted(tmp_path: Path) -> None:
    """Another thread finds it failing in the middle of this thread's transaction, whose
    connection it must not close."""
    with filled(tmp_path / "c") as collection:
        with (
            pytest.raises(Unavailable, match="read-only here since a write failed"),
            collection.catalog.writing() as view,
        ):
            view.db.execute("DELETE FROM documents")
            other = threading.Thread(target=collection.catalog.fail, args=["no space left"])
            other.start()
            other.join(LONG_S)
            assert view.count() == 0
        assert len(collection) == 2
        collection.recover()
        collection.live.delete(["a"])
        assert len(collection) == 1


@pytest.mark.parametrize("policy", [None, Policy()], ids=["told", "background"])
def test_a_handle_that_nobody_has_goes_at_once(tmp_path: Path, policy: Policy | None) -> None:
    plait.create(tmp_path / "c", encoder=None, terms="bm25").close()
    gc.disable()
    try:
        for run in range(3):
            index = plait.open(tmp_path / "c", policy=policy)
            index.upsert([{"id": "a", "text": f"run {run}"}])  # Unavailable, if the former still holds the lock
            assert [hit.id for hit in index.search("run")] == ["a"]
            known = weakref.ref(index.collection)
            del index
            assert known() is None
    finally:
        gc.enable()
    assert not [thread for thread in threading.enumerate() if thread.name == "plait-maintenance" and thread.is_alive()]
