"""`min_score` is a filter of the finished ranking: in every mode, here, on the command line and over the wire."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell import plait as run

import plait

pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
COUNT, DIM = 30, 4
WORDS = ["moon", "tide", "sea", "red", "planet", "bread", "yeast", "fox", "hill", "rain"]
SEARCHES: dict[str, list[dict[str, Any]]] = {
    "tokens": [{}, {"exact": True}, {"filter": {"even": True}}],
    "xtr": [{}, {"k_token": 9, "missing": "zero"}],
    "lanes": [
        {"mode": "terms"},
        {"mode": "terms", "field": "german", "filter": {"even": True}},
        {"mode": "vector"},
        {"mode": "hybrid"},
        {"mode": "hybrid", "fusion": "weighted", "filter": {"even": False}},
        {"mode": "hybrid", "fusion": "weighted", "normalise": "none", "weights": (1, -2, 0.5)},
        {"scorer": "vector"},
        {"scorer": "german", "field": "bm25"},
    ],
    "sum": [{"mode": "sum"}, {"mode": "sum", "exact": True}],
}
CASES = [(kind, search) for kind, searches in SEARCHES.items() for search in searches]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection for each kind of search."""
    root, rng = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    for name, store, system in (("tokens", "flat", None), ("xtr", "auto", "xtr")):
        with plait.create(root / name, encoder=None, dim=DIM, store=store, system=system) as index:
            vectors = [rng.standard_normal((3, DIM)).astype(np.float32) for _ in range(COUNT)]
            payloads = [{"even": i % 2 == 0} for i in range(COUNT)]
            index.add_tokens([str(i) for i in range(COUNT)], plait.from_matrices(vectors), payloads)
    for name, terms in (("lanes", {"bm25": "bm25", "german": "bm25:german"}), ("sum", "binary")):
        with plait.create(root / name, encoder=None, terms=terms, vector=DIM) as index:
            index.add(
                {
                    "id": str(i),
                    "text": " ".join(rng.choice(WORDS, 5)),
                    "vector": rng.standard_normal(DIM).tolist(),
                    "even": i % 2 == 0,
                }
                for i in range(COUNT)
            )
    return root


@pytest.fixture(scope="module")
def opened(root: Path) -> dict[str, plait.Retriever]:
    return {kind: plait.open(root / kind) for kind in SEARCHES}


def asked(index: plait.Retriever, seed: int) -> plait.Queries:
    rng = np.random.default_rng(seed)
    if index.has_tokens:
        return plait.Queries(plait.from_matrices([rng.standard_normal((3, DIM)).astype(np.float32)]))
    terms = (
        index.encode([" ".join(rng.choice(WORDS, 3))], lanes=[*index.term_sides]) if len(index.term_sides) > 1 else None
    )
    rows = (terms or index.encode([" ".join(rng.choice(WORDS, 3))], mode="terms")).terms
    return plait.Queries(plait.from_vectors(rng.standard_normal((1, DIM)).astype(np.float32)), rows)


def plain(hits: list[plait.Hit]) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in hits]


@given(
    st.sampled_from(CASES),
    st.integers(0, 5),
    st.integers(1, COUNT),
    st.integers(0, COUNT - 1),
    st.sampled_from([-1, 0, 1]),
)
def test_exactly_the_ranking_without_what_scores_less(
    opened: dict[str, plait.Retriever], case: tuple[str, dict[str, Any]], seed: int, k: int, at: int, beside: int
) -> None:
    kind, search = case
    index, query = opened[kind], asked(opened[kind], seed)
    (whole,) = map(plain, index.search(query, COUNT, **search))
    # The score of a hit itself, and its neighbours among all floats: the bound belongs to the hits.
    score = whole[min(at, len(whole) - 1)][1] if whole else 0.0
    least = float(np.nextafter(score, beside * np.inf)) if beside else score
    (found,) = map(plain, index.search(query, k, min_score=least, **search))
    assert found == [pair for pair in whole if pair[1] >= least][:k]
    assert len(found) >= min(k, 1) or beside == 1 or not whole


def test_a_batch_is_cut_query_by_query(opened: dict[str, plait.Retriever]) -> None:
    rng = np.random.default_rng(3)
    queries = plait.from_matrices([rng.standard_normal((n, DIM)).astype(np.float32) for n in (1, 3, 5)])
    whole = opened["tokens"].search(queries, COUNT)
    least = float(np.median([hit.score for hits in whole for hit in hits]))
    cut = opened["tokens"].search(queries, COUNT, min_score=least)
    assert [plain(hits) for hits in cut] == [[p for p in plain(hits) if p[1] >= least] for hits in whole]
    assert len({len(hits) for hits in cut}) > 1


def test_an_explanation_is_of_every_document(opened: dict[str, plait.Retriever]) -> None:
    index, query = opened["tokens"], asked(opened["tokens"], 1)
    ((first, *_),) = index.search(query, 1)
    assert index.search(query, 1, min_score=first.score + 1) == [[]]
    for k in (None, 3):
        assert index.explain(query, first.id, k, min_score=first.score + 1) == index.explain(query, first.id, k)


def test_it_must_be_a_number(opened: dict[str, plait.Retriever]) -> None:
    for wrong in (float("nan"), float("inf"), "high"):
        with pytest.raises(plait.InvalidArgument, match=r"min_score is .*; it must be a") as caught:
            opened["tokens"].search(asked(opened["tokens"], 0), min_score=wrong)  # type: ignore[arg-type]
        assert caught.value.field == "min_score"


def test_a_server_leaves_out_the_same(root: Path, opened: dict[str, plait.Retriever]) -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    from served import Server

    server = Server(root)
    try:
        for kind, search in CASES:
            there, here = plait.connect(server.target).open(kind), opened[kind]
            query = asked(here, 2)
            (whole,) = here.search(query, COUNT, **search)
            least = whole[len(whole) // 2].score
            (mine,) = here.search(query, COUNT, min_score=least, **search)
            (theirs,) = there.search(query, COUNT, min_score=least, **search)
            assert plain(theirs) == plain(mine) and 0 < len(mine) < len(whole)
    finally:
        server.kill()


def test_the_command_line_leaves_out_the_same(root: Path) -> None:
    def ids(*flags: object) -> list[tuple[str, float]]:
        done = run("search", root / "lanes", "moon tide", "--mode", "terms", "--json", "-k", COUNT, *flags)
        return [(hit["id"], hit["score"]) for hit in json.loads(done.stdout)["hits"]]

    whole = ids()
    least = whole[len(whole) // 2][1]
    assert ids("--min-score", repr(least)) == [pair for pair in whole if pair[1] >= least] != whole
