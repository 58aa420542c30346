"""The way of a document through a search ends where the search says: in its hits, or at the stage that kept it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import matrices, maxsim, normal
from plait.index import pq4
from plait.index.code_scores import codec_error
from plait.index.kernels import widen
from plait.index.tokens import Tokens
from plait.retrieval.retriever import Retriever
from plait.retrieval.stages import Stage, returned

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
