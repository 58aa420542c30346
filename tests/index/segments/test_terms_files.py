"""Terms on disk: damage is named, interrupted builds go on, older and newer formats are told apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from life import DIM, PER_TOKEN, dense, filled, sparse, write
from plait.index.catalog.database import connect
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import DataLoss, FailedPrecondition
from plait.index.reading.check import check_collection
from plait.index.terms import Terms
from scipy.sparse import csr_array

COLUMNS = ("term_offsets", "term_keys", "term_weights", "term_row_offsets")


@pytest.mark.parametrize("name", COLUMNS)
def test_damaged_columns_are_named(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "good", PER_TOKEN).close()
    content = (tmp_path / "good" / "segment-000001" / name).read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 4
    for number, damage in enumerate((None, content[:-1], content + b"\0", bytes(flipped))):
        path = shutil.copytree(tmp_path / "good", tmp_path / str(number))
        (path / "segment-000001" / name).unlink()
        if damage is not None:
            (path / "segment-000001" / name).write_bytes(damage)
        assert any(name in problem for problem in check_collection(path))
        with pytest.raises(DataLoss, match=name), Collection(path).snapshot():
            pass


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("term_offsets", PER_TOKEN, "term_offsets"),
        ("term_keys", TermField(keys=1 << 32), "do not rise|outside"),
        ("term_weights", TermField(), "NaN"),
        ("term_row_offsets", PER_TOKEN, "term_row_offsets"),
    ],
)
def test_what_checksums_cannot_know_is_checked(
    tmp_path: Path, name: str, field: TermField, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer's fault: the files are as their manifest says, and still wrong."""
    from plait.index.segments import segment
    from plait.index.writing import maintenance

    write_column = segment.SegmentWriter._write

    def wrong(writer: segment.SegmentWriter, column: str, values: np.ndarray | None) -> None:
        if column == name and values is not None:
            values = values.astype(writer.columns[name])
            values = values[::-1] if name != "term_weights" else values * np.float32("nan")
        write_column(writer, column, values)

    monkeypatch.setattr(segment.SegmentWriter, "_write", wrong)
    # Postings could not be built of such weights.
    monkeypatch.setattr(maintenance, "build_terms", lambda writer: ())
    collection = Collection.create(tmp_path, DIM, terms=field)
    collection.live.upsert([str(i) for i in range(9)], **write(DIM, field, list(range(9))))
    collection.seal()
    collection.close()
    (problem,) = check_collection(tmp_path)
    assert "segment-000001" in problem and any(word in problem for word in message.split("|"))


def test_a_weight_of_zero_is_no_weight(tmp_path: Path) -> None:
    """Neither in a document nor in a query does it make a match."""
    rows = csr_array((np.array([0, 2, 3], np.float32), [1, 4, 1], [0, 2, 3]), shape=(2, 9))
    collection = Collection.create(tmp_path, 0, terms=TermField(keys=9))
    collection.live.upsert(["a", "b"], None, terms=Terms(rows))
    with collection.snapshot() as snapshot:
        assert snapshot.terms(0).rows.indices.tolist() == [4]
        assert [hits.docs.tolist() for hits in snapshot.search_terms(Terms(rows))] == [[0], [1]]
        assert snapshot.term_statistics([1, 4]).frequencies.tolist() == [1, 1]


def test_a_collection_that_lost_its_terms_is_refused(tmp_path: Path) -> None:
    """It would drop them in its first merge."""
    Collection.create(tmp_path / "with", DIM, terms=True).close()
    db = connect(tmp_path / "with" / "catalog.db")
    with db:
        db.execute("DELETE FROM meta WHERE key = 'terms'")
    db.close()
    with pytest.raises(DataLoss, match="'terms' is gone"):
        Collection(tmp_path / "with")
    assert any("'terms' is gone" in problem for problem in check_collection(tmp_path / "with"))


def test_an_interrupted_build_of_terms_goes_on(tmp_path: Path) -> None:
    """Where it was cut; until then live writes wait."""
    field = PER_TOKEN
    with Collection.create(tmp_path, DIM, terms=field) as collection, collection.builder() as builder:
        builder.add(["a", "b"], **write(DIM, field, [5, 11]))
    with Collection(tmp_path) as collection:
        with pytest.raises(FailedPrecondition, match="2 documents waiting"):
            collection.live.upsert(["c"], **write(DIM, field, [6]))
        with collection.builder() as builder:
            assert builder.staged_ids == ["a", "b"]
            builder.add(["c"], **write(DIM, field, [8]))
            builder.publish()
        with collection.snapshot() as snapshot:
            for id, seed in zip("abc", (5, 11, 8), strict=True):
                got = snapshot.terms(snapshot.view.by_id(id).number)
                np.testing.assert_array_equal(dense(got), dense(sparse(seed, field)))
    assert check_collection(tmp_path) == []
