"""The judges of a soak: histories of documents, and what has grown. And a soak of seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from torture.history import History, Version
from torture.soak import LOG, grown, soak


def test_a_write_that_was_answered_counts_and_one_that_failed_may_or_may_not() -> None:
    history = History()
    with history.write({"a": 1, "b": 1}):
        pass
    with pytest.raises(OSError), history.write({"a": 2}):
        raise OSError
    assert history.check({"a": 1, "b": 1}) == history.check({"a": 2, "b": 1}) == []
    assert len(history.check({"b": 1})) == 1
    assert len(history.check({"a": 2, "b": 1, "c": 1})) == 1
    with history.write({"a": None}):
        pass
    assert history.check({"b": 1}) == [] and len(history.check({"a": 1, "b": 1})) == 1


def test_a_read_may_see_what_is_written_meanwhile_and_nothing_older() -> None:
    history = History()
    for version in (1, 2):
        with history.write({"a": version}):
            pass
    seen: list[Version] = []
    with history.read("a", seen):
        with history.write({"a": 3}):
            pass
        seen.append(3)
    with pytest.raises(AssertionError, match="version 1"), history.read("a", seen := []):
        seen.append(1)


def test_what_grows_is_found() -> None:
    steady = [{"memory": 1e9, "descriptors": 50.0, "log": 1e6} for _ in range(40)]
    assert grown(steady) == []
    assert len(grown([{**s, "memory": 1e9 + 3e7 * i} for i, s in enumerate(steady)])) == 1
    assert len(grown([{**s, "descriptors": 50.0 + 10 * i} for i, s in enumerate(steady)])) == 1
    assert len(grown([*steady[:-1], {**steady[-1], "log": LOG + 1.0}])) == 1


def test_a_server_under_all_its_operations_loses_nothing(tmp_path: Path) -> None:
    found = soak(tmp_path, 6, every=0.5)
    assert found["wrong"] == []
    assert found["acknowledged_writes"] > 0 and {"search", "upsert", "get"} <= found["calls"].keys()
