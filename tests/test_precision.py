"""Collections whose vectors are kept in one byte a dimension: every store, bulk and live, against what the records stand for."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from plait.index.catalog import PRECISION_FORMAT, Catalog
from plait.index.checkup import check_collection
from plait.index.codecs import Bytes
from plait.index.collection import Collection
from plait.index.errors import DataLoss, InvalidArgument
from plait.index.scoring import SearchParams
from plait.index.tokens import Tokens, from_matrices

DIM, DOCUMENTS = 24, 400


def documents() -> Tokens:
    rng = np.random.default_rng(4)
    lengths = [0, *rng.integers(1, 9, DOCUMENTS - 1)]
    return from_matrices([rng.standard_normal((n, DIM)).astype(np.float32) for n in lengths], DIM)


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8", "faiss:IVF,SQfp16"])
def test_every_store_ranks_by_what_the_records_stand_for(tmp_path: Path, store: str) -> None:
    tokens, query = documents(), from_matrices([np.random.default_rng(5).standard_normal((6, DIM)).astype(np.float32)])
    kept = Bytes(DIM).floats(Bytes(DIM).encode(tokens.vectors))
    scores = {d: oracle.maxsim(query.vectors, kept[tokens.rows(d)]) for d in range(1, DOCUMENTS)}
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
            np.testing.assert_array_equal(why.document.vectors, kept[tokens.rows(int(found[0].id))])

    with Collection.create(tmp_path / "c", DIM, store, precision="int8") as collection:
        with collection.builder() as builder:
            builder.add(ids[:150], tokens.take(range(150)))
            builder.add(ids[150:250], tokens.take(range(150, 250)))
            builder.publish()
        collection.live.upsert(ids[250:], tokens.take(range(250, DOCUMENTS)))
        same(collection)
        collection.seal()
        same(collection)
        collection.compact()
        same(collection)
        stats = collection.stats()
        assert (stats["precision"], len(stats["segments"])) == ("int8", 1)
        folder = next((tmp_path / "c").glob("segment-*"))
        assert (folder / "vectors").stat().st_size == len(tokens.vectors) * (DIM + 4)
    assert check_collection(tmp_path / "c") == []


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
    with pytest.raises(InvalidArgument, match="for token vectors, and dim is 0"):
        Collection.create(tmp_path / "a", 0, terms=True, precision="int8")
    Collection.create(tmp_path / "c", DIM, precision="int8").close()
    catalog = Catalog(tmp_path / "c")
    with catalog.writing() as view:
        assert view.meta("format") == PRECISION_FORMAT
        view.db.execute("DELETE FROM meta WHERE key = 'precision'")
    catalog.close()
    with pytest.raises(DataLoss, match="'precision' is gone"):
        Collection(tmp_path / "c")
