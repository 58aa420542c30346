"""Exact mode equals brute force, for every system, however documents are spread over segments."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.collection import Collection
from plait.index.errors import InvalidArgument
from plait.index.hits import Hits, best
from plait.index.late.exact import search_tokens
from plait.index.params import Scoring, SearchParams
from plait.index.search.alignment import Alignment
from plait.index.tokens import Tokens, concatenate, from_matrices

TOLERANCE = 1e-5
XTR = Scoring("retrieved")


def make(folder: Path, batches: list[Tokens], store: str = "exact") -> Collection:
    """One segment per batch; document numbers in order, ids d0, d1, ..."""
    collection = Collection.create(folder, batches[0].dim, store)
    first = 0
    for batch in batches:
        with collection.builder() as writer:
            writer.add([f"d{first + i}" for i in range(len(batch))], batch)
            writer.publish()
        first += len(batch)
    return collection


def search(collection: Collection, *arguments, **options) -> list[Hits]:
    with collection.snapshot() as snapshot:
        return snapshot.search(*arguments, **options)


def explain(collection: Collection, *arguments, **options) -> Alignment:
    with collection.snapshot() as snapshot:
        return snapshot.explain(*arguments, **options)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """A fresh folder at every call: hypothesis runs one test many times."""
    return lambda: tmp_path_factory.mktemp("collection")


spread = st.integers(1, 9).flatmap(
    lambda dim: st.tuples(
        st.lists(oracle.ragged(dim=dim), min_size=1, max_size=3),
        oracle.ragged(dim=dim, documents=3, longest=5, shortest=1),
    )
)


@settings(max_examples=40, deadline=None)
@given(spread, st.integers(1, 40))
def test_colbert_is_brute_force_maxsim(folders, drawn: tuple[list[Tokens], Tokens], k: int) -> None:
    batches, queries = drawn
    documents = oracle.matrices(concatenate(batches))
    found = search(make(folders(), batches), queries, k)
    for query, hits in zip(oracle.matrices(queries), found, strict=True):
        scores = {d: oracle.maxsim(query, document) for d, document in enumerate(documents)}
        oracle.same_ranking(hits, scores, k, TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(spread, st.integers(1, 60), st.sampled_from(["kth", "zero", "none", 0.2]))
def test_xtr_is_brute_force_with_a_global_kth_score(
    folders, drawn: tuple[list[Tokens], Tokens], k_token: int, missing: str | float
) -> None:
    batches, queries = drawn
    documents = oracle.matrices(concatenate(batches))
    collection = make(folders(), batches)
    found = search(collection, queries, 50, Scoring("retrieved", missing), SearchParams(k_token=k_token))
    for query, hits in zip(oracle.matrices(queries), found, strict=True):
        oracle.same_ranking(hits, oracle.xtr(query, documents, k_token, missing), 50, TOLERANCE)


@settings(max_examples=25, deadline=None)
@given(spread)
def test_xtr_that_retrieves_everything_is_colbert(folders, drawn: tuple[list[Tokens], Tokens]) -> None:
    batches, queries = drawn
    collection = make(folders(), batches)
    every = SearchParams(k_token=10_000)
    for a, b in zip(search(collection, queries, 99), search(collection, queries, 99, XTR, every), strict=True):
        oracle.same_ranking(b, dict(zip(a.docs.tolist(), a.scores.tolist(), strict=True)), 99, TOLERANCE)


@settings(max_examples=30, deadline=None)
@given(spread, st.integers(1, 30), st.sampled_from([Scoring(), XTR, Scoring("retrieved", "none")]))
def test_explanations_sum_to_the_score(
    folders, drawn: tuple[list[Tokens], Tokens], k_token: int, scoring: Scoring
) -> None:
    batches, queries = drawn
    collection, params = make(folders(), batches), SearchParams(k_token=k_token)
    vectors = {i: m for i, m in enumerate(oracle.matrices(concatenate(batches)))}
    for q, hits in enumerate(search(collection, queries, 5, scoring, params)):
        query = queries.take([q])
        for doc, score in zip(hits.docs.tolist(), hits.scores.tolist(), strict=True):
            why = explain(collection, query, doc, scoring, params)
            assert abs(why.score - score) < TOLERANCE
            assert abs(float(why.contributions.sum()) - score) < TOLERANCE
            met = why.matches >= 0
            assert met.all() or scoring.tokens == "retrieved"
            pairs = query.vectors[met].astype(np.float64) * vectors[doc][why.matches[met]]
            np.testing.assert_allclose(pairs.sum(axis=1), why.similarities[met], atol=TOLERANCE)


def test_a_document_that_was_not_retrieved_is_imputed_throughout(tmp_path: Path) -> None:
    documents = from_matrices([np.array([[1.0, 0]], np.float32), np.array([[0, 1.0]], np.float32)])
    collection = make(tmp_path, [documents])
    query = from_matrices([np.array([[1.0, 0]], np.float32)])
    why = explain(collection, query, 1, XTR, SearchParams(k_token=1))
    assert why.matches.tolist() == [-1] and why.contributions.tolist() == [1.0]


def test_threads_do_not_change_a_ranking(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    batch = from_matrices([rng.standard_normal((n, 24)).astype(np.float16) for n in rng.integers(0, 30, 300)])
    queries = from_matrices([rng.standard_normal((9, 24)).astype(np.float32) for _ in range(4)])
    make(tmp_path, [batch])
    for scoring in (Scoring(), XTR):
        one, two = (search(Collection(tmp_path, threads=t), queries, 20, scoring) for t in (1, 2))
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a.docs, b.docs)
            np.testing.assert_array_equal(a.scores, b.scores)


def test_bad_searches_are_refused(tmp_path: Path) -> None:
    collection = make(tmp_path, [from_matrices([np.ones((2, 3), np.float32)])])
    query = from_matrices([np.ones((1, 3), np.float32)])
    with pytest.raises(InvalidArgument, match="k is 0"):
        search(collection, query, 0)
    with pytest.raises(InvalidArgument, match="4 dimensions, this collection has 3"):
        search(collection, from_matrices([np.ones((1, 4), np.float32)]))
    with pytest.raises(InvalidArgument, match="query 1 has no tokens"):
        search(collection, from_matrices([np.ones((1, 3), np.float32), np.zeros((0, 3), np.float32)]))
    with pytest.raises(InvalidArgument, match="nprobe is 0"):
        SearchParams(nprobe=0)
    with pytest.raises(InvalidArgument, match="most"):
        Scoring("most")
    with pytest.raises(InvalidArgument, match="kth"):
        Scoring("retrieved", "mean")


def test_an_empty_collection_finds_nothing(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, 3)
    query = from_matrices([np.ones((1, 3), np.float32)])
    for scoring in (Scoring(), XTR):
        assert len(search(collection, query, 5, scoring)[0]) == 0


@given(st.lists(st.integers(-3, 3), max_size=30), st.integers(1, 12), st.integers(0, 99))
def test_best_orders_by_score_then_number(values: list[int], k: int, seed: int) -> None:
    docs = np.random.default_rng(seed).permutation(len(values))
    scores = np.array([-np.inf if v == -3 else v for v in values], np.float32)
    wanted = sorted(((-s, d) for s, d in zip(scores, docs, strict=True) if s > -np.inf))[:k]
    assert best(docs, scores, k).docs.tolist() == [d for _, d in wanted]


@pytest.mark.parametrize("k_token", [1, 50, 3000, 20_000])
def test_token_retrieval_over_many_blocks_is_a_sort(tmp_path: Path, k_token: int) -> None:
    """More tokens than one block and one sort hold, with many ties, all rows or some."""
    rng = np.random.default_rng(5)
    batch = from_matrices([(rng.integers(-2, 3, (400, 64)) / 2).astype(np.float16) for _ in range(40)])
    query = (rng.integers(-2, 3, (3, 64)) / 2).astype(np.float32)
    collection = make(tmp_path, [batch])
    with collection.snapshot() as snapshot:
        segment = snapshot.state.parts[0].segment
        products = query @ batch.vectors.astype(np.float32).T
        for rows in (None, rng.random(len(batch.vectors)) < 0.3):
            scores, found = search_tokens(segment, query, k_token, rows)
            allowed = np.arange(products.shape[1]) if rows is None else np.flatnonzero(rows)
            for line in range(len(query)):
                wanted = allowed[np.lexsort((allowed, -products[line, allowed]))][:k_token]
                np.testing.assert_array_equal(found[line][found[line] >= 0], wanted)
                np.testing.assert_array_equal(scores[line][: len(wanted)], products[line, wanted])
