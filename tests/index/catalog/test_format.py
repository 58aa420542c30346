"""Collections of every format version, kept as they were written: today's plait opens them and finds the same."""

import json
import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from life import COIL, DIM, EVERYTHING, QUERY
from paths import TESTS
from plait.index.catalog.catalog import CHECKED_FORMAT, FORMAT, Catalog, put_meta
from plait.index.catalog.database import connect, has_checksums
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import DataLoss, FailedPrecondition
from plait.index.filters.sql import Range
from plait.index.params import Bm25
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.reading.snapshot import Snapshot
from plait.index.segments import segment
from plait.index.term_rows import from_terms
from plait.index.terms import Terms
from plait.index.tokens import Tokens, concatenate
from plait.retrieval.offline.vectors import rows_of
from scipy.sparse import csr_array

GOLDEN = TESTS / "golden"
STORES = {"exact": "exact", "contextual": "contextual"}
CASES = sorted((int(p.parent.name[1:]), p.name) for p in GOLDEN.glob("v*/*"))
LIVING = ["a0", "a1", "a2", "a4", "a5", "b0", "b1", "b3", "b4", "f0", "f1"]
"""By now: a3 and b2 deleted, a1 and f1 written again."""


def document(name: str) -> Tokens:
    """Half-integer vectors, the same on every machine: 1 to 4 tokens, the last with two
    spans, as pooling leaves them."""
    kind, number = ord(name[0]), int(name[1:])
    n = 1 + (kind + number) % 4
    cells = (np.arange(n * DIM).reshape(n, DIM) * (2 * number + kind) + 3 * number) % 11 - 5
    spans = np.arange(2 * n + 2, dtype=np.uint32).reshape(-1, 2)
    whole = np.array([[number - 2, n, (kind + number) % 3]]) / 2
    return Tokens(
        (cells / 2).astype(np.float16),
        np.array([0, n]),
        np.arange(n, dtype=np.uint32) + kind,
        spans,
        np.array([*range(n), n + 1]),
        roles=np.full(n, 7, np.uint8),
        globals_=whole.astype(np.float32),
    )


def keyed_query() -> Tokens:
    return replace(QUERY, ids=np.array([97, 98, 103], np.uint32), globals_=np.array([[1, -0.5, 2]], np.float32))


def sparse_rows(*names: str) -> Terms:
    """Quarter-integer weights under the first key, the last and one between: 0 to 3 for each document."""
    rows = [[0, 1007, (1 << 32) - 1][: int(name[1:]) % 4] for name in names]
    weights = [(ord(name[0]) + 2 * i) / 4 for name, row in zip(names, rows, strict=True) for i in range(len(row))]
    starts = np.cumsum([0, *map(len, rows)])
    keys = np.array([key for row in rows for key in row], np.int64)
    return Terms(csr_array((np.array(weights, np.float32), keys, starts), shape=(len(names), 1 << 32)))


FIELDS = {"plain": TermField(), "counted": TermField(1 << 20, counts=True)}


def counted_rows(*names: str) -> Terms:
    """Counts of keys: 1 of key 5, and as many of a document's own number as that is."""
    rows = [{5: 1, 10 + int(name[1:]): int(name[1:])} for name in names]
    return rows_of(rows, 1 << 20)


def fielded(*names: str) -> dict[str, Terms]:
    return {"plain": sparse_rows(*names), "counted": counted_rows(*names)}


def make_golden(folder: Path, store: str) -> None:
    """Since version 2 with terms, since 3 with global vectors and, but for contextual lists, in int8, since 4 with two
    named term fields. Two segments (one sealed, one built in bulk), dead documents in each and among the fresh,
    payloads, a late patch.

    `python -c "import test_format as t; t.regenerate()"` in this folder writes the current version's again; do so only
    before that version is released.
    """

    def batch(*names: str) -> dict[str, Any]:
        payloads = [{"n": int(name[1:]), "text": f"Dokument {name}, Größe"} for name in names]
        tokens = concatenate([document(name) for name in names])
        return {"ids": list(names), "tokens": tokens, "payloads": payloads, "terms": fielded(*names)}

    sides: dict[str, Any] = {"terms": FIELDS, "vector": 3, "precision": "float16" if store == "contextual" else "int8"}
    with Collection.create(folder, DIM, store, fields=["n"], threads=1, **sides) as collection:
        collection.live.upsert(**batch("a0", "a1", "a2", "a3", "a4", "a5"))
        collection.seal()
        with collection.builder() as builder:
            builder.add(**batch("b0", "b1", "b2"))
            builder.add(**batch("b3", "b4"))
            builder.publish()
        collection.live.upsert(**batch("a1", "f0", "f1", "f2"))
        collection.live.upsert(**batch("f1"))
        collection.live.delete(["a3", "b2", "f2"])
        collection.live.update_payload("b1", {"n": 41})


