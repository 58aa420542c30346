"""A server process over loopback gives the answers of the same collection in this process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plait.retrieval.routes.options import SearchKeywords

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from served import Wire, serving, tensor

DIM = 8


def matrix(rng: np.random.Generator, tokens: int) -> np.ndarray:
    return rng.standard_normal((tokens, DIM)).astype(np.float16)


def documents(count: int, seed: int = 0) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    return [
        (f"d{i:03}", matrix(rng, draw.randint(1, 6)), {"year": 2000 + i % 7, "tags": ["a", str(i % 3)], "half": i / 2})
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Path]]:
    root = tmp_path_factory.mktemp("served")
    for name, system in (("c", "colbert"), ("x", "xtr")):
        plait.create(root / name, encoder=None, dim=DIM, store="exact", system=system).close()
    with plait.create(root / "words", encoder=None, terms="bm25") as words:
        words.add([{"id": f"w{i}", "text": text} for i, text in enumerate(TEXTS)])
    with serving(root) as server:
        wire = Wire(server.target)
        for name in ("c", "x"):
            wire("UpsertDocuments", collection=name, documents=[as_json(d) for d in documents(60)])
        yield wire, root
        wire.close()


TEXTS = ("the tides follow the moon", "bread rises", "the moon is far", "yeast makes bread rise", "foxes hunt")


def as_json(document: tuple[str, np.ndarray, dict[str, Any]]) -> dict[str, Any]:
    id, tokens, payload = document
    return {"id": id, "payload": payload, "tokens": {"vectors": tensor(tokens, "D_TYPE_FLOAT16")}}


def encoded(query: np.ndarray) -> dict[str, Any]:
    return {"encoded": {"tokens": {"vectors": tensor(query.astype(np.float32))}}}


def ranking(hits: Any) -> list[tuple[str, np.float32]]:
    return [(h.id, np.float32(h.score)) for h in hits]


def test_search_is_the_search_of_this_process(place: tuple[Wire, Path]) -> None:
    wire, root = place
    rng = np.random.default_rng(5)
    for name in ("c", "x"):
        with plait.open(root / name) as here:
            cases: list[tuple[int, SearchKeywords]] = [
                (1, {}),
                (10, {"exact": True}),
                (100, {"k_token": 7}),
                (100, {"candidates": 1}),
            ]
            for k, search in cases:
                query = matrix(rng, 4)
                there = wire("Search", collection=name, query=encoded(query), k=k, options=search)
                (mine,) = here.search(plait.from_matrices([query]), k, **search)
                assert ranking(there.hits) == ranking(mine) and mine
                assert there.seq == here.seq and there.timing.search_ms > 0
                years = [int(h.payload.fields["year"].number_value) for h in there.hits]
                assert years == [h.payload["year"] for h in mine]


def test_ten_hits_unless_told_and_payloads_only_if_wanted(place: tuple[Wire, Path]) -> None:
    wire, _ = place
    query = encoded(matrix(np.random.default_rng(1), 2))
    assert len(wire("Search", collection="c", query=query).hits) == 10
    (hit,) = wire("Search", collection="c", query=query, k=1, payload=False).hits
    assert hit.id and not hit.payload.fields


def test_what_is_missing_can_be_a_policy_or_a_number(place: tuple[Wire, Path]) -> None:
    wire, root = place
    query = matrix(np.random.default_rng(2), 5)
    with plait.open(root / "x") as here:
        cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
            ({"missing_policy": "MISSING_POLICY_ZERO"}, {"missing": "zero"}),
            ({"missing_value": -0.25}, {"missing": -0.25}),
        ]
        for sent, search in cases:
            there = wire("Search", collection="x", query=encoded(query), k=60, options={"k_token": 9, **sent})
            (mine,) = here.search(plait.from_matrices([query]), 60, k_token=9, **search)
            assert ranking(there.hits) == ranking(mine)


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        ({"eq": {"field": "year", "value": {"integer": "2003"}}}, {"year": 2003}),
        ({"eq": {"field": "tags", "value": {"text": "1"}}}, {"tags": "1"}),
        (
            {"range": {"field": "half", "gte": {"number": 3}, "lt": {"number": 7.5}}},
            {"range": {"half": {"gte": 3, "lt": 7.5}}},
        ),
        ({"negated": {"exists": {"field": "year"}}}, {"not": {"exists": "year"}}),
        (
            {"any_of": {"filters": [{"one_of": {"field": "$id", "values": [{"text": "d001"}]}}, {"all_of": {}}]}},
            {"or": [{"in": {"$id": ["d001"]}}, {"and": []}]},
        ),
    ],
)
def test_filters_mean_what_their_json_means(place: tuple[Wire, Path], sent: dict, condition: dict) -> None:
    wire, root = place
    query = matrix(np.random.default_rng(3), 3)
    with plait.open(root / "c") as here:
        (mine,) = here.search(plait.from_matrices([query]), 60, filter=condition)
        there = wire("Search", collection="c", query=encoded(query), k=60, options={"filter": sent})
        assert ranking(there.hits) == ranking(mine)
        assert wire("CountDocuments", collection="c", filter=sent).count == here.count(condition) == len(mine)


def test_a_batch_is_its_queries_one_by_one(place: tuple[Wire, Path]) -> None:
    wire, _ = place
    rng = np.random.default_rng(4)
    queries = [encoded(matrix(rng, n)) for n in (1, 2, 3) * 7]
    batch = wire("BatchSearch", collection="c", queries=queries, k=5, payload=True)
    scores, at = np.frombuffer(batch.scores, "<f4"), 0
    for query, count in zip(queries, batch.counts, strict=True):
        one = wire("Search", collection="c", query=query, k=5)
        assert [h.id for h in one.hits] == batch.ids[at : at + count]
        # One matrix product for many queries rounds its float32 sums in another order.
        np.testing.assert_allclose([h.score for h in one.hits], scores[at : at + count], rtol=1e-6)
        assert [h.payload for h in one.hits] == list(batch.payloads[at : at + count])
        at += count
    assert at == len(batch.ids) == len(scores)


def test_rerank_scores_what_it_is_given(place: tuple[Wire, Path]) -> None:
    wire, root = place
    query, ids = matrix(np.random.default_rng(6), 3), ["d007", "d001", "d030", "d001"]
    there = wire("Rerank", collection="c", query=encoded(query), ids=ids, k=2)
    with plait.open(root / "c") as here:
        (all_of_them,) = here.search(plait.from_matrices([query]), 60, exact=True)
    assert ranking(there.hits) == ranking([h for h in all_of_them if h.id in ids])[:2]


def test_explanations_sum_to_the_score(place: tuple[Wire, Path]) -> None:
    wire, root = place
    query = matrix(np.random.default_rng(7), 4)
    for name in ("c", "x"):
        options: SearchKeywords = {"k_token": 9}
        for hit in wire("Search", collection=name, query=encoded(query), k=3, options=options).hits:
            why = wire("Explain", collection=name, query=encoded(query), id=hit.id, options=options).explanation
            assert np.isclose(sum(m.contribution for m in why.matches), hit.score, atol=1e-4)
            assert len(why.matches) == 4 and why.id == hit.id
            with plait.open(root / name) as here:
                mine = here.explain(plait.from_matrices([query]), hit.id, **options)
            assert [m.HasField("document") for m in why.matches] == [m.document is not None for m in mine.matches]
            assert [m.similarity for m in why.matches] == [m.similarity for m in mine.matches]


def test_terms_are_searched_explained_and_encoded(place: tuple[Wire, Path]) -> None:
    wire, root = place
    there = wire("Search", collection="words", query={"text": "bread of the moon"}, k=5)
    with plait.open(root / "words") as here:
        assert ranking(there.hits) == ranking(here.search("bread of the moon", 5)) and len(there.hits) == 4
        why = wire("Explain", collection="words", query={"text": "bread of the moon"}, id="w1").explanation
        mine = here.explain("bread of the moon", "w1")
    assert [(t.term, t.contribution) for t in why.terms] == [(t.term, t.contribution) for t in mine.terms]
    assert np.isclose(why.terms_score, sum(t.contribution for t in why.terms)) and why.text == "bread rises"
    (made,) = wire("Encode", collection="words", texts=["bread of the moon"]).queries
    from google.protobuf.json_format import MessageToDict

    again = wire("Search", collection="words", query={"encoded": MessageToDict(made)}, k=5)
    assert ranking(again.hits) == ranking(there.hits)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("D_TYPE_FLOAT32", np.float32),
        ("D_TYPE_FLOAT16", np.float16),
        ("D_TYPE_BFLOAT16", None),
        ("D_TYPE_INT8", np.int8),
    ],
)
def test_vectors_of_every_type_are_the_numbers_they_stand_for(place: tuple[Wire, Path], dtype: str, kind: Any) -> None:
    wire, root = place
    values = np.random.default_rng(8).integers(-128, 128, (3, DIM)).astype(np.float32)
    sent = (values.view(np.uint32) >> 16).astype(np.uint16) if kind is None else values.astype(kind)
    query = {"encoded": {"tokens": {"vectors": tensor(sent, dtype)}}}
    there = wire("Search", collection="c", query=query, k=60)
    with plait.open(root / "c") as here:
        (mine,) = here.search(plait.from_matrices([values]), 60)
    assert ranking(there.hits) == ranking(mine)


def test_a_search_sees_the_write_whose_number_it_gives(place: tuple[Wire, Path]) -> None:
    wire, _ = place
    query, seq = encoded(np.full((1, DIM), 9, np.float16)), 0
    for i in range(5):
        document = as_json((f"new{i}", np.full((1, DIM), 100 + i, np.float16), {}))
        seq = wire("UpsertDocuments", collection="x", documents=[document]).seq
        found = wire("Search", collection="x", query=query, k=1, at_least_seq=seq)
        assert found.hits[0].id == f"new{i}" and found.seq >= seq
    code, message, _ = wire.error("Search", collection="x", query=query, at_least_seq=seq + 99)
    assert code == "UNAVAILABLE" and str(seq + 99) in message
