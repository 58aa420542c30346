"""The way of a document through a search ends where the search says: in its hits, or at the stage that kept it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import matrices, maxsim, normal
from plait.index.codecs import pq4
from plait.index.kernels.vectors import widen
from plait.index.late.code_scores import codec_error
from plait.index.tokens import Tokens, from_vectors
from plait.retrieval.retriever import Retriever
from plait.retrieval.routes.find import Queries, by_lane, run
from plait.retrieval.routes.options import SearchOptions
from plait.retrieval.routes.stages import Stage, returned, way_of

DIM, DOCUMENTS, K = 16, 90, 3


def filled(path: Path, **settings: Any) -> tuple[Retriever, Tokens]:
    rng = np.random.default_rng(0)
    tokens = normal(rng, rng.integers(1, 7, DOCUMENTS).tolist(), DIM)
    tokens = tokens.with_vectors(tokens.vectors.astype(np.float16))
    index = Retriever.create(path, encoder=None, dim=DIM, **settings)
    index.add_tokens([f"d{i}" for i in range(DOCUMENTS)], tokens, [{"n": i} for i in range(DOCUMENTS)])
    return index, tokens


def query(seed: int) -> Tokens:
    return normal(np.random.default_rng(seed), [4], DIM)


def ways(index: Retriever, asked: Any, **search: Any) -> dict[str, list[Stage]]:
    return {f"d{i}": index.explain(asked, f"d{i}", k=K, **search).stages for i in range(DOCUMENTS)}


@pytest.mark.parametrize(
    ("settings", "search"),
    [
        ({"store": "exact"}, {}),
        ({"store": "flat"}, {"candidates": 12}),
        ({"store": "lists"}, {"candidates": 12, "nprobe": 2}),
        ({"store": "flat"}, {"exact": True}),
        ({"store": "flat"}, {"candidates": 12, "filter": {"range": {"n": {"gte": 40}}}}),
        ({"store": "lists"}, {"candidates": 12, "nprobe": 3, "filter": {"range": {"n": {"lt": 50}}}}),
        ({"store": "exact", "system": "xtr"}, {"k_token": 20}),
        ({"store": "faiss:IVF16,SQ8"}, {"candidates": 12, "nprobe": 2, "k_token": 30}),
    ],
)
def test_the_way_ends_where_the_search_says(tmp_path: Path, settings: Any, search: Any) -> None:
    if settings["store"].startswith("faiss"):
        pytest.importorskip("faiss", reason="the extra `faiss` is not installed")
    index, tokens = filled(tmp_path / "c", **settings)
    (hits,) = index.search(query(1), K, **search)
    found = ways(index, query(1), **search)
    assert {id for id, way in found.items() if returned(way)} == {h.id for h in hits}
    for rank, hit in enumerate(hits, 1):
        last = found[hit.id][-1]
        assert (last.rank, last.limit, last.score) == (rank, K, hit.score)
        assert last.cutoff == hits[-1].score
    coded = {id: way[-2] for id, way in found.items() if len(way) > 1 and way[-2].name == "codes"}
    if settings["store"] in ("flat", "lists") and "exact" not in search:
        _check_codes(index, tokens, query(1), coded, [h.id for h in hits])
    else:
        assert not coded
    index.close()


def _check_codes(index: Retriever, tokens: Tokens, asked: Tokens, coded: dict[str, Stage], hits: list[str]) -> None:
    passed = [id for id, stage in coded.items() if stage.passed]
    assert len(passed) == 12 and {s.limit for s in coded.values()} == {12}
    # What the codes let through, ranked exactly, is the answer.
    exact = {id: maxsim(asked.vectors, matrices(tokens)[int(id[1:])]) for id in passed}
    assert sorted(exact, key=lambda id: -exact[id])[:K] == hits
    ranks = sorted(s.rank for s in coded.values() if s.rank is not None)
    assert ranks == list(range(1, len(ranks) + 1))
    worst = min(s.score for s in coded.values() if s.passed and s.score is not None)
    assert {s.cutoff for s in coded.values()} == {worst}
    with index.collection.catalog.reading() as view:
        book = pq4.Codebook.from_bytes(view.resource("codebook") or b"")
    for id in (passed[0], hits[0], "d89"):
        if id in coded:
            rows = widen(tokens.vectors[tokens.rows(int(id[1:]))])
            decoded = pq4.decode(book, pq4.encode(book, rows), len(rows))
            expected = maxsim(asked.vectors, decoded) - maxsim(asked.vectors, rows)
            assert coded[id].codec_error == pytest.approx(expected, abs=1e-4) and abs(expected) > 1e-3


def test_fresh_documents_have_no_codes(tmp_path: Path) -> None:
    index, _ = filled(tmp_path / "c", store="flat")
    index.upsert_tokens(["fresh"], normal(np.random.default_rng(9), [3], DIM))
    way = index.explain(query(1), "fresh", k=K, candidates=12).stages
    assert [s.name for s in way] == ["tokens"] and way[0].score is not None
    with index.collection.snapshot() as snapshot:
        (part, *_) = snapshot.state.parts[::-1]
        assert codec_error(part.segment, query(1).vectors, 0) is None
    index.close()


def test_a_filter_that_keeps_it_out_is_the_end_of_the_way(tmp_path: Path) -> None:
    index, _ = filled(tmp_path / "c")
    (only,) = index.explain(query(1), "d7", k=K, filter={"n": 8}).stages
    assert only == Stage("filter", False)
    assert not index.explain(query(1), "d7", filter={"n": 8}).stages  # not asked for
    index.close()


WORDS = ("moon", "sea", "tide", "fox", "bread", "yeast", "dusk", "king")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Retriever:
    pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    index = Retriever.create(tmp_path_factory.mktemp("texts") / "c", terms="bm25")
    rng = np.random.default_rng(3)
    made = [{"id": f"d{i}", "text": " ".join(rng.choice(WORDS, 3))} for i in range(20)]
    index.add(made)
    return index


@pytest.mark.parametrize("mode", ["terms", "hybrid", "rerank"])
def test_ways_of_several_stages_end_where_the_search_says(texts: Retriever, mode: str) -> None:
    search = {"mode": mode, "depth": 6}
    for asked in ("moon and sea",):
        queries = texts.encode([asked], **search)
        hits = texts.search(asked, K, **search)
        found = {f"d{i}": texts.explain(queries, f"d{i}", k=K, **search).stages for i in range(20)}
        assert {id for id, way in found.items() if returned(way)} == {h.id for h in hits}
        for rank, hit in enumerate(hits, 1):
            last = found[hit.id][-1]
            assert (last.rank, last.cutoff) == (rank, hits[-1].score) and last.score == pytest.approx(hit.score)
        names = {tuple(s.name for s in way) for way in found.values()}
        expected = {
            "terms": {("terms",)},
            "hybrid": {("tokens", "terms", "fusion")},
            "rerank": {("terms",), ("terms", "rerank")},
        }
        assert names == expected[mode]
        shared = [way[0] for way in found.values() if way[0].rank is None]
        assert all(not s.passed for s in shared)


COUNT = 60
"""Documents of `lanes`: in bulk, sealed and fresh."""


def lanes(path: Path, kind: str) -> tuple[Retriever, Queries]:
    """A collection with the lanes that the kind has, in several segments, and a query for all of them."""
    rng = np.random.default_rng(11)
    vectors = rng.standard_normal((COUNT + 1, 4)).astype(np.float16)
    if kind == "coil":
        index = Retriever.create(path, encoder=None, system="coil", dim=DIM, vector=4, policy=None)
        tokens = normal(rng, rng.integers(1, 7, COUNT + 1).tolist(), DIM)
        ids = rng.integers(0, 9, len(tokens.vectors)).astype(np.uint32)
        tokens = replace(tokens, ids=ids, globals_=vectors)
        payloads = [{"n": i} for i in range(COUNT)]
        for write, first, last in ((index.add_tokens, 0, 30), (index.upsert_tokens, 30, COUNT)):
            write([f"d{i}" for i in range(first, last)], tokens.take(range(first, last)), payloads[first:last])
        return index, Queries(tokens.take([COUNT]))
    encoder = "minilm" if kind == "three" else None
    # BM25 and a vector are no sum.
    terms = "binary" if kind == "sum" else "bm25"
    index = Retriever.create(path, encoder=encoder, terms=terms, vector=True if encoder else 4, policy=None)
    documents = [{"id": f"d{i}", "text": " ".join(rng.choice(WORDS, 1 + i % 4)), "n": i} for i in range(COUNT)]
    if not encoder:
        documents = [{**d, "vector": v.tolist()} for d, v in zip(documents, vectors, strict=False)]
    index.add(documents[:30])
    index.upsert(documents[30:50])
    index.collection.seal()
    index.upsert(documents[50:])
    if encoder:
        return index, index.encode(["the moon and the sea"], mode="hybrid")
    return index, Queries(from_vectors(vectors[COUNT:]), index.encode(["the moon and the sea"], mode="terms").terms)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Retriever, Queries]]:
    root = tmp_path_factory.mktemp("lanes")
    return cache(lambda kind: lanes(root / kind, kind))


HYBRID: dict[str, Any] = {"mode": "hybrid", "depth": 7}
LATE = {"filter": {"range": {"n": {"gte": 25}}}}


@pytest.mark.parametrize(
    ("kind", "search", "names"),
    [
        ("two", HYBRID, "terms vector fusion"),
        ("two", {**HYBRID, "weights": (1, 3), "fusion_k": 2}, "terms vector fusion"),
        *(
            ("two", {**HYBRID, "fusion": "weighted", "normalise": how, "weights": (0.5, 2)}, "terms vector fusion")
            for how in ("minmax", "zscore", "none")
        ),
        ("two", {**HYBRID, "fusion": "weighted", **LATE}, "filter terms vector fusion"),
        ("two", {"mode": "vector"}, "vector"),
        ("two", {"mode": "vector", "exact": True, **LATE}, "filter vector"),
        ("two", {"mode": "terms", "term_candidates": 2, "query_terms": 1}, "terms"),
        ("three", HYBRID, "tokens terms vector fusion"),
        ("three", {**HYBRID, "fusion": "weighted", "weights": (1, 0.25, 2)}, "tokens terms vector fusion"),
        ("three", {"mode": "rerank", "depth": 7}, "terms rerank"),
        ("three", {"mode": "vector"}, "vector"),
        ("sum", {"mode": "sum"}, "sum"),
        ("sum", {"mode": "sum", **LATE}, "filter sum"),
        ("sum", {"mode": "hybrid", "depth": 7, "fusion": "weighted"}, "terms vector fusion"),
        ("coil", {}, "tokens"),
        ("coil", {"exact": True, **LATE}, "filter tokens"),
        ("coil", {"mode": "vector"}, "vector"),
    ],
)
def test_ways_by_every_lane_and_fusion_end_where_the_search_says(
    collections: Callable[[str], tuple[Retriever, Queries]], kind: str, search: dict[str, Any], names: str
) -> None:
    if kind in ("three", "sum"):
        pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    index, asked = collections(kind)
    route = index.route(SearchOptions(**search), K)
    with index.collection.snapshot() as snapshot:
        (hits,) = run(snapshot, route, asked, K)
        (deep,) = run(snapshot, replace(route, depth=COUNT), asked, COUNT)
        numbers = {d.id: d.number for d in snapshot.documents(snapshot.search_vectors(_whole(asked), COUNT)[0].docs)}
        assert len(numbers) == COUNT and len(hits) == K
        found = {number: way_of(snapshot, route, asked, number, K).stages for number in numbers.values()}
    ways_taken = {tuple(stage.name for stage in way) for way in found.values()}
    longest = tuple(names.split())
    assert longest in ways_taken and all(way == longest[: len(way)] for way in ways_taken)
    assert {number for number, way in found.items() if returned(way)} == set(hits.docs.tolist())
    for rank, (number, score) in enumerate(zip(hits.docs.tolist(), hits.scores.tolist(), strict=True), 1):
        last = found[number][-1]
        assert (last.rank, last.score, last.limit, last.cutoff) == (rank, score, K, float(hits.scores[-1]))
    if len(longest) == 1 and "term_candidates" not in search:
        # A single lane tells the rank of every document that it ranks, beyond the k best as well.
        ranks = {number: (way[0].rank, way[0].score) for number, way in found.items() if way[0].rank is not None}
        places = enumerate(zip(deep.docs.tolist(), deep.scores.tolist(), strict=True), 1)
        assert ranks == {number: (rank, score) for rank, (number, score) in places}
    for lane in set(longest) & {"tokens", "terms", "vector"} if "fusion" in longest else ():
        told = {number: stage for number, way in found.items() for stage in way if stage.name == lane}
        with index.collection.snapshot() as snapshot:
            (ranking,) = by_lane(snapshot, route, lane, asked, route.depth)
        # What a lane gives to the fusion, and from which of its scores on.
        assert {n for n, s in told.items() if s.passed} == set(ranking.docs.tolist())
        assert {s.cutoff for s in told.values()} == {float(ranking.scores[-1])}
        at = {n: (s.rank, s.score) for n, s in told.items() if s.passed}
        pairs = enumerate(zip(ranking.docs.tolist(), ranking.scores.tolist(), strict=True), 1)
        assert at == {n: (rank, score) for rank, (n, score) in pairs}


def _whole(queries: Queries) -> np.ndarray:
    assert queries.tokens is not None and queries.tokens.globals_ is not None
    return queries.tokens.globals_
