"""What an explanation says of a document is what the search does with it: for every store, mode and setting."""

from __future__ import annotations

import pickle
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import normal
from plait.index.tokens import from_vectors
from plait.retrieval.routes.find import Queries
from plait.retrieval.routes.stages import returned

import plait

DIM, DOCUMENTS = 16, 400
STORES = ("exact", "flat", "lists", "auto", "faiss:IVF16,SQ8")
WORDS = ("moon", "sea", "tide", "fox", "bread", "yeast", "dusk", "king")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explained")


@cache
def filled(root: Path, store: str, system: str) -> plait.Retriever:
    """Short documents, so that few lists hold much: in a sealed segment, a second one, and fresh."""
    if store.startswith("faiss"):
        pytest.importorskip("faiss", reason="the extra `faiss` is not installed")
    rng = np.random.default_rng(5)
    tokens = normal(rng, rng.integers(1, 3, DOCUMENTS).tolist(), DIM)
    index = plait.create(
        root / f"{store}-{system}".replace(":", "-"), encoder=None, dim=DIM, store=store, system=system
    )
    ids, payloads = [f"d{i}" for i in range(DOCUMENTS)], [{"n": i} for i in range(DOCUMENTS)]
    index.add_tokens(ids[:330], tokens.take(range(330)), payloads[:330])
    index.add_tokens(ids[330:380], tokens.take(range(330, 380)), payloads[330:380])
    index.upsert_tokens(ids[380:], tokens.take(range(380, DOCUMENTS)), payloads[380:])
    return index


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "nprobe": st.sampled_from([1, 2, 5]),
        "candidates": st.sampled_from([1, 60, 200]),
        "k_token": st.sampled_from([3, 25]),
        "filter": st.sampled_from([{"range": {"n": {"gte": 150}}}, {"range": {"n": {"lt": 9}}}]),
    },
)


@pytest.mark.parametrize("system", ["colbert", "xtr"])
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=25)
@given(search=SETTINGS, k=st.integers(1, 12), seed=st.integers(0, 50))
def test_a_document_passes_all_stages_if_and_only_if_it_is_a_hit(
    root: Path, store: str, system: str, search: dict[str, Any], k: int, seed: int
) -> None:
    index = filled(root, store, system)
    query = normal(np.random.default_rng(seed), [1 + seed % 3], DIM)
    (hits,) = index.search(query, k, **search)
    for id in {hit.id for hit in hits} | {f"d{i}" for i in range(seed % 31, DOCUMENTS, 31)}:
        why = index.explain(query, id, k=k, **search)
        rank = next((rank for rank, hit in enumerate(hits, 1) if hit.id == why.id), None)
        assert all(stage.passed for stage in why.stages) == (rank is not None), (why.id, why.stages)
        expected = f"Returned at rank {rank} of" if rank else "Not returned: "
        assert why.verdict.startswith(expected), why.verdict


@cache
def lanes(root: Path) -> plait.Retriever:
    rng = np.random.default_rng(6)
    index = plait.create(root / "lanes", encoder=None, vector=4, terms={"one": "bm25", "two": "binary"})
    vectors = rng.standard_normal((40, 4))
    texts = [" ".join(rng.choice(WORDS, 1 + i % 4)) for i in range(40)]
    documents = [
        {"id": f"d{i}", "text": t, "vector": v.tolist()} for i, (t, v) in enumerate(zip(texts, vectors, strict=True))
    ]
    index.add(documents[:25])
    index.upsert(documents[25:])
    return index


@settings(max_examples=40)
@given(
    k=st.integers(1, 9),
    depth=st.integers(1, 12),
    fusion=st.one_of(
        st.fixed_dictionaries({"fusion": st.just("rrf"), "fusion_k": st.sampled_from([0.0, 2.0, 60.0])}),
        st.fixed_dictionaries(
            {"fusion": st.just("weighted"), "normalise": st.sampled_from(["minmax", "zscore", "none"])}
        ),
    ),
    weights=st.none() | st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 3.0])] * 3).filter(any),
    seed=st.integers(0, 20),
)
def test_the_lanes_of_a_hybrid_search_sum_to_the_score_of_the_hit(
    root: Path, k: int, depth: int, fusion: dict[str, Any], weights: tuple[float, ...] | None, seed: int
) -> None:
    index = lanes(root)
    search = {"mode": "hybrid", "depth": depth, **fusion, **({"weights": weights} if weights else {})}
    vector = from_vectors(np.random.default_rng(seed).standard_normal((1, 4)))
    query = Queries(vector, index.encode([f"{WORDS[seed % 8]} and sea"], lanes=("one", "two")).terms)
    (hits,) = index.search(query, k, **search)
    by_id = {hit.id: hit for hit in hits}
    for i in range(seed % 3, 40, 3):
        why = index.explain(query, f"d{i}", k=k, **search)
        assert returned(why.stages) == (why.id in by_id)
        assert [lane.lane for lane in why.lanes] == ["one", "two", "vector"]
        assert why.score == pytest.approx(sum(lane.contribution for lane in why.lanes), rel=1e-6, abs=1e-6)
        if hit := by_id.get(why.id):
            assert why.score == hit.score == hit.explain().score
        for lane in why.lanes:
            assert (lane.rank is None) == (lane.score is None)


def test_a_lane_says_what_its_rank_adds(root: Path) -> None:
    index = lanes(root)
    search = {"mode": "hybrid", "lanes": ("one", "vector"), "weights": (2.0, 0.5), "fusion_k": 10}
    query = Queries(from_vectors(np.ones((1, 4))), index.encode(["moon"], mode="terms").terms)
    (hits,) = index.search(query, 5, **search)
    for hit in hits:
        why = hit.explain()
        for lane in why.lanes:
            assert lane.contribution == pytest.approx(lane.weight / (10 + lane.rank) if lane.rank else 0.0)
        assert [lane.weight for lane in why.lanes] == [2.0, 0.5]


def test_the_verdict_says_why_a_document_is_missing(root: Path) -> None:
    index = filled(root, "exact", "colbert")
    query = normal(np.random.default_rng(1), [3], DIM)
    (hits,) = index.search(query, DOCUMENTS)
    third = index.explain(query, hits[2].id, k=2).verdict
    assert third == (
        f"Not returned: by tokens it has rank 3 with the score {hits[2].score:.4f}, and 2 pass "
        f"(the last of them has {hits[1].score:.4f})."
    )
    assert index.explain(query, "d7", k=2, filter={"n": 8}).verdict == (
        "Not returned: the document does not satisfy the filter."
    )
    lost = lanes(root)
    verdict = lost.explain("fox", _without(lost, "fox"), k=3, mode="terms").verdict
    assert verdict.startswith("Not returned: the search by one does not find it")


def _without(index: plait.Retriever, word: str) -> str:
    return next(d["id"] for d in index.list_documents(100) if word not in d["text"])


def test_hits_are_pickled_and_taken_apart_without_their_collection(root: Path) -> None:
    index = filled(root, "exact", "colbert")
    ((hit, *_),) = index.search(normal(np.random.default_rng(1), [3], DIM), 2)
    copy = pickle.loads(pickle.dumps(hit))
    assert copy == hit and asdict(hit) == hit.as_json() == asdict(copy)
    assert repr(hit) == repr(copy) == f"Hit({hit.id!r}: {hit.score:.4f}, {hit.payload!r})"
    with pytest.raises(plait.FailedPrecondition, match=rf"call explain\(query, {hit.id!r}\)"):
        copy.explain()
