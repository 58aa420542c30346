"""A search option that changes nothing is told, with the reason, and one that is told changes nothing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.retrieval.routes.options import SearchOptions

import plait

pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
TEXTS = {"a": "the tide rises with the moon", "b": "a red planet", "c": "tides of the red sea", "d": "the moon is red"}
QUERY = "red tides of the moon"
OPTIONS: dict[str, list[Any]] = {
    "k_token": [1, 50],
    "nprobe": [1, 4],
    "candidates": [1, 8],
    "missing": ["zero"],
    "depth": [1, 3],
    "fusion": ["rrf", "weighted"],
    "fusion_k": [0.0, 5.0],
    "normalise": ["none", "zscore"],
    "weights": [(1, 0), (0, 1)],
    "term_candidates": [1, 2],
    "alpha": [0.1, 0.5],
    "target_recall": [0.5],
}


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> plait.Retriever:
    """Two term fields, so that every kind of search is there but those by vectors."""
    index = plait.create(
        tmp_path_factory.mktemp("c") / "c", encoder=None, terms={"bm25": "bm25", "german": "bm25:german"}
    )
    index.add([{"id": id, "text": text} for id, text in TEXTS.items()])
    return index


def tokens(path: Path, store: str, system: str = "colbert") -> plait.Retriever:
    index = plait.create(path, encoder=None, dim=8, store=store, system=system)
    vectors = np.random.default_rng(0).standard_normal((40, 3, 8)).astype(np.float32)
    index.add_tokens([str(i) for i in range(40)], plait.from_matrices(list(vectors)))
    return index


def told(index: Any, query: Any = QUERY, **search: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        index.search(query, 2, **search)
    assert all(issubclass(one.category, plait.IdleOption) for one in caught)
    return [str(one.message) for one in caught]


@settings(max_examples=60)
@given(
    mode=st.sampled_from(["terms", "hybrid", "rerank"]),
    chosen=st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in OPTIONS.items()}),
)
def test_what_is_told_changes_nothing(lanes: plait.Retriever, mode: str, chosen: dict[str, Any]) -> None:
    search = {"mode": mode, **({"scorer": "german"} if mode == "rerank" else {}), **chosen}
    try:
        idle = told(lanes, **search)
    except plait.PlaitError:
        return  # refused, for another reason
    names = {text.split(" is ignored")[0] for text in idle}
    assert names <= chosen.keys()
    without = {name: value for name, value in search.items() if name not in names}
    ranking = [[(h.id, h.score) for h in lanes.search(QUERY, 2, **one)] for one in (search, without)]
    assert ranking[0] == ranking[1]
    assert not told(lanes, **without)


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ({"fusion": "weighted"}, "fusion is ignored: mode is terms, and it counts in hybrid"),
        ({"weights": (1, 1)}, "weights is ignored"),
        ({"depth": 5}, "it counts in hybrid or rerank"),
        ({"mode": "hybrid", "fusion": "rrf", "normalise": "none"}, "normalise is ignored: fusion is rrf"),
        ({"mode": "hybrid", "field": "bm25"}, "field is ignored: mode is hybrid"),
        ({"nprobe": 4}, "nprobe is ignored: a search by terms finds nothing by token vectors"),
        ({"missing": "zero"}, "missing is ignored"),
    ],
)
def test_options_of_other_modes(lanes: plait.Retriever, search: dict[str, Any], why: str) -> None:
    (note,) = told(lanes, **search)
    assert why in note
    assert lanes.route(SearchOptions(**search), 2).notes == (note,)
    assert not lanes.route(SearchOptions(**search), None).notes


@pytest.mark.parametrize(
    ("store", "idle"),
    [
        ("exact", {"nprobe", "candidates", "k_token", "target_recall"}),
        ("auto", {"nprobe", "candidates", "k_token", "target_recall"}),
        ("flat", {"nprobe", "k_token"}),
        ("lists", {"k_token"}),
    ],
)
def test_options_that_a_store_does_not_use(tmp_path: Path, store: str, idle: set[str]) -> None:
    with tokens(tmp_path / "c", store) as index:
        index.calibrate(depths=[2])
        query = plait.from_matrices([np.eye(3, 8, dtype=np.float32)])
        for name, value in (("nprobe", 2), ("candidates", 3), ("k_token", 9), ("target_recall", 0.5)):
            notes = told(index, query, **{name: value})
            assert [note.split()[0] for note in notes] == ([name] if name in idle else []), notes
        assert "exact search was asked for" in told(index, query, exact=True, target_recall=0.5)[0]
        assert "compares with every stored token" in told(index, query, exact=True, candidates=5)[0]


def test_xtr_uses_what_it_retrieves(tmp_path: Path) -> None:
    with tokens(tmp_path / "c", "exact", "xtr") as index:
        query = plait.from_matrices([np.eye(3, 8, dtype=np.float32)])
        assert not told(index, query, k_token=5) and not told(index, query, missing="zero")
        assert "XTR" in told(index, query, candidates=5)[0] and "XTR" in told(index, query, nprobe=5)[0]


@pytest.mark.parametrize(
    ("search", "wrong"),
    [
        ({"mode": "hybrid", "weights": (1,)}, "weights are"),
        ({"mode": "hybrid", "weights": (1, float("nan"))}, "weights are"),
        ({"mode": "hybrid", "fusion_k": -1}, "fusion_k is -1"),
        ({"normalise": "rank"}, "normalise is 'rank'"),
        ({"target_recall": 2}, "target_recall is 2"),
        ({"exact": True, "target_recall": 0}, "target_recall is 0"),
    ],
)
def test_bounds_are_those_of_the_route_and_not_of_the_search(
    lanes: plait.Retriever, search: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(plait.InvalidArgument, match=wrong):
        lanes.route(SearchOptions(**search), 2)


def test_a_lone_term_field_answers_to_what_made_it(tmp_path: Path) -> None:
    for name, terms in (("unnamed", "bm25:german"), ("named", {"words": "bm25:german"})):
        with plait.create(tmp_path / name, encoder=None, terms=terms, vector=2) as index:
            index.add([{"id": id, "text": text, "vector": [1, i]} for i, (id, text) in enumerate(TEXTS.items())])
            right = index.search("red moon", mode="terms")
            for called in ("terms", "bm25", "bm25:german"):
                assert [h.id for h in index.search("red moon", field=called)] == [h.id for h in right]
                query = plait.Queries(
                    plait.from_vectors(np.ones((1, 2), np.float32)), index.encode(["red"], field=called).terms
                )
                (hits,) = index.search(query, lanes=("vector", called))
                assert hits and index.explain(query, hits[0].id, lanes=("vector", called)).score
            with pytest.raises(plait.InvalidArgument, match="bm26"):
                index.search("red moon", field="bm26")


def test_several_term_fields_answer_to_their_names_alone(lanes: plait.Retriever) -> None:
    for name in ("terms", "bm25:german"):
        with pytest.raises(plait.InvalidArgument, match="no term field is called"):
            lanes.search(QUERY, field=name)


def test_a_server_tells_as_a_collection_here_does(tmp_path: Path, lanes: plait.Retriever) -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    from served import Server

    with plait.create(tmp_path / "root" / "c", encoder=None, terms="bm25") as index:
        index.add([{"id": id, "text": text} for id, text in TEXTS.items()])
    server = Server(tmp_path / "root")
    try:
        remote = plait.connect(server.target).open("c")
        (note,) = told(remote, nprobe=4)
        assert "nprobe is ignored" in note and not told(remote, field="bm25")
        assert told(remote, [QUERY, "moon"], fusion="rrf") == [
            "fusion is ignored: mode is terms, and it counts in hybrid"
        ]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            remote.explain(QUERY, "a", 2, depth=3)
        assert "depth is ignored" in str(caught[0].message)
        assert not [line for line in server.log if "ignored" in line]
    finally:
        server.kill()
