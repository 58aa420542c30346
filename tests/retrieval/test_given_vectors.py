"""Vectors that users bring, one for each document, as a first stage of their own and fused with others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.reading import sums as added
from plait.index.terms import Terms
from scipy.sparse import csr_array

import plait

DOCUMENTS: list[dict[str, Any]] = [
    {"id": "a", "text": "the tide rises", "vector": [1, 0, 2]},
    {"id": "b", "text": "a red planet", "vector": [0.5, 3, 0], "year": 2020},
    {"id": "c", "text": "tides of the red sea", "vector": [-1, 0, 1]},
]
QUERY = np.array([[1, 0.25, 1]], np.float32)
SCORES = {"a": 3.0, "b": 1.25, "c": 0.0}


def test_vectors_alone(tmp_path: Path) -> None:
    with plait.create(tmp_path / "c", encoder=None, vector=3, policy=None) as index:
        index.add(DOCUMENTS[:2])
        index.upsert(DOCUMENTS[2:])
        asked = plait.from_vectors(QUERY)
        (hits,) = index.search(asked)
        assert [(h.id, h.score) for h in hits] == list(SCORES.items())
        assert [h.id for h in index.search(asked, filter={"year": 2020})[0]] == ["b"]
        assert hits[1].payload == {"text": "a red planet", "year": 2020}, "the vector is no payload"
        why = hits[0].explain()
        assert (why.score, why.vector_score, why.matches, why.terms) == (3.0, 3.0, [], [])
        index.upsert([{"id": "a", "text": "changed", "vector": [0, 0, 0]}])
        assert [h.id for h in index.search(asked, k=1)[0]] == ["b"]
        index.upsert_tokens(["d"], plait.from_vectors(np.array([[9, 9, 9]], np.float16)))
        assert index.search(asked, k=1)[0][0].score == 20.25
        for wrong, message in (
            ({"id": "e", "text": "no vector"}, "document 'e' needs 'vector', 3 numbers"),
            ({"id": "e", "text": "short", "vector": [1, 2]}, "3 numbers"),
            ({"id": "e", "text": "words", "vector": ["x", "y", "z"]}, "3 numbers"),
            ({"id": "e", "text": "nothing", "vector": [1, 2, float("nan")]}, "NaN"),
        ):
            with pytest.raises(InvalidArgument, match=message):
                index.upsert([wrong])
        with pytest.raises(InvalidArgument, match="given, not made of texts"):
            index.search("a text")
        with pytest.raises(InvalidArgument, match="no token vectors"):
            index.search(asked, mode="tokens")
        with pytest.raises((InvalidArgument, FailedPrecondition)):
            index.add_tokens(["f"], plait.from_matrices([np.ones((2, 4), np.float32)]))
        assert len(index) == 4


def test_a_lane_beside_bm25(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="extra is not installed")
    with plait.create(tmp_path / "c", encoder=None, terms="bm25", vector=3, policy=None) as index:
        index.add(DOCUMENTS)
        terms = index.encode(["red tides"], mode="terms").terms
        asked = plait.Queries(plait.from_vectors(QUERY), terms)
        lexical = [h.id for h in index.search(asked, mode="terms")[0]]
        assert set(lexical) == {"a", "b", "c"} and lexical[0] == "c"
        by_vector = [h.id for h in index.search(asked, mode="vector")[0]]
        assert by_vector == ["a", "b", "c"]
        for weights in (None, (2, 0.5)):
            chosen: dict[str, Any] = {} if weights is None else {"weights": weights}
            (hits,) = index.search(asked, **chosen)
            first, second = weights or (1, 1)
            wanted = {
                id: first / (61 + lexical.index(id)) + second / (61 + by_vector.index(id)) for id in ("a", "b", "c")
            }
            assert {h.id: h.score for h in hits} == pytest.approx(wanted)
        why = index.search(asked)[0][0].explain()
        assert why.vector_score is not None and why.terms_score is not None
        assert why.score == pytest.approx(sum(lane.contribution for lane in why.lanes))
        assert [lane.lane for lane in why.lanes] == ["terms", "vector"]
        with pytest.raises(InvalidArgument, match="no sum"):
            index.search(asked, mode="sum")
        with pytest.raises(InvalidArgument, match="no global vector"):
            index.search(plait.Queries(None, terms), mode="vector")


def test_an_encoder_s_own_vector_is_a_third_lane(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="extra demo is not installed")
    pytest.importorskip("bm25s", reason="extra is not installed")
    texts = [{"id": d["id"], "text": d["text"], "vector": "payload here"} for d in DOCUMENTS]
    with plait.create(tmp_path / "c", vector=True, terms="bm25", policy=None) as index:
        index.add(texts[:2])
        index.upsert(texts[2:])
        assert index.collection.vector == index.collection.dim == 384
        whole = index.encoding.encoder.encode_documents([d["text"] for d in texts]).globals_
        asked = index.encoding.encoder.encode_queries(["red tides"]).globals_
        assert whole is not None and asked is not None
        products = dict(zip("abc", whole.astype(np.float16).astype(float) @ asked[0], strict=True))
        hits = index.search("red tides", mode="vector")
        assert {h.id: h.score for h in hits} == pytest.approx(products, rel=1e-5)
        assert hits[0].payload["vector"] == "payload here"
        lanes = [[h.id for h in index.search("red tides", mode=mode)] for mode in ("tokens", "terms", "vector")]
        wanted = {id: sum(1 / (61 + lane.index(id)) for lane in lanes if id in lane) for id in "abc"}
        assert {h.id: h.score for h in index.search("red tides", mode="hybrid")} == pytest.approx(wanted)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30), st.sampled_from([1, 3, 50]), st.booleans(), st.integers(0, 2**31))
def test_sums_are_exact_however_deep_the_rankings_must_be_read(
    tmp_path_factory: pytest.TempPathFactory, n: int, k: int, opposed: bool, seed: int
) -> None:
    """`opposed`: who leads one ranking is last in the other and the best are in the middle,
    so that the depth has to grow."""
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((n, 4)).astype(np.float16)
    weights = np.round(rng.standard_normal((n, 6)) * (rng.random((n, 6)) < 0.4), 2).astype(np.float32)
    query, asked = rng.standard_normal(4).astype(np.float32), np.round(rng.standard_normal(6), 2).astype(np.float32)
    if opposed and n:
        product, asked[0] = dense.astype(np.float32) @ query, 1
        weights[:] = 0
        weights[:, 0] = 1 / (1 + np.abs(product)) - product
    truth = dense.astype(float) @ query + weights.astype(float) @ asked
    with (
        pytest.MonkeyPatch.context() as patch,
        Collection.create(tmp_path_factory.mktemp("c") / "c", 0, terms=True, vector=4) as collection,
    ):
        patch.setattr(added, "_FIRST", 1)
        for some in (slice(0, n // 2), slice(n // 2, n)):
            ids = [str(i) for i in range(n)[some]]
            terms = Terms(csr_array(weights[some]))
            collection.live.upsert(ids, plait.from_vectors(dense[some]), terms=terms)
            collection.seal()
        with collection.snapshot() as snapshot:
            (hits,) = snapshot.search_added(Terms(csr_array(asked[None])), query[None], k)
        assert len(hits) == min(n, k)
        np.testing.assert_allclose(hits.scores, np.sort(truth)[::-1][:k], rtol=0, atol=1e-5)
        np.testing.assert_allclose(hits.scores, truth[hits.docs], rtol=0, atol=1e-5)
