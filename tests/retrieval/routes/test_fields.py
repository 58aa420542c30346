"""Several term fields in one collection: each by its own formula, fused, reranked and explained by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.catalog.database import connect
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import DataLoss, InvalidArgument
from plait.index.params import Bm25
from plait.index.search.fusion import rrf, weighted
from plait.index.terms import Terms
from plait.retrieval.retriever import Retriever
from plait.retrieval.sparse.analyzer import words
from scipy.sparse import csr_array
from test_bm25_live import bm25, terms

import plait

DOCUMENT = st.lists(st.integers(0, 9), max_size=12)
FIELDS = {"bm25": TermField(16, counts=True), "squares": TermField(32)}
NAMED = {"bm25": "bm25", "sets": "binary"}
DOCUMENTS = {
    "a": "The moon pulls the sea, and the sea pulls the moon.",
    "b": "Bread rises because yeast ferments the flour.",
    "c": "Foxes hunt at dusk by the sea.",
    "d": "The moon, the moon, the moon!",
    "e": "Ships sail on the sea under a red moon.",
}
QUERY = "the moon and the sea"


def squares(documents: list[list[int]]) -> Terms:
    """Other keys than those of the counts, other weights."""
    rows = np.zeros((len(documents), 32), np.float32)
    for i, document in enumerate(documents):
        for key, count in Counter(document).items():
            rows[i, 31 - key] = count * count
    return Terms(csr_array(rows))


def by_field(documents: list[list[int]]) -> dict[str, Terms]:
    return {"bm25": terms(documents), "squares": squares(documents)}


def products(documents: dict[str, list[int]], query: list[int]) -> dict[str, float]:
    """Sums of squared counts times squared counts, of documents that share a key."""
    asked = Counter(query)
    scores = {
        id: sum(asked[key] ** 2 * count**2 for key, count in Counter(d).items() if key in asked)
        for id, d in documents.items()
    }
    return {id: float(s) for id, s in scores.items() if s}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(DOCUMENT, min_size=1, max_size=6), min_size=1, max_size=4),
    st.lists(st.integers(0, 11), min_size=1, max_size=6),
    st.sets(st.integers(0, 20), max_size=6),
)
def test_every_field_is_its_own_formula_over_what_lives(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[list[int]]], query: list[int], dead: set[int]
) -> None:
    path = tmp_path_factory.mktemp("c") / "c"
    collection, living = Collection.create(path, 0, terms=FIELDS), {}
    for number, batch in enumerate(batches):
        ids = [f"{number}-{i}" for i in range(len(batch))]
        collection.live.upsert(ids, None, terms=by_field(batch))
        living |= dict(zip(ids, batch, strict=True))
        if number % 2 == 0:
            collection.seal()
    gone = [id for i, id in enumerate(living) if i in dead]
    collection.live.delete(gone)
    living = {id: document for id, document in living.items() if id not in gone}
    truths = bm25(living, query, 1.2, 0.75), products(living, query)

    def assert_equal() -> None:
        with collection.snapshot() as snapshot:
            numbers = {id: snapshot.view.by_id(id).number for id in living}
            for (field, asked), truth in zip(by_field([query]).items(), truths, strict=True):
                knobs = Bm25() if field == "bm25" else None
                (hits,) = snapshot.search_terms(asked, 99, bm25=knobs, field=field)
                found = {d.id: float(s) for d, s in zip(snapshot.documents(hits.docs), hits.scores, strict=True)}
                assert found == pytest.approx(truth, rel=1e-5)
                # The same candidates scored one by one, whatever found them.
                given = snapshot.score_terms(asked, list(numbers.values()), knobs, field)
                wanted = {id: truth.get(id, 0.0) for id in numbers}
                assert dict(zip(numbers, given.tolist(), strict=True)) == pytest.approx(wanted, rel=1e-5)
                for document, score in zip(hits.docs[:3].tolist(), hits.scores[:3].tolist(), strict=True):
                    assert snapshot.explain_terms(asked, document, knobs, field).score == score

    assert_equal()
    collection.compact()
    assert_equal()
    collection.close()
    collection = Collection(path)
    assert_equal()
    collection.close()


def filled(path: Path, named: Any = NAMED, **settings: Any) -> Retriever:
    """Two documents in bulk, one sealed, the rest fresh, one of them written twice and one deleted."""
    settings = {"encoder": None, "terms": named, "policy": None, **settings}
    index = plait.create(path, **settings)
    rows = [{"id": id, "text": text} for id, text in DOCUMENTS.items()]
    index.add(rows[:2])
    index.upsert([*rows[2:3], {"id": "x", "text": "a moon over the sea, gone soon"}])
    index.collection.seal()
    index.upsert([{"id": "e", "text": "something else"}])
    index.upsert(rows[3:])
    index.delete(["x"])
    return index


def truth_of(field: str) -> dict[str, float]:
    """Every document that shares a term with the query, by the field's formula."""
    if field == "bm25":
        split = {id: words([text])[0] for id, text in DOCUMENTS.items()}
        return bm25(split, words([QUERY])[0], 1.2, 0.75)
    from plait.retrieval.sparse.load import load_sparse_encoder

    encoder = load_sparse_encoder("binary")
    rows = encoder.encode_documents(list(DOCUMENTS.values())).rows.toarray()
    scores = rows @ encoder.encode_queries([QUERY]).rows.toarray()[0]
    return {id: float(s) for id, s in zip(DOCUMENTS, scores, strict=True) if s}


