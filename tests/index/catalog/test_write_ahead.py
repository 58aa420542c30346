"""SQLite's log: emptied when nobody needs it, and no longer than it may be while somebody does."""

import threading
from pathlib import Path

import numpy as np
import pytest
from plait.index.catalog import write_ahead
from plait.index.catalog.database import LOG_KEPT
from plait.index.collection import Collection
from plait.index.errors import Unavailable
from plait.index.tokens import from_matrices

IDS = [f"d{i}" for i in range(16)]
TOKENS = from_matrices([np.ones((64, 32), np.float16)] * len(IDS))
"""64 KiB in all."""


def write(collection: Collection, times: int) -> None:
    for _ in range(times):
        collection.live.upsert(IDS, TOKENS, durable=False)


def log(collection: Collection) -> int:
    return collection.stats()["log"]["bytes"]


def test_a_log_shrinks_when_the_state_that_held_it_is_let_go(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", 32) as collection, Collection(tmp_path / "c") as reader:
        write(collection, 1)
        with reader.snapshot():
            write(collection, 300)
            held = log(collection)
            assert held > LOG_KEPT, "this test needs a log that is larger than what is kept of it"
        write(collection, 20)
        assert log(collection) < LOG_KEPT / 2


def test_reads_that_always_overlap_do_not_let_it_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds a state until a later one has begun: there is no moment without a reader."""
    monkeypatch.setattr(write_ahead, "WAIT_MS", 20_000)
    with Collection.create(tmp_path / "c", 32) as collection:
        write(collection, 1)
        stop, sizes = threading.Event(), []

        def read(mine: threading.Barrier) -> None:
            while not stop.is_set():
                with collection.snapshot():
                    try:
                        mine.wait(0.05)  # so that one begins while the other still holds
                    except threading.BrokenBarrierError:
                        mine.reset()

        pair = threading.Barrier(3)
        readers = [threading.Thread(target=read, args=[pair]) for _ in range(2)]
        for reader in readers:
            reader.start()
        for _ in range(20):
            write(collection, 25)
            sizes.append(log(collection))
        stop.set()
        for reader in readers:
            reader.join()
        assert sum(sizes) and max(sizes) < 3 * LOG_KEPT


def test_documents_are_refused_when_it_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_ahead, "FLOOR", 8 << 20)
    monkeypatch.setattr(write_ahead, "WAIT_MS", 1)
    begun, end = threading.Event(), threading.Event()
    with Collection.create(tmp_path / "c", 32) as collection, Collection(tmp_path / "c") as reader:
        write(collection, 1)

        def hold() -> None:
            with reader.snapshot():
                begun.set()
                end.wait(60)

        holder = threading.Thread(target=hold, name="somebody's export")
        holder.start()
        assert begun.wait(60)
        with pytest.raises(
            Unavailable, match=r"MiB, and may have 8: a state that the thread .somebody's export. .* held"
        ):
            write(collection, 1000)
        assert collection.stats()["log"]["oldest_read_s"] > 0
        assert log(collection) < 16 << 20
        with pytest.raises(Unavailable, match="somebody's export"), collection.builder() as builder:
            builder.add(["x"], TOKENS.take([0]))
        # What makes the catalog smaller goes on, and nothing is broken by the refusal.
        assert collection.seal() == len(IDS) and collection.failure is None
        end.set()
        holder.join()
        write(collection, 3)
        assert len(collection) == len(IDS) and log(collection) < 8 << 20
