"""Queries of SQLite end when the work around them is to end, with the error of whoever ended it."""

from pathlib import Path

import numpy as np
import pytest
from life import DIM
from plait.index.catalog.view import View
from plait.index.collection import Collection
from plait.index.filters import sql as filters
from plait.index.filters.sql import Eq
from plait.index.stopping import stopping
from plait.index.tokens import Tokens, from_matrices
from plait.index.writing import live


def some(count: int) -> Tokens:
    return from_matrices([np.full((2, DIM), 0.5, np.float16)] * count)


ENDLESS = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n) = id"


class Enough(Exception):
    """Of this test alone: no error of plait's or SQLite's."""


class Looks:
    """A check that ends the work at its n-th look."""

    def __init__(self, last: int):
        self.left = last

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Enough


def small(path: Path) -> Collection:
    collection = Collection.create(path, DIM)
    collection.live.upsert(["a", "b"], some(2), [{"n": 1}, {"n": 2}])
    return collection


def test_a_query_that_reads_is_stopped(tmp_path: Path) -> None:
    with small(tmp_path / "c") as collection:
        with pytest.raises(Enough), stopping(Looks(20)), collection.snapshot() as snapshot:
            snapshot.view.numbers(ENDLESS)
        with collection.snapshot() as snapshot:  # the same connection, and nothing that stops it
            assert snapshot.view.numbers("1").tolist() == [0, 1]


def test_a_write_that_is_stopped_is_rolled_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small(tmp_path / "c") as collection:
        before = collection.stats()["seq"]
        with pytest.raises(Enough), stopping(Looks(20)), collection.catalog.writing() as view:
            view.db.execute("DELETE FROM documents WHERE id = 'a'")
            view.db.execute(f"DELETE FROM documents WHERE {ENDLESS}")
        monkeypatch.setattr(live, "compile", lambda *_: (ENDLESS, []))
        with pytest.raises(Enough), stopping(Looks(20)):
            collection.live.delete_where(Eq("n", 1))
        monkeypatch.setattr(live, "compile", filters.compile)
        assert collection.failure is None and collection.stats()["seq"] == before
        with collection.catalog.reading() as view:
            assert [d.id for d in view.page("", 9)] == ["a", "b"] and _whole(view)
        assert collection.live.delete_where(Eq("n", 1)).count == 1


def test_work_that_may_go_on_is_looked_at_and_ends_by_itself(tmp_path: Path) -> None:
    looks = Looks(1 << 30)
    with small(tmp_path / "c") as collection, stopping(looks), collection.catalog.reading() as view:
        some = "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) SELECT count(*) FROM n)"
        assert view.numbers(f"{some} = 100000").tolist() == [0, 1]
    assert 10 < (1 << 30) - looks.left < 10_000


def _whole(view: View) -> bool:
    return view.db.execute("PRAGMA integrity_check").get == "ok"