def regenerate() -> None:
    for name, store in STORES.items():
        folder = GOLDEN / f"v{FORMAT}" / name
        shutil.rmtree(folder, ignore_errors=True)
        make_golden(folder, store)
        (folder / "writer.lock").unlink()


def test_there_is_a_golden_collection_of_this_version() -> None:
    assert {version for version, _ in CASES} == set(range(1, FORMAT + 1))


@pytest.mark.parametrize(("version", "store"), CASES)
def test_golden_collections_open_and_hold_what_they_held(tmp_path: Path, version: int, store: str) -> None:
    path = shutil.copytree(GOLDEN / f"v{version}" / store, tmp_path / "c")
    assert sorted(p.name for p in path.iterdir()) == ["catalog.db", *sorted(p.name for p in path.glob("segment-*"))]
    assert check_collection(path) == []
    with Collection(path) as collection:
        assert_golden(collection)
        stats = collection.stats()
        assert (stats["documents"], stats["fresh"], stats["dead"], len(stats["segments"])) == (11, 3, 5, 2)
        # It can be written and carried into today's segments.
        terms = {1: None, 2: sparse_rows("z9"), 3: sparse_rows("z9")}
        collection.live.upsert(["z"], document("z9"), terms=terms.get(version, fielded("z9")))
        collection.compact()
        collection.live.delete(["z"])
        assert_golden(collection)
    assert check_collection(path) == []


def kept(collection: Collection, name: str) -> Tokens:
    """A document as the collection's precision leaves it."""
    tokens, codec = document(name), collection.schema.codec
    return tokens.with_vectors(codec.floats(codec.encode(tokens.vectors)))


def assert_golden(collection: Collection) -> None:
    with collection.snapshot() as snapshot:
        for name in LIVING:
            stored = snapshot.view.by_id(name)
            text = f"Dokument {name}, Größe"
            assert stored.payload == {"n": 41 if name == "b1" else int(name[1:]), "text": text}
            got, wanted = snapshot.tokens(stored.number), kept(collection, name)
            for column in ("vectors", "offsets", "ids", "roles", "spans", "span_offsets"):
                np.testing.assert_array_equal(getattr(got, column), getattr(wanted, column))
        assert [d.id for d in snapshot.view.page("", 99)] == LIVING
        for filter, names in ((None, LIVING), (Range("n", gte=3), ["a4", "a5", "b1", "b3", "b4"])):
            (hits,) = snapshot.search(QUERY, 99, params=EVERYTHING, filter=filter)
            scores = {n: oracle.maxsim(QUERY.vectors, kept(collection, n).vectors) for n in names}
            numbered = {snapshot.view.by_id(n).number: s for n, s in scores.items()}
            oracle.same_ranking(hits, numbered, 99, 1e-4)
        if collection.schema.terms:
            for name in LIVING:
                got, wanted = snapshot.terms(snapshot.view.by_id(name).number).rows, from_terms(sparse_rows(name))
                np.testing.assert_array_equal(got.indices, wanted.keys)
                np.testing.assert_array_equal(got.data, wanted.weights)
            (hits,) = snapshot.search_terms(sparse_rows("q3"), 99)
            assert {d.id for d in snapshot.documents(hits.docs)} == {name for name in LIVING if int(name[1:]) % 4}
        if "counted" in collection.schema.terms:
            assert_counted(snapshot)
        whole = keyed_query().globals_
        if collection.vector and whole is not None:
            numbers = {name: snapshot.view.by_id(name).number for name in LIVING}
            for name in LIVING:
                np.testing.assert_array_equal(snapshot.tokens(numbers[name]).globals_, document(name).globals_)
            for k in (3, 99):
                (hits,) = snapshot.search(keyed_query(), k, COIL)
                wanted = {numbers[n]: oracle.coil(keyed_query(), kept(collection, n)) for n in LIVING}
                oracle.same_ranking(hits, {d: s for d, s in wanted.items() if s is not None}, k, 1e-4)
                (hits,) = snapshot.search_vectors(whole, k)
                products = {numbers[n]: oracle.product(keyed_query(), document(n)) for n in LIVING}
                oracle.same_ranking(hits, products, k, 1e-5)


