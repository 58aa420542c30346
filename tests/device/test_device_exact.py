"""Exact search on a device, here torch's CPU: every row compared, whole documents and single
tokens, wherever segments lie."""

from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from plait.device import exact, flat, lists
from plait.device.exact import DeviceExact
from plait.device.flat import DeviceFlat
from plait.device.lists import DeviceLists
from plait.device.placement import Placement
from plait.device.records import Records
from plait.index.codecs.precisions import codec
from plait.index.collection import Collection
from plait.index.filters.sql import parse as parse_filter
from plait.index.hits import Hits, best
from plait.index.late.code_scores import code_ranking
from plait.index.params import Scoring, SearchParams
from plait.index.recall.calibration import calibrate
from plait.index.tokens import Tokens
from test_device import collection, found, inverted, made

EXACTLY: list[dict[str, Any]] = [
    {"exact": True},
    {"scoring": Scoring("retrieved"), "params": SearchParams(k_token=40)},
    {"scoring": Scoring("retrieved", "zero"), "params": SearchParams(k_token=1, nprobe=1)},
    {"scoring": Scoring("retrieved", "none"), "params": SearchParams(k_token=5000), "exact": True},
]


def near(got: list[Hits], wanted: list[Hits]) -> None:
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a.docs, b.docs)
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-4, atol=1e-4)


def rows_of(tokens: Tokens, precision: str) -> tuple[Tokens, DeviceExact]:
    """The vectors as stored, and they on the device."""
    kept = codec(precision, tokens.vectors.shape[1])
    records = kept.encode(tokens.vectors)
    placed = Records(kept, records, tokens.offsets, torch.device("cpu"), True)
    return tokens.with_vectors(kept.floats(records)), DeviceExact(placed)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["float16", "int8"]), st.integers(1, 15), st.integers(1, 9))
