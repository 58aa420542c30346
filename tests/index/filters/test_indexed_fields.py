"""Payload fields with an index: declared with a collection, or later; and what SQLite makes of them."""

from pathlib import Path

import pytest
from plait.index.collection import Collection
from plait.index.errors import InvalidArgument, Unavailable
from plait.index.filters.sql import Eq, compile
from plait.index.reading.check import check_collection
from plait.index.tokens import concatenate
from test_live import DIM, document, ranking


def indexed(collection: Collection, field: str) -> bool:
    """Whether SQLite answers a condition on this field from an index."""
    with collection.snapshot() as snapshot:
        condition, values = compile(Eq(field, 2020), snapshot.view.declared)
        sql = f"EXPLAIN QUERY PLAN SELECT number FROM documents WHERE +number < ? AND ({condition})"
        plan = " ".join(str(row) for row in snapshot.view.db.execute(sql, (9, *values)))
    return "USING INDEX" in plan or "USING COVERING INDEX" in plan


def test_declared_fields_use_their_index(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, DIM, fields=["year"])
    assert indexed(collection, "year") and not indexed(collection, "lang")


def test_fields_are_declared_and_dropped_later(tmp_path: Path) -> None:
    writer, reader = Collection.create(tmp_path, DIM, fields=["year", "Year"]), Collection(tmp_path)
    writer.live.upsert(["a", "b"], concatenate([document(3), document(4)]), [{"lang": "en"}, {"a": {"b": 2020}}])
    writer.index_fields(["a.b", "Year", "lang"])
    for collection in (writer, reader):
        assert [f for f in ("year", "Year", "lang", "a.b") if indexed(collection, f)] == ["Year", "lang", "a.b"]
        assert collection.stats()["fields"] == ["a.b", "Year", "lang"]
        assert [id for id, _ in ranking(collection, filter=Eq("lang", "en"))] == ["a"]
        assert [id for id, _ in ranking(collection, filter=Eq("a.b", 2020))] == ["b"]
    # All of it, or nothing.
    for wrong in (["year", "a b"], ["year", "year"]):
        with pytest.raises(InvalidArgument):
            writer.index_fields(wrong)
    assert reader.stats()["fields"] == ["a.b", "Year", "lang"] and not indexed(reader, "year")
    with pytest.raises(Unavailable, match="another handle of this same process"):
        reader.index_fields([])
    writer.index_fields([])
    assert not any(indexed(reader, f) for f in ("year", "Year", "lang", "a.b")) and not check_collection(tmp_path)