def scores(hits: list[Any]) -> dict[str, float]:
    return {hit.id: hit.score for hit in hits}


def test_a_search_names_its_field_and_the_first_is_meant_otherwise(tmp_path: Path) -> None:
    index = filled(tmp_path / "c")
    for state in ("parts", "merged", "reopened"):
        if state == "merged":
            index.collection.compact()
        if state == "reopened":
            index.close()
            index = plait.open(tmp_path / "c")
        for field in NAMED:
            assert scores(index.search(QUERY, field=field)) == pytest.approx(truth_of(field), rel=1e-5)
        assert scores(index.search(QUERY)) == scores(index.search(QUERY, field="bm25"))
    listed = index.info()["term_fields"]
    assert [(f["name"], f["encoder"], f["counts"]) for f in listed] == [
        ("bm25", "bm25", True),
        ("sets", "binary", False),
    ]
    assert all(f["weights"] > 5 for f in listed) and listed[0]["weights"] != listed[1]["weights"]


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_lanes_are_fused_by_name_with_their_weights(tmp_path: Path, fusion: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    index = filled(tmp_path / "c", encoder="minilm")
    for lanes in (("tokens", "bm25", "sets"), ("sets", "bm25"), ("bm25", "tokens")):
        weights = (0.5, 2, 1)[: len(lanes)]
        ready = index.encode([QUERY], lanes=lanes)
        with index.collection.snapshot() as snapshot:
            rankings = {}
            if ready.tokens is not None:
                (rankings["tokens"],) = snapshot.search(ready.tokens, 100)
            assert isinstance(ready.terms, dict) or len(lanes) == 2
            for name in lanes:
                if name != "tokens":
                    one = ready.terms[name] if isinstance(ready.terms, dict) else ready.terms
                    assert isinstance(one, Terms)
                    knobs = Bm25() if name == "bm25" else None
                    (rankings[name],) = snapshot.search_terms(one, 100, bm25=knobs, field=name)
            ordered = [rankings[name] for name in lanes]
            wanted = (rrf(ordered, 60, weights) if fusion == "rrf" else weighted(ordered, weights)).hits
            truth = {d.id: float(s) for d, s in zip(snapshot.documents(wanted.docs), wanted.scores, strict=True)}
        found = index.search(QUERY, lanes=lanes, weights=weights, fusion=fusion)
        assert scores(found) == pytest.approx(truth) and [h.id for h in found] == list(truth)
        assert scores(index.search(ready, lanes=lanes, weights=weights, fusion=fusion)[0]) == scores(found)
    everything = index.search(QUERY, mode="hybrid", fusion=fusion)
    assert scores(everything) == scores(index.search(QUERY, lanes=("tokens", "bm25", "sets"), fusion=fusion))


def test_explanations_show_every_field(tmp_path: Path) -> None:
    index = filled(tmp_path / "c")
    truths = {field: truth_of(field) for field in NAMED}
    for id in "acde":
        why = index.explain(QUERY, id, mode="hybrid")
        assert why.field_scores == pytest.approx({field: truths[field][id] for field in NAMED}, rel=1e-5)
        for field in NAMED:
            parts = [t.contribution for t in why.terms if t.field == field]
            assert sum(parts) == pytest.approx(why.field_scores[field]) and len(parts) > 0
        assert why.terms_score == why.field_scores["bm25"]
        over = index.explain(QUERY, id, k=9, scorer="sets")
        assert over.score == over.terms_score == over.field_scores["sets"]
        assert [(s.name, s.passed) for s in over.stages] == [("bm25", True), ("rerank", True)]
        assert over.stages[1].score == over.score
    (stage,) = index.explain(QUERY, "b", k=9, field="bm25").stages
    assert (stage.name, stage.passed) == ("bm25", False)


@pytest.mark.parametrize("depth", [2, 100])
def test_tildev2_reranks_bm25(tmp_path: Path, depth: int) -> None:
    """TILDEv2 (arXiv 2108.08513): sums of a document's weights at the query's tokens, over the best by BM25."""
    torch = pytest.importorskip("torch", reason="extra encoders is not installed")
    pytest.importorskip("transformers", reason="extra encoders is not installed")
    import sparse_checkpoints as tiny

    head = {"tok_proj.weight": tiny.random(1, 1, 32) / 4, "tok_proj.bias": torch.full((1,), 2.0)}
    (tmp_path / "tilde").mkdir()
    tiny.save(tmp_path / "tilde", {**tiny.under("bert.", tiny.plain()), **head}, ["TILDEv2"])
    texts = {"a": "mars is a red planet", "b": "the rings of venus", "c": "a planet, red, red", "d": "mars mars rings"}
    texts |= {"e": "venus the red", "f": "definition"}
    index = plait.create(
        tmp_path / "c", encoder=None, terms={"bm25": "bm25", "tilde": f"tildev2:{tmp_path / 'tilde'}"}, policy=None
    )
    rows = [{"id": id, "text": text} for id, text in texts.items()]
    index.add(rows[:3])
    index.upsert(rows[3:])
    encoder, asked = tiny.load(tmp_path / "tilde"), "is mars a red red planet"
    weights = encoder.encode_documents(list(texts.values())).rows.toarray().astype(float)
    query = encoder.encode_queries([asked]).rows.toarray()[0].astype(float)
    exact = dict(zip(texts, (weights @ query).tolist(), strict=True))
    first = bm25({id: words([text])[0] for id, text in texts.items()}, words([asked])[0], 1.2, 0.75)
    best = sorted(first, key=lambda id: -first[id])[:depth]
    truth = {id: exact[id] for id in best}
    assert len(truth) == min(depth, 4) == len(set(truth.values()))
    assert depth == 2 or sorted(truth, key=lambda id: -truth[id]) != best, "the scorer changes the order"
    for _ in range(2):
        found = index.search(asked, 2, scorer="tilde", depth=depth)
        assert scores(found) == pytest.approx(
            {i: truth[i] for i in sorted(truth, key=lambda i: -truth[i])[:2]}, rel=1e-4
        )
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        index.collection.compact()


def test_a_sparse_field_finds_what_late_interaction_scores(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    index = filled(tmp_path / "c", encoder="minilm")
    exact = scores(index.search(QUERY, 9, exact=True))
    for field in NAMED:
        found = scores(index.search(QUERY, 9, mode="rerank", field=field, depth=9))
        assert found == pytest.approx({id: exact[id] for id in truth_of(field)}, rel=1e-4)
    by_tokens = index.explain(QUERY, "a", mode="rerank", field="sets")
    assert by_tokens.matches and by_tokens.field_scores.keys() == {"sets"}


def test_a_target_recall_is_of_the_first_field(tmp_path: Path) -> None:
    index = filled(tmp_path / "c")
    index.calibrate(["the moon", "the sea", "bread"], [2])
    assert scores(index.search(QUERY, 2, target_recall=1.0)) == scores(index.search(QUERY, 2))
    others: list[dict[str, Any]] = [{"field": "sets"}, {"mode": "hybrid"}]
    for search in others:
        with pytest.raises(InvalidArgument, match="first term field, bm25, and this search goes by sets"):
            index.search(QUERY, 2, target_recall=1.0, **search)


def test_what_names_no_field_is_refused(tmp_path: Path) -> None:
    index = filled(tmp_path / "c")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"field": "nobody"}, "no term field is called 'nobody'; this collection holds bm25, sets"),
        ({"lanes": ("bm25", "tokens")}, "lanes are .*give some of bm25, sets"),
        ({"lanes": ("bm25", "bm25")}, "each once"),
        ({"lanes": "bm25"}, "lanes are 'bm25'"),
        ({"scorer": "nobody"}, "scorer is 'nobody'"),
        ({"mode": "rerank"}, "say which scores"),
        ({"mode": "hybrid", "weights": (1, 2, 3)}, "3.0|3\\] for 2 rankings"),
    ]
    for search, message in cases:
        with pytest.raises(InvalidArgument, match=message):
            index.search(QUERY, **search)
    one = index.encode([QUERY], field="sets")
    assert isinstance(one.terms, Terms) and scores(index.search(one, field="sets")[0]) == pytest.approx(
        truth_of("sets")
    )
    for ask in (lambda: index.search(one, mode="hybrid"), lambda: index.explain(one, "a", mode="hybrid")):
        with pytest.raises(InvalidArgument, match="terms of bm25 and sets; give them by the names"):
            ask()
    with pytest.raises(InvalidArgument, match="no terms of the field bm25"):
        index.search(plait.Queries(None, {"sets": one.terms}), field="bm25")
    raw = Collection.create(tmp_path / "raw", 0, terms=FIELDS)
    for wrong, message in (
        (terms([[1]]), "several term fields"),
        ({"bm25": terms([[1]])}, "give terms of the field squares"),
        ({**by_field([[1]]), "more": terms([[1]])}, "no term field is called 'more'"),
        (
            {**by_field([[1]]), "squares": Terms(csr_array(np.eye(1, 32, dtype=np.float32)), np.array([0, 1]))},
            "the field squares",
        ),
        (None, "give terms of the field bm25"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            raw.live.upsert(["x"], None, terms=wrong)
    assert len(raw) == 0
    for name in ("tokens", "A", "a.b", "", "x" * 33, "hybrid"):
        with pytest.raises(InvalidArgument, match="a term field is called"):
            Collection.create(tmp_path / "wrong", 0, terms={name: TermField()})


def test_one_named_field_needs_no_name(tmp_path: Path) -> None:
    index, plain = filled(tmp_path / "c", {"only": "bm25"}), filled(tmp_path / "plain", "bm25")
    assert scores(index.search(QUERY)) == scores(plain.search(QUERY)) == pytest.approx(truth_of("bm25"), rel=1e-5)
    raw = Collection.create(tmp_path / "raw", 0, terms={"only": TermField(16)})
    raw.live.upsert(["x"], None, terms=terms([[1, 2]]))
    with raw.snapshot() as snapshot:
        assert snapshot.search_terms(terms([[2]]))[0].scores.tolist() == [1.0]


def test_a_lost_field_is_noticed(tmp_path: Path) -> None:
    Collection.create(tmp_path / "c", 0, terms=FIELDS).close()
    with connect(tmp_path / "c" / "catalog.db") as db:
        db.execute("DELETE FROM meta WHERE key = 'terms'")
    with pytest.raises(DataLoss, match="'terms' is gone"):
        Collection(tmp_path / "c")