def test_documents_are_compared_with_every_token(data: st.DataObject, precision: str, k: int, pairs: int) -> None:
    """By two loops, over chunks of a few documents."""
    documents = data.draw(oracle.ragged())
    queries = data.draw(oracle.ragged(documents.vectors.shape[1], 3, shortest=1))
    allowed = data.draw(st.none() | st.just(np.random.default_rng(k).random(len(documents)) < 0.5))
    stored, placed = rows_of(documents, precision)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exact, "_PAIRS", pairs)
        hits = placed.scan(queries, k, allowed)
    for query, got in zip(oracle.matrices(queries), hits, strict=True):
        scores = np.array([oracle.maxsim(query, document) for document in oracle.matrices(stored)])
        open_ = scores if allowed is None else np.where(allowed, scores, -np.inf)
        wanted = best(np.arange(len(scores)), open_.astype(np.float32), k)
        np.testing.assert_allclose(got.scores, wanted.scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(scores[got.docs], got.scores, rtol=1e-5, atol=1e-5)
        assert len(set(got.docs)) == len(got) and np.isfinite(open_[got.docs]).all()
        if precision == "float16":
            coarse = (np.abs(stored.vectors) * 2 % 1 == 0).all()
            assert not coarse or got.docs.tolist() == wanted.docs.tolist(), "ties fall by number"


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["float16", "int8"]), st.integers(1, 60), st.integers(1, 400))
def test_tokens_are_found_as_by_a_sort(data: st.DataObject, precision: str, k: int, floats: int) -> None:
    documents = data.draw(oracle.ragged())
    queries = data.draw(oracle.ragged(documents.vectors.shape[1], 3, shortest=1)).vectors
    stored, placed = rows_of(documents, precision)
    rows = data.draw(st.none() | st.just(np.random.default_rng(k).random(len(stored.vectors)) < 0.5))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(exact, "_FLOATS", floats)
        scores, places = placed.search_tokens(queries, k, rows)
    products = queries.astype(np.float64) @ stored.vectors.astype(np.float64).T
    open_ = np.arange(products.shape[1]) if rows is None else np.flatnonzero(rows)
    for line in range(len(queries)):
        wanted = open_[np.lexsort((open_, -products[line, open_]))][:k]
        got = places[line][places[line] >= 0]
        assert len(got) == len(wanted) == len(set(got)) and set(got) <= set(open_)
        assert (places[line][len(got) :] == -1).all() and (scores[line][len(got) :] == -np.inf).all()
        np.testing.assert_allclose(scores[line][: len(got)], products[line, wanted], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(products[line, got], products[line, wanted], rtol=1e-5, atol=1e-5)
        if precision == "float16" and (np.abs(stored.vectors) * 2 % 1 == 0).all():
            assert got.tolist() == wanted.tolist(), "ties fall by row"


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8"])
@pytest.mark.parametrize("how", EXACTLY, ids=str)
def test_collections_answer_alike_wherever_their_segments_lie(tmp_path: Path, store: str, how: dict[str, Any]) -> None:
    """Three segments, some of them placed, some with their codes alone, and fresh documents;
    some dead, some filtered out."""
    queries = collection(tmp_path, store)
    wanted = found(tmp_path, queries, None, **how)
    assert any(len(hits) for hits in wanted)
    for memory in (None, 0, 2000, 6000, 9000, 12000):
        near(found(tmp_path, queries, Placement("cpu", memory), **how), wanted)


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8"])
@pytest.mark.parametrize("how", EXACTLY, ids=str)
def test_rows_on_the_device_are_read_there(
    tmp_path: Path, store: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = collection(tmp_path, store)
    with Collection(tmp_path) as opened:
        opened.seal()
    wanted = found(tmp_path, queries, None, **how)
    for name in ("scan", "search_tokens"):
        monkeypatch.setattr(f"plait.index.late.exact.{name}", None)
    near(found(tmp_path, queries, Placement("cpu"), **how), wanted)
    with pytest.raises(TypeError):
        found(tmp_path, queries, Placement("cpu", 0), **how)


@pytest.mark.parametrize("kind", [flat, lists])
def test_recall_is_of_what_the_device_compares_exactly(
    tmp_path: Path, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = collection(tmp_path, "flat:8" if kind is flat else "lists:8")
    scans, scan = [], DeviceExact.scan
    monkeypatch.setattr(DeviceExact, "scan", lambda *given: scans.append(1) or scan(*given))
    monkeypatch.setattr(DeviceExact, "few", lambda *_: False)
    with Collection(tmp_path, place=Placement("cpu")) as opened:
        opened.seal()
        with opened.snapshot() as snapshot:
            measured = calibrate(snapshot, queries, [5])
            segments = len(snapshot.state.published)
    assert len(scans) == segments, "once, for the truth"
    assert max(point.recall for point in measured.points) == 1.0


@pytest.mark.parametrize("listed", [False, True])
def test_few_allowed_documents_are_scored_by_their_rows(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(8)
    source = made(rng.integers(0, 9, 600).tolist(), 16, 8)
    queries, allowed = oracle.normal(rng, [4, 1, 40], 16), np.zeros(600, bool)
    allowed[rng.choice(600, 12, replace=False)] = True
    by_codes, by_rows = (
        DeviceLists(inverted(source, 8), "cpu", rows) if listed else DeviceFlat(source, "cpu", rows)
        for rows in (False, True)
    )
    monkeypatch.setattr(by_rows, "gains" if listed else "scan", None)
    near(by_rows.search(queries, 3, 20, allowed=allowed), by_codes.search(queries, 3, 20, allowed=allowed))
    allowed[:100] = True
    with pytest.raises(TypeError):
        by_rows.search(queries, 3, 20, allowed=allowed)


def test_stages_tell_no_codes_where_few_documents_are_all_scored(tmp_path: Path) -> None:
    queries = collection(tmp_path, "flat:8")
    for place, few in ((None, False), (Placement("cpu"), True)):
        with Collection(tmp_path, place=place) as opened, opened.snapshot() as snapshot:
            part = snapshot.parts(parse_filter({"year": 1}))[0]
            for candidates, all_scored in ((20, few), (8, False)):
                params = SearchParams(candidates=candidates)
                told = code_ranking(part, queries.vectors[:3].astype(np.float32), 2, params)
                assert (told is None) == all_scored