def assert_counted(snapshot: Snapshot) -> None:
    """The second field has its own keys, and statistics by which BM25 weighs them."""
    for name in LIVING:
        got = snapshot.terms(snapshot.view.by_id(name).number, "counted").rows
        assert (got != counted_rows(name).rows).nnz == 0
    lengths = {name: 1 + int(name[1:]) for name in LIVING}
    mean, idf = sum(lengths.values()) / len(lengths), np.log1p(0.5 / (len(LIVING) + 0.5))
    scores = {n: idf / (1 + 1.2 * (0.25 + 0.75 * length / mean)) for n, length in lengths.items()}
    (hits,) = snapshot.search_terms(rows_of([{5: 1}], 1 << 20), 99, bm25=Bm25(), field="counted")
    numbered = {snapshot.view.by_id(n).number: s for n, s in scores.items()}
    oracle.same_ranking(hits, numbered, 99, 1e-6)


def test_a_new_collection_says_all_that_it_is_made_of(tmp_path: Path) -> None:
    """Its format is today's: an older plait would write pages without checksums, or drop what it does not know."""
    cases: list[dict[str, Any]] = [
        {},
        {"terms": True},
        {"vector": 4},
        {"store": "contextual"},
        {"precision": "int8"},
        {"terms": {"terms": TermField(), "b": TermField()}},
    ]
    for number, settings in enumerate(cases):
        path = tmp_path / str(number)
        with Collection.create(path, DIM, **settings) as collection:
            with collection.catalog.reading() as view:
                assert view.meta("format") == FORMAT and has_checksums(view.db)
            schema = collection.schema
        with Collection(path) as again:
            assert again.schema == schema
        for key in ("terms", "vector", "precision"):
            lost = shutil.copytree(path, tmp_path / f"{number}-{key}")
            db = connect(lost / "catalog.db")
            db.execute("DELETE FROM meta WHERE key = ?", (key,))
            db.close()
            with pytest.raises(DataLoss, match=f"'{key}' is gone"):
                Collection(lost)


@pytest.mark.parametrize(("version", "store"), CASES)
def test_a_restored_copy_of_an_older_collection_has_todays_format(tmp_path: Path, version: int, store: str) -> None:
    path = shutil.copytree(GOLDEN / f"v{version}" / store, tmp_path / "c")
    with Collection(path) as collection, collection.catalog.reading() as view:
        assert has_checksums(view.db) == (version >= CHECKED_FORMAT) and view.meta("format") == version
        schema, seq = collection.schema, view.meta("seq")
    assert create_snapshot(path, tmp_path / "s") == seq == restore_snapshot(tmp_path / "s", tmp_path / "r")
    with Collection(tmp_path / "r") as restored:
        with restored.catalog.reading() as view:
            assert view.meta("format") == FORMAT and has_checksums(view.db)
        assert restored.schema == schema
        assert_golden(restored)
    assert check_collection(tmp_path / "r") == []


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = shutil.copytree(GOLDEN / f"v{FORMAT}" / "exact", tmp_path / "c")
    manifest = next(path.glob("segment-*/segment.json"))
    newer = json.dumps(json.loads(manifest.read_bytes()) | {"format": segment.FORMAT + 1}).encode()
    manifest.write_bytes(newer)
    db = connect(path / "catalog.db")
    with db:
        number = int(manifest.parent.name[-6:])
        db.execute("UPDATE segments SET manifest_crc = ? WHERE number = ?", (zlib.crc32(newer), number))
    db.close()
    with pytest.raises(FailedPrecondition, match=f"format {segment.FORMAT + 1}.*upgrade"), Collection(path).snapshot():
        pass
    catalog = Catalog(path)
    with catalog.writing() as view:
        put_meta(view, "format", FORMAT + 1)
    catalog.close()
    with pytest.raises(FailedPrecondition, match=f"format {FORMAT + 1}.*upgrade"):
        Collection(path)
