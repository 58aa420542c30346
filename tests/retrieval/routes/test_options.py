"""The record of a search's options: what it takes, what it refuses, and that nothing else has a list of its own."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plait.index.filters.conditions import Eq
from plait.index.params import MISSING, SearchParams, TermParams
from plait.index.search.fusion import NORMALISE
from plait.retrieval.routes import options as record
from plait.retrieval.routes.options import OPTIONS, SearchKeywords, SearchOptions
from plait.retrieval.routes.route import Route
from plait.retrieval.systems import SYSTEMS

import plait

OF_LISTS = ("names", "numbers")
"""Kinds that take more than they keep."""


def index_of(path: Path, **settings: Any) -> plait.Retriever:
    index = plait.create(path, encoder=None, dim=4, **settings)
    rng = np.random.default_rng(0)
    vectors = [rng.standard_normal((2, 4)).astype(np.float32) for _ in range(30)]
    index.add_tokens([str(i) for i in range(30)], plait.from_matrices(vectors))
    return index


def test_keywords_are_the_record() -> None:
    kept = {one.name: one.type for one in dataclasses.fields(SearchOptions)}
    taken = {name: hint.__forward_arg__ for name, hint in SearchKeywords.__annotations__.items()}
    assert list(taken) == list(kept) == list(OPTIONS)
    plain = [name for name, option in OPTIONS.items() if option.kind not in OF_LISTS]
    assert {name: taken[name] for name in plain} == {name: kept[name] for name in plain}


def test_what_the_record_says_of_the_index_is_so() -> None:
    assert (record.MISSING, record.NORMALISE) == (MISSING, NORMALISE)
    defaults = {f.name: f.default for f in dataclasses.fields(Route)} | vars(SearchParams())
    for name in ("depth", "fusion", "fusion_k", "normalise", "nprobe", "candidates", "scorer"):
        assert OPTIONS[name].default == str(defaults[name]), name
    k_token = {name: system.params.k_token for name, system in SYSTEMS.items()}
    assert OPTIONS["k_token"].default == f"{k_token['colbert']} (XTR: {k_token['xtr']})"
    assert (TermParams().min_idf, TermParams().alpha) == (0, 1)
    counted = set(vars(SearchParams())) | set(vars(TermParams()))
    assert counted | {"missing"} == {name for name, option in OPTIONS.items() if option.finds}


def test_every_option_says_what_it_is() -> None:
    for row in SearchOptions.described():
        option = OPTIONS[row["name"]]
        assert row["help"].endswith(".") and ".." not in row["help"] and row["flag"].startswith("--")
        assert option.kind != "choice" or option.choices
        # Whatever is a quantity has a bound and an effect.
        assert option.kind != "count" or (option.bounds and option.effect and option.unit)
        assert option.default or option.kind in ("flag", "filter") or row["name"] == "target_recall"


WRONG: list[tuple[str, Any, str]] = [
    ("nprobe", 0, "nprobe is 0; it must be at least 1"),
    ("nprobe", True, "nprobe is True; it must be a whole number"),
    ("k_token", 2.5, "k_token is 2.5; it must be a whole number"),
    ("candidates", 1 << 32, "candidates is 4294967296; it must be below 4,294,967,296"),
    ("depth", "9", "depth is '9'; it must be a whole number"),
    ("min_idf", -0.5, "min_idf is -0.5; it must be at least 0"),
    ("min_idf", "low", "min_idf is 'low'; it must be a number, at least 0"),
    ("alpha", 0, "alpha is 0; it must be above 0 and at most 1"),
    ("alpha", 1.5, "alpha is 1.5; it must be above 0 and at most 1"),
    ("target_recall", float("nan"), "target_recall is nan; it must be above 0 and at most 1"),
    ("fusion_k", float("inf"), "fusion_k is inf; it must be at least 0"),
    ("mode", "dense", "mode is 'dense'; it must be one of tokens, terms, vector, sum, hybrid, rerank"),
    ("fusion", 3, "fusion is 3; it must be one of rrf, weighted"),
    ("missing", "some", "missing is 'some'; it must be one of kth, zero, none, or a finite number"),
    ("missing", float("nan"), "missing is nan"),
    ("exact", "no", "exact is 'no'; it must be True or False"),
    ("field", 3, "field is 3; it must be a name, as text"),
    ("lanes", "tokens", "lanes are 'tokens'; give a list of names"),
    ("lanes", (), "lanes are (); give a list of names, or leave it out for all"),
    ("weights", (1, float("nan")), "weights are (1, nan); give one finite number for each lane"),
    ("weights", 1, "weights are 1; give one finite number for each lane"),
    ("filter", "year", "filter is 'year'; give a condition"),
]


@pytest.mark.parametrize(("name", "value", "said"), WRONG)
def test_an_error_names_value_bound_and_field(name: str, value: Any, said: str) -> None:
    with pytest.raises(plait.InvalidArgument) as caught:
        SearchOptions.of({name: value})
    assert str(caught.value).startswith(said) and caught.value.field == name
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.field) == (str(caught.value), name)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(plait.InvalidArgument, match="unknown search parameter 'nprobes'; known are mode, lanes"):
        SearchOptions.of({"nprobes": 3})


def test_numbers_and_lists_of_any_kind_are_kept_as_one() -> None:
    options = SearchOptions.of(
        {
            "nprobe": np.int64(3),
            "alpha": np.float32(0.5),
            "weights": np.array([1, 2]),
            "lanes": ["a", "b"],
            "field": None,
        }
    )
    assert options == SearchOptions(nprobe=3, alpha=0.5, weights=(1.0, 2.0), lanes=("a", "b"))
    assert type(options.nprobe) is int and type(options.alpha) is float
    assert options.given() == {"nprobe": 3, "alpha": 0.5, "weights": (1.0, 2.0), "lanes": ("a", "b")}
    assert SearchOptions(filter={"year": 2020}) == SearchOptions(filter=Eq("year", 2020))


def test_equal_options_have_one_route(tmp_path: Path) -> None:
    with index_of(tmp_path / "c") as index:
        route = index.route(SearchOptions(), 5)
        assert index.route(SearchOptions(), 7) is route and index.route(SearchOptions(exact=True), 7) is not route
        one, true = (index.route(SearchOptions(filter={"n": value}), 5) for value in (1, True))
        for made, kind in ((one, int), (true, bool)):
            assert isinstance(made.filter, Eq) and type(made.filter.value) is kind
        assert index.route(SearchOptions(), 5).filter is None


def test_a_route_that_depends_on_the_moment_is_made_anew(tmp_path: Path) -> None:
    with index_of(tmp_path / "c", store="flat") as index:
        assert index.route(SearchOptions(candidates=3), 2).notes == ()
        index.delete([str(i) for i in range(30)])
        index.collection.compact()
        assert "candidates is ignored" in index.route(SearchOptions(candidates=3), 2).notes[0]
    with index_of(tmp_path / "d", store="flat") as index:
        with pytest.raises(plait.FailedPrecondition, match="never measured"):
            index.route(SearchOptions(target_recall=0.9), 2)
        index.calibrate(depths=[2])
        assert index.route(SearchOptions(target_recall=0.9), 2).params != index.route(SearchOptions(), 2).params
