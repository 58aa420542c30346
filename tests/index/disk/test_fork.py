"""What a forked child may do with the collections of its parent: search, and nothing by which it would write for it."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from life import DIM, EVERYTHING, QUERY
from plait.index.catalog import connections
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, PlaitError, Unavailable
from plait.index.reading.check import check_collection
from plait.index.tokens import Tokens, from_matrices


def some(count: int) -> Tokens:
    return from_matrices([np.full((2, DIM), 0.5, np.float16)] * count)


LONG_S = 120


class Child:
    """A forked process that does one thing and then waits to be told to end. `said`: what it returned, or its error."""

    def __init__(self, work: Callable[[], object]):
        said, tell = os.pipe()
        waits, self._end = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            signal.alarm(LONG_S)
            os.close(self._end)
            try:
                text = str(work())
            except BaseException as error:
                text = f"{type(error).__name__}: {error}"
            os.write(tell, text.encode())
            os.close(tell)
            os.read(waits, 1)
            os._exit(0)
        os.close(tell)
        os.close(waits)
        parts = []
        while part := os.read(said, 1 << 16):
            parts.append(part)
        os.close(said)
        self.said = b"".join(parts).decode()

    def end(self) -> None:
        os.write(self._end, b"x")
        os.close(self._end)
        assert os.waitpid(self.pid, 0)[1] == 0


def search(collection: Collection) -> list[str]:
    with collection.snapshot() as snapshot:
        (hits,) = snapshot.search(QUERY, 9, params=EVERYTHING)
        return sorted(d.id for d in snapshot.documents(hits.docs))


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    collection = Collection.create(tmp_path / "c", DIM)
    collection.live.upsert(["a", "b"], some(2))
    collection.seal()
    collection.live.upsert(["c"], some(1))
    return collection


def test_a_child_searches_and_sees_what_the_parent_writes(collection: Collection) -> None:
    assert search(collection) == ["a", "b", "c"]
    go_on, begin = os.pipe()

    def work() -> object:
        before = search(collection)
        os.read(go_on, 1)
        return before, search(collection)

    written = threading.Timer(0, lambda: (collection.live.delete(["b"]), os.write(begin, b"x")))
    written.start()
    child = Child(work)
    written.join()
    before, after = child.said.split("], ")
    assert "'a'" in before and "'c'" in before and after == "['a', 'c'])"
    child.end()
    assert search(collection) == ["a", "c"]
    collection.close()
    assert check_collection(collection.path) == []


@pytest.mark.parametrize("held", [False, True], ids=["new writer", "writer from before"])
def test_a_child_cannot_write_for_its_parent(collection: Collection, held: bool) -> None:
    live = collection.live

    def work() -> object:
        return (live if held else collection.live).delete(["a"])

    child = Child(work)
    assert child.said.startswith(Unavailable.__name__) and "spawn" in child.said and "open it again" in child.said
    child.end()
    collection.live.delete(["c"])
    collection.compact()
    assert search(collection) == ["a", "b"]
    collection.close()
    assert check_collection(collection.path) == []


def test_a_child_does_not_hold_the_lock_of_its_parent(collection: Collection) -> None:
    child = Child(lambda: search(collection))
    assert child.said == "['a', 'b', 'c']"
    collection.close()
    with Collection(collection.path) as other:  # the child lives on
        other.live.delete(["a"])
    child.end()
    assert check_collection(collection.path) == []


def test_a_child_writes_by_a_handle_of_its_own(collection: Collection) -> None:
    collection.close()

    def work() -> object:
        with Collection(collection.path) as mine:
            mine.live.delete(["a"])
            return search(mine)

    child = Child(work)
    assert child.said == "['b', 'c']"
    child.end()
    with Collection(collection.path) as again:
        assert search(again) == ["b", "c"]


def test_a_file_in_use_at_the_fork_is_refused_in_the_child(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's memory of locks is wrong there: a reader that believed it would not be seen by the writer."""
    monkeypatch.setattr(connections, "_FORK_S", 0.01)
    begun, end = threading.Event(), threading.Event()

    def read() -> None:
        with collection.snapshot():
            begun.set()
            end.wait(LONG_S)

    reader = threading.Thread(target=read)
    reader.start()
    assert begun.wait(LONG_S)
    child = Child(lambda: search(collection))
    again = Child(lambda: Collection(collection.path))
    end.set()
    reader.join()
    for one in (child, again):
        assert one.said.startswith(FailedPrecondition.__name__) and "spawn" in one.said
        one.end()
    assert search(collection) == ["a", "b", "c"]
    collection.close()


def test_a_fork_waits_for_reads_of_other_threads(collection: Collection) -> None:
    stop = threading.Event()
    problems: list[str] = []

    def read() -> None:
        while not stop.is_set():
            try:
                search(collection)
            except PlaitError as error:
                problems.append(str(error))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(5):
            child = Child(lambda: len(collection))
            assert child.said == "3"
            child.end()
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert problems == []
    collection.close()
