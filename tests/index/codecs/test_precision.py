"""Collections whose vectors are kept in fewer bits: every store, bulk and live, against what the records stand for."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from plait.index.catalog.catalog import CHECKED_FORMAT, Catalog
from plait.index.collection import Collection
from plait.index.errors import DataLoss, InvalidArgument
from plait.index.params import SearchParams
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.tokens import Tokens, from_matrices

DIM, DOCUMENTS = 24, 400


def documents() -> Tokens:
    rng = np.random.default_rng(4)
    lengths = [0, *rng.integers(1, 9, DOCUMENTS - 1)]
    return from_matrices([rng.standard_normal((n, DIM)).astype(np.float32) for n in lengths], DIM)


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8", "faiss:IVF,SQfp16"])
@pytest.mark.parametrize(("precision", "width"), [("int8", DIM + 4), ("pq:32", 32), ("pq:64", 64), ("pq:72", 72)])
def test_every_store_ranks_by_what_the_records_stand_for(
    tmp_path: Path, store: str, precision: str, width: int
) -> None:
    tokens, query = documents(), from_matrices([np.random.default_rng(5).standard_normal((6, DIM)).astype(np.float32)])
    ids = [str(i) for i in range(DOCUMENTS)]
    everything = SearchParams(k_token=5000, nprobe=999, candidates=DOCUMENTS)

    def same(collection: Collection) -> None:
        with collection.snapshot() as snapshot:
            (hits,) = snapshot.search(query, 20, params=everything)
            found = snapshot.documents(hits.docs)
            why = snapshot.explain(query, int(hits.docs[0]), params=everything)
            numbered = {snapshot.view.by_id(str(d)).number: s for d, s in scores.items()}
            oracle.same_ranking(hits, numbered, 20, 1e-4)
            assert abs(why.score - hits.scores[0]) < 1e-4
            np.testing.assert_allclose(why.document.vectors, kept[tokens.rows(int(found[0].id))], atol=1e-5)

    with Collection.create(tmp_path / "c", DIM, store, precision=precision) as collection:
        batches = [(ids[a:b], tokens.take(range(a, b))) for a, b in ((0, 150), (150, 250), (250, DOCUMENTS))]
        with collection.builder() as builder:
            for batch in batches[:2]:
                builder.add(*batch)
            builder.publish()
        collection.live.upsert(*batches[2])
        codec = collection.schema.codec
        kept = np.concatenate([codec.floats(codec.encode(some.vectors)) for _, some in batches])
        # Near to what was given, and not it.
        off = np.linalg.norm(kept - tokens.vectors, axis=1) / np.linalg.norm(tokens.vectors, axis=1)
        assert 0 < off.mean() < 0.15
        scores = {d: oracle.maxsim(query.vectors, kept[tokens.rows(d)]) for d in range(1, DOCUMENTS)}
        same(collection)
        collection.seal()
        same(collection)
        collection.compact()
        same(collection)
        stats = collection.stats()
        assert (stats["precision"], len(stats["segments"])) == (precision, 1)
        folder = next((tmp_path / "c").glob("segment-*"))
        assert (folder / "vectors").stat().st_size == len(tokens.vectors) * width
    assert check_collection(tmp_path / "c") == []
    # What was learned is there when the collection is opened again, by another process too, and in a copy.
    create_snapshot(tmp_path / "c", tmp_path / "s")
    restore_snapshot(tmp_path / "s", tmp_path / "d")
    for name in "cd":
        with Collection(tmp_path / name) as collection:
            same(collection)


def test_an_interrupted_build_resumes(tmp_path: Path) -> None:
    tokens = documents()
    with Collection.create(tmp_path / "c", DIM, precision="int8") as collection, collection.builder() as builder:
        builder.add(["a", "b"], tokens.take([1, 2]))
    with Collection(tmp_path / "c") as collection:
        with collection.builder() as builder:
            assert builder.staged_ids == ["a", "b"]
            builder.add(["c"], tokens.take([3]))
            builder.publish()
        with collection.snapshot() as snapshot:
            got = snapshot.tokens(snapshot.view.by_id("c").number).vectors
            np.testing.assert_allclose(got, tokens.vectors[tokens.rows(3)], atol=np.abs(tokens.vectors).max() / 250)


def test_what_the_catalog_must_say(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="precision is 'int4'"):
        Collection.create(tmp_path / "a", DIM, precision="int4")
    with pytest.raises(InvalidArgument, match="with dim 0 and store"):
        Collection.create(tmp_path / "a", 0, terms=True, precision="int8")
    Collection.create(tmp_path / "c", DIM, precision="int8").close()
    catalog = Catalog(tmp_path / "c")
    with catalog.writing() as view:
        assert view.meta("format") == CHECKED_FORMAT
        view.db.execute("DELETE FROM meta WHERE key = 'precision'")
    catalog.close()
    with pytest.raises(DataLoss, match="'precision' is gone"):
        Collection(tmp_path / "c")


def test_a_codebook_is_learned_from_the_first_vectors_and_never_again(tmp_path: Path) -> None:
    tokens = documents()
    with Collection.create(tmp_path / "c", DIM, precision="pq:32") as collection, Collection(tmp_path / "c") as reader:
        with reader.snapshot() as snapshot:
            assert not len(snapshot.search(tokens.take([1]), 5)[0])
        collection.live.upsert(["empty"], tokens.take([0]))
        with collection.catalog.reading() as view:
            assert view.resource("precision") is None
        collection.live.upsert(["a"], tokens.take([1]))
        with collection.catalog.reading() as view:
            learned = view.resource("precision")
        collection.live.upsert(["b", "c"], tokens.take([2, 3]))
        collection.compact(retrain=True)
        with collection.catalog.reading() as view:
            assert view.resource("precision") == learned
        # Another process that was there before finds it.
        with reader.snapshot() as snapshot:
            (hits,) = snapshot.search(tokens.take([2]), 5)
            assert snapshot.documents(hits.docs)[0].id == "b"
    catalog = Catalog(tmp_path / "c")
    with catalog.writing() as view:
        view.db.execute("DELETE FROM resources WHERE key = 'precision'")
    catalog.close()
    with (
        Collection(tmp_path / "c") as collection,
        collection.snapshot() as snapshot,
        pytest.raises(DataLoss, match="codebook of precision pq:32 is gone"),
    ):
        snapshot.search(tokens.take([1]), 5)
