"""Vectors computed elsewhere: JSONL, CSR files and CIFF, whose bytes are compared with the format's own definition."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from plait.index.errors import InvalidArgument, NotFound
from plait.index.terms import Terms
from plait.retrieval.offline.ciff import read_ciff, write_ciff
from plait.retrieval.offline.vectors import read_csr, read_jsonl, rows_of, write_jsonl
from plait.retrieval.sparse.analyzer import KEYS, key_of
from scipy import sparse

WORDS = {"mars": 0, "planet": 3, "é": 5}
NAMES = {key: word for word, key in WORDS.items()}
LINES = [
    '{"id": "a", "contents": "Mars!", "vector": {"mars": 2.5, "é": 1}}',
    '{"id": 7, "vector": {}}',
    '{"id": "c", "contents": null, "vector": {"planet": 3, "mars": 0}}',
]


def test_jsonl_with_a_vocabulary_and_with_hashed_terms(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    vectors = read_jsonl(path, WORDS)
    assert vectors.ids == ["a", "7", "c"] and vectors.texts == ["Mars!", "", ""]
    np.testing.assert_array_equal(vectors.terms.rows.toarray(), [[2.5, 0, 0, 0, 0, 1], [0] * 6, [0, 0, 0, 3, 0, 0]])
    hashed = read_jsonl(path)
    assert hashed.terms.keys == KEYS and hashed.names[key_of("mars")] == "mars"
    assert set(hashed.terms.rows.indices) == {key_of(word) for word in WORDS}
    write_jsonl(tmp_path / "again.jsonl", vectors.ids, vectors.terms, NAMES)
    again = read_jsonl(tmp_path / "again.jsonl", WORDS)
    assert (again.terms.rows != vectors.terms.rows).nnz == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: .* is no vector"),
        ('{"id": "x", "vector": [1]}', "is no vector"),
        ('{"id": "x", "vector": {"venus": 1}}', "no 'venus'"),
        ('{"id": "x", "vector": {"mars": NaN}}', "no finite number"),
        ('{"id": "x", "vector": {"mars": "1"}}', "no finite number"),
        (LINES[0], "1 ids twice"),
    ],
)
def test_malformed_jsonl_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text(f"{LINES[0]}\n{line}\n", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=message):
        read_jsonl(path, WORDS)


def test_csr_files(tmp_path: Path) -> None:
    rows = sparse.csr_array(np.eye(3, dtype=np.float64))
    sparse.save_npz(tmp_path / "rows.npz", rows)
    assert read_csr(tmp_path / "rows.npz").rows.dtype == np.float32
    sparse.save_npz(tmp_path / "columns.npz", rows.tocsc())
    (tmp_path / "other.npz").write_bytes(b"PK")
    for name, message in (("columns.npz", "csc"), ("other.npz", "no sparse matrix")):
        with pytest.raises((InvalidArgument), match=message):
            read_csr(tmp_path / name)
    with pytest.raises(NotFound):
        read_csr(tmp_path / "none.npz")


def test_ciff_bytes_are_those_of_the_definition(tmp_path: Path) -> None:
    """Two documents, {mars: 300, é: 1} and {mars: 2}: written out by hand from CommonIndexFileFormat.proto."""
    path = tmp_path / "index.ciff"
    write_ciff(path, ["a", "b"], rows_of([{0: 300, 5: 1}, {0: 2}], 6), NAMES, [9, 4])
    header = b"\x08\x01\x10\x02\x18\x02\x20\x02\x28\x02\x30\x0d\x39" + struct.pack("<d", 6.5) + b"\x42\x05plait"
    mars = b"\x0a\x04mars\x10\x02\x18\xae\x02\x22\x05\x08\x00\x10\xac\x02\x22\x04\x08\x01\x10\x02"
    acute = b"\x0a\x02\xc3\xa9\x10\x01\x18\x01\x22\x04\x08\x00\x10\x01"
    records = [b"\x08\x00\x12\x01a\x18\x09", b"\x08\x01\x12\x01b\x18\x04"]
    messages = [header, mars, acute, *records]
    assert path.read_bytes() == b"".join(bytes([len(m)]) + m for m in messages)
    vectors, lengths = read_ciff(path, WORDS)
    assert vectors.ids == ["a", "b"] and lengths.tolist() == [9, 4]
    np.testing.assert_array_equal(vectors.terms.rows.toarray(), [[300, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0]])


def test_ciff_round_trip_over_hashed_terms(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = {key_of(f"t{i}"): f"t{i}" for i in range(40)}
    rows = [{key: int(rng.integers(1, 2**20)) for key in names if rng.random() < 0.3} for _ in range(300)]
    terms = rows_of([*rows, {}], KEYS)
    ids = [f"d{i}" for i in range(301)]
    write_ciff(tmp_path / "x.ciff", ids, terms, names)
    (tmp_path / "x.ciff.gz").write_bytes(gzip.compress((tmp_path / "x.ciff").read_bytes()))
    for name in ("x.ciff", "x.ciff.gz"):
        vectors, lengths = read_ciff(tmp_path / name)
        assert vectors.ids == ids and vectors.names == names
        assert (vectors.terms.rows != terms.rows).nnz == 0
        assert lengths.tolist() == [sum(row.values()) for row in rows] + [0]


def test_damaged_ciff_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ciff"
    write_ciff(path, ["a", "b"], rows_of([{0: 3}, {3: 2}], 6), NAMES)
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        if end:
            with pytest.raises(InvalidArgument, match="cut off"):
                read_ciff(path, WORDS)
    path.write_bytes(b"\xff" * 20)
    with pytest.raises(InvalidArgument):
        read_ciff(path)


def test_what_ciff_cannot_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.ciff"
    for terms, message in (
        (rows_of([{0: 0.5}], 6), "whole weights"),
        (rows_of([{1: 2}], 6), "key 1 has no name"),
        (Terms(sparse.csr_array(np.eye(2, dtype=np.float32)), np.array([0, 2])), "token rows"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            write_ciff(path, ["a"], terms, NAMES)
