"""What waits is embedded in the background: by itself, until an error, around other writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plait.index.errors import FailedPrecondition, Unavailable
from plait.index.reading.check import check_collection
from plait.index.writing.live import LiveWriter
from plait.index.writing.maintenance import Policy
from test_freshness import ROWS, assert_equal, made, small_batches  # noqa: F401 (a fixture for all)

import plait


def eventually(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


@pytest.mark.parametrize("policy", [None, Policy(seal_tokens=64, seal_age_s=0.05, fanout=2)])
def test_it_is_embedded_in_the_background(tmp_path: Path, policy: Any) -> None:
    made(tmp_path / "c").close()
    index = plait.open(tmp_path / "c", policy=policy, encode_pending=True)
    whole = made(tmp_path / "whole")
    for row in ROWS:
        index.upsert([row], defer=True)
    whole.upsert(ROWS)
    eventually(lambda: not len(index.pending))
    assert_equal(index, whole)
    index.close()
    # What waits when a collection is opened is embedded without another write.
    later = plait.open(tmp_path / "c", policy=policy)
    later.upsert([{"id": "f", "text": "the sea, the sea"}], defer=True)
    later.close()
    again = plait.open(tmp_path / "c", policy=policy, encode_pending=True)
    whole.upsert([{"id": "f", "text": "the sea, the sea"}])
    eventually(lambda: not len(again.pending))
    assert_equal(again, whole)
    again.close()
    assert check_collection(tmp_path / "c") == []


def test_an_error_of_the_encoder_ends_the_background_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "c").close()
    index = plait.open(tmp_path / "c", encode_pending=True)

    def fails(texts: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(index.encoding), "documents", lambda self, texts: fails(texts))
    told: list[logging.LogRecord] = []
    monkeypatch.setattr(logging.getLogger("plait.pending"), "handle", told.append)
    index.upsert(ROWS, defer=True)
    eventually(lambda: index.pending.problem is not None)
    assert index.info()["pending_problem"] == "RuntimeError: out of memory" and index.info()["pending"] == 5
    assert index.delete(["a"]).count == 1 and index.collection.failure is None
    index.upsert(ROWS, defer=True)
    with pytest.raises(RuntimeError, match="out of memory"):
        index.encode_pending()
    monkeypatch.undo()
    # Told once, and what has worked when it was asked for goes on in the background.
    assert [(line.levelname, vars(line)["fields"]) for line in told] == [("ERROR", {"collection": "c"})]
    assert index.encode_pending(limit=1).count == 1 and "pending_problem" not in index.info()
    eventually(lambda: not len(index.pending))
    index.close()


def test_a_build_that_waits_ends_no_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> Any:
        raise Unavailable("a bulk write is under way")

    index = made(tmp_path / "c")
    index.upsert(ROWS[:2], defer=True)
    with index.collection.builder() as builder:
        builder.add(*next(index.batches(ROWS[2:], defer=True)), defer=True)
    assert not index.pending.step() and index.pending.problem is None
    with pytest.raises(FailedPrecondition, match="an interrupted build has 3 documents"):
        index.encode_pending()
    with index.collection.builder() as builder:
        builder.publish()
    # One that begins while texts are encoded is as little of a reason to end.
    with monkeypatch.context() as patched:
        patched.setattr(LiveWriter, "complete", refused)
        assert not index.pending.step() and index.pending.problem is None
    # After a write that failed on the disk there is nothing to encode for.
    with monkeypatch.context() as patched:
        patched.setattr(index.collection.catalog, "failure", "disk full")
        patched.setattr(index, "batches", None)
        assert not index.pending.step() and index.pending.problem is None
    assert index.pending.step() and index.encode_pending().count == 3
