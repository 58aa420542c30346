"""COIL and global vectors through a collection, against their formulas by loops, whatever the
store and where documents lie."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.collection import Collection
from plait.index.errors import InvalidArgument
from plait.index.filters.sql import Range
from plait.index.hits import Hits
from plait.index.params import Scoring
from plait.index.reading.check import check_collection
from plait.index.reading.snapshot import Snapshot
from plait.index.tokens import Tokens, concatenate, from_matrices, from_vectors

COIL = Scoring("coil")


def keyed(rng: np.random.Generator, lengths: list[int], dim: int, width: int, vocabulary: int) -> Tokens:
    """Documents with ids, few of them distinct, and global vectors if there is a width; float16-exact, with ties."""
    plain = oracle.normal(rng, lengths, dim)
    vectors = np.round(plain.vectors * 4) / 4
    ids = rng.integers(0, vocabulary, len(vectors)).astype(np.uint32) * 7
    whole = (np.round(rng.standard_normal((len(lengths), width)) * 4) / 4).astype(np.float32) if width else None
    return replace(plain, vectors=vectors.astype(np.float16), ids=ids, globals_=whole)


def truth(query: Tokens, documents: Tokens) -> dict[int, float]:
    scores = ((d, oracle.coil(query, documents.take([d]))) for d in range(len(documents)))
    return {d: s for d, s in scores if s is not None}


def assert_hits(hits: Hits, wanted: dict[int, float], k: int) -> None:
    """The k best, ties by number, scores rounded once to float32."""
    order = sorted(wanted, key=lambda d: (-np.float32(wanted[d]), d))[:k]
    np.testing.assert_allclose(hits.scores, [wanted[d] for d in order], rtol=1e-6, atol=1e-6)
    assert hits.docs.tolist() == order


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=25),
    st.sampled_from([1, 5, 8, 33]),
    st.sampled_from([0, 0, 3, 40]),
    st.integers(1, 9),
    st.sampled_from(["contextual", "exact", "flat:8"]),
    st.sampled_from([1, 3, 40]),
    st.integers(0, 2**31),
)
def test_search_is_the_formula(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    dim: int,
    width: int,
    vocabulary: int,
    store: str,
    k: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    documents = keyed(rng, lengths, dim, width, vocabulary)
    queries = keyed(rng, [int(n) for n in rng.integers(0 if width else 1, 6, 3)], dim, width, vocabulary + 1)
    cut, n = int(rng.integers(0, len(lengths) + 1)), len(lengths)
    with Collection.create(tmp_path_factory.mktemp("c") / "c", dim, store, fields=["n"], vector=width) as collection:
        for some in (range(cut), range(cut, n)):
            payloads = [{"n": i} for i in some]
            collection.live.upsert([str(i) for i in some], documents.take(list(some)), payloads)
            if some.start == 0:
                collection.seal()
        with collection.snapshot() as snapshot:
            for q in range(3):
                query = queries.take([q])
                wanted = truth(query, documents)
                for exact in (False, True):
                    (hits,) = snapshot.search(query, k, COIL, exact=exact)
                    assert_hits(hits, wanted, k)
                    (hits,) = snapshot.search(query, k, COIL, filter=Range("n", lt=n // 2), exact=exact)
                    assert_hits(hits, {d: s for d, s in wanted.items() if d < n // 2}, k)
                    if query.globals_ is not None:
                        (hits,) = snapshot.search_vectors(query.globals_, k, exact=exact)
                        assert_hits(hits, {d: oracle.product(query, documents.take([d])) for d in range(n)}, k)
                given = list(range(n))[::-1]
                np.testing.assert_allclose(
                    snapshot.score_tokens(query, given, scoring=COIL), [wanted.get(d, 0) for d in given], rtol=1e-6
                )
                for d in range(n):
                    assert_explained(snapshot, query, d, wanted.get(d, 0))
        assert check_collection(collection.path) == []


def assert_explained(snapshot: Snapshot, query: Tokens, doc: int, score: float) -> None:
    """Contributions, and the product of the global vectors, sum to the score; every match is the best of its id."""
    why = snapshot.explain(query, doc, COIL)
    np.testing.assert_allclose(why.score, score, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(why.contributions.sum() + (why.vector or 0), score, rtol=1e-5, atol=1e-5)
    assert (why.vector is not None) == (query.globals_ is not None)
    ids, vectors = why.document.ids, why.document.vectors.astype(np.float64)
    ids = np.zeros(0, np.uint32) if ids is None else ids
    assert query.ids is not None
    for i, at in enumerate(why.matches.tolist()):
        products = vectors @ query.vectors[i].astype(np.float64)
        if at < 0:
            assert query.ids[i] not in ids and why.contributions[i] == 0
        else:
            assert ids[at] == query.ids[i]
            np.testing.assert_allclose(why.similarities[i], products[ids == ids[at]].max(), rtol=1e-6, atol=1e-7)
            assert why.contributions[i] == max(why.similarities[i], 0)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    documents = keyed(np.random.default_rng(0), [2, 0, 3], 4, 3, 5)
    collection = Collection.create(tmp_path / "c", 4, "contextual", vector=3)
    collection.live.upsert(["a", "b", "c"], documents)
    for change, message in (
        ({"ids": None}, "tokens with ids"),
        ({"globals_": None}, "give globals_"),
        ({"globals_": np.ones((3, 4), np.float32)}, "has 3 dimensions"),
        ({"globals_": np.full((3, 3), np.nan)}, "global vector 0 has NaN"),
        ({"globals_": np.full((3, 3), 1e5)}, "65504"),
    ):
        wrong = replace(documents, **change)
        with pytest.raises(InvalidArgument, match=message):
            collection.live.upsert(["a", "b", "d"], wrong)
        with collection.builder() as builder, pytest.raises(InvalidArgument, match=message):
            builder.add(["e", "f", "g"], wrong)
    query = documents.take([0])
    with collection.snapshot() as snapshot:
        for given, message in (
            (replace(query, ids=None), "no ids"),
            (replace(query, globals_=None), "give globals_ of 3"),
        ):
            with pytest.raises(InvalidArgument, match=message):
                snapshot.search(given, 3, COIL)
        with pytest.raises(InvalidArgument, match="k is 0"):
            snapshot.search(query, 0, COIL)
        with pytest.raises(InvalidArgument, match=r"\(1, 4\).*3 dimensions"):
            snapshot.search_vectors(np.ones((1, 4), np.float32), 3)
    assert len(collection) == 3
    collection.close()
    for dim, vector, store, message in (
        (4, -1, "exact", "vector is -1"),
        (4, 4097, "exact", "vector is 4097"),
        (0, 0, "exact", "terms or a vector alone"),
        (0, 2, "contextual", "for token vectors"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Collection.create(tmp_path / "d", dim, store, vector=vector)
    with Collection.create(tmp_path / "e", 4) as plain:
        plain.live.upsert(["a"], query)
        with plain.snapshot() as snapshot:
            assert snapshot.tokens(0).globals_ is None
            with pytest.raises(InvalidArgument, match="no global vectors"):
                snapshot.search_vectors(np.ones((1, 4), np.float32), 3)


def test_a_query_without_tokens_needs_a_global_vector(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", 4, "contextual") as collection:
        empty = replace(from_matrices([], 4), offsets=np.array([0, 0]), ids=np.zeros(0, np.uint32))
        collection.live.upsert(["a"], empty)
        collection.seal()
        with collection.snapshot() as snapshot, pytest.raises(InvalidArgument, match="query 0 has no tokens"):
            snapshot.search(empty, 3, COIL)


def test_columns_outlive_a_segment_of_empty_documents(tmp_path: Path) -> None:
    """Which has none on the disk: merging it with others must not drop theirs."""
    documents = keyed(np.random.default_rng(2), [0, 2, 3], 4, 0, 5)
    documents = replace(documents, spans=np.arange(10, dtype=np.uint32).reshape(5, 2), roles=np.ones(5, np.uint8))
    with Collection.create(tmp_path / "c", 4, "contextual") as collection:
        for i in range(3):
            collection.live.upsert([str(i)], documents.take([i]))
            collection.seal()
        collection.compact()
        with collection.snapshot() as snapshot:
            for column in ("ids", "spans", "roles", "vectors"):
                np.testing.assert_array_equal(getattr(snapshot.tokens(2), column), getattr(documents.take([2]), column))
            (hits,) = snapshot.search(documents.take([1]), 9, COIL)
            assert_hits(hits, truth(documents.take([1]), documents), 9)


def test_vectors_alone_are_sealed_and_merged_by_their_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((60, 9)).astype(np.float16)
    with Collection.create(tmp_path / "c", 0, vector=9) as collection:
        for start in range(0, 60, 20):
            ids = [str(i) for i in range(start, start + 20)]
            collection.live.upsert(ids, from_vectors(vectors[start : start + 20]))
            collection.seal()
        collection.compact()
        (row,) = collection.stats()["segments"]
        assert row["documents"] == 60 and collection.stats()["vector"] == 9
        assert collection.stats()["bytes"]["global_codes"] == 60 * 9
        query = rng.standard_normal((1, 9)).astype(np.float32)
        with collection.snapshot() as snapshot:
            (hits,) = snapshot.search_vectors(query, 60)
            products = vectors.astype(np.float64) @ query[0]
            assert hits.docs.tolist() == np.argsort(-products, kind="stable").tolist()
    assert check_collection(tmp_path / "c") == []


@pytest.mark.parametrize("precision", ["int8", "pq:32"])
def test_other_precisions_are_scored_as_what_their_records_stand_for(tmp_path: Path, precision: str) -> None:
    rng = np.random.default_rng(4)
    documents = keyed(rng, [3, 0, 5, 9, 1], 32, 0, 4)
    query = keyed(rng, [6], 32, 0, 5)
    with Collection.create(tmp_path / "c", 32, "exact", precision=precision) as collection:
        collection.live.upsert([str(i) for i in range(5)], documents)
        collection.seal()
        with collection.snapshot() as snapshot:
            kept = concatenate([snapshot.tokens(d) for d in range(5)])
            wanted = truth(query, kept)
            (hits,) = snapshot.search(query, 3, COIL)
            order = sorted(wanted, key=lambda d: -wanted[d])[:3]
            assert hits.docs.tolist() == order
            np.testing.assert_allclose(hits.scores, [wanted[d] for d in order], rtol=1e-6)
            for d in range(5):
                assert_explained(snapshot, query, d, wanted.get(d, 0))
