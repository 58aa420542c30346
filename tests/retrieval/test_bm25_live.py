"""BM25 in living collections: the formula over what lives, whatever the segments; text
in, routes through both sides."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, InvalidArgument, NotFound
from plait.index.filters.sql import Range
from plait.index.params import Bm25
from plait.index.search.fusion import rrf, weighted
from plait.index.terms import Terms
from plait.retrieval.routes.find import terms_of
from plait.retrieval.sparse.analyzer import words
from scipy import sparse

import plait

DOCUMENT = st.lists(st.integers(0, 9), max_size=12)


def terms(documents: list[list[int]]) -> Terms:
    rows = sparse.lil_array((len(documents), 16), dtype=np.float32)
    for i, document in enumerate(documents):
        for key, count in Counter(document).items():
            rows[i, key] = count
    return Terms(rows.tocsr())


def bm25(documents: dict[str, list[Any]], query: list[Any], k1: float, b: float) -> dict[str, float]:
    """The formula, term by term; documents that share a term with the query."""
    mean = sum(map(len, documents.values())) / max(1, len(documents)) or 1.0
    scores: dict[str, float] = {}
    for id, document in documents.items():
        counted = Counter(document)
        for term, times in Counter(query).items():
            if not (tf := counted[term]):
                continue
            df = sum(term in other for other in documents.values())
            idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
            norm = k1 * (1 - b + b * len(document) / mean)
            scores[id] = scores.get(id, 0) + times * idf * tf / (tf + norm)
    return scores


def found(collection: Collection, query: list[int], knobs: Bm25, **search: Any) -> list[tuple[str, float]]:
    with collection.snapshot() as snapshot:
        hits = snapshot.search_terms(terms([query]), 99, bm25=knobs, **search)[0]
        return [(d.id, float(s)) for d, s in zip(snapshot.documents(hits.docs), hits.scores, strict=True)]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(DOCUMENT, min_size=1, max_size=6), min_size=1, max_size=4),
    st.lists(st.integers(0, 11), min_size=1, max_size=6),
    st.sets(st.integers(0, 20), max_size=6),
    st.sampled_from([Bm25(), Bm25(0), Bm25(0.9, 0.4), Bm25(2, 1)]),
)
def test_scores_are_the_formula_over_what_lives(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[list[int]]],
    query: list[int],
    dead: set[int],
    knobs: Bm25,
) -> None:
    path = tmp_path_factory.mktemp("c") / "c"
    collection = Collection.create(path, 0, terms=TermField(16, counts=True))
    living: dict[str, list[int]] = {}
    for number, batch in enumerate(batches):
        ids = [f"{number}-{i}" for i in range(len(batch))]
        collection.live.upsert(ids, None, [{"n": len(living) + i} for i in range(len(batch))], terms=terms(batch))
        living |= dict(zip(ids, batch, strict=True))
        if number % 2 == 0:
            collection.seal()
    gone = [id for i, id in enumerate(living) if i in dead]
    collection.live.delete(gone)
    numbered = {id: n for n, id in enumerate(living)}
    living = {id: document for id, document in living.items() if id not in gone}
    truth = bm25(living, query, knobs.k1, knobs.b)
    before = found(collection, query, knobs)
    assert dict(before) == pytest.approx(truth, rel=1e-5)
    assert [s for _, s in before] == sorted((s for _, s in before), reverse=True)
    few = found(collection, query, knobs, filter=Range("n", gte=3))
    assert few == [(id, s) for id, s in before if numbered[id] >= 3]
    with collection.snapshot() as snapshot:
        for id, score in before[:3]:
            why = snapshot.explain_terms(terms([query]), snapshot.view.by_id(id).number, knobs)
            assert why.score == score == np.float32(why.contributions.sum())
    collection.compact()
    assert found(collection, query, knobs) == before
    collection.close()


def test_only_counts_are_weighed_by_bm25(tmp_path: Path) -> None:
    weights = Collection.create(tmp_path / "w", 0, terms=True)
    with weights.snapshot() as snapshot, pytest.raises(InvalidArgument, match="counts=True"):
        snapshot.search_terms(terms([[1]]), bm25=Bm25())
    counts = Collection.create(tmp_path / "c", 0, terms=TermField(16, counts=True))
    for bad in (0.5, -1.0):
        with pytest.raises(InvalidArgument, match="whole numbers"):
            counts.live.upsert(["a"], None, terms=Terms(sparse.csr_array(np.array([[bad]], np.float32))))
    with pytest.raises(InvalidArgument, match="per_token"):
        TermField(counts=True, per_token=True)
    for k1, b in ((-1, 0.5), (1, 1.5), (float("nan"), 0.5)):
        with pytest.raises(InvalidArgument, match="k1 is"):
            Bm25(k1, b)


def test_counts_may_be_searched_as_they_are(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", 0, terms=TermField(16, counts=True))
    collection.live.upsert(["a", "b"], None, terms=terms([[1, 1, 1, 2], [1, 2, 2, 2, 2, 3]]))
    collection.seal()
    with collection.snapshot() as snapshot:
        hits = snapshot.search_terms(terms([[1, 2, 2]]))[0]
    assert hits.docs.tolist() == [1, 0] and hits.scores.tolist() == [9, 5]


TEXTS = {
    "bread": "Bread rises because yeast ferments the flour.",
    "tides": "The moon pulls the sea and makes the tides.",
    "moon": "The moon has no air; its craters are old.",
    "yeast": "Yeast is a fungus. Brewers and bakers keep yeast alive.",
}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> plait.Retriever:
    retriever = plait.create(tmp_path_factory.mktemp("both") / "c", terms="bm25", policy=None)
    retriever.add([{"id": id, "text": text} for id, text in list(TEXTS.items())[:2]])
    retriever.upsert([{"id": id, "text": text} for id, text in list(TEXTS.items())[2:]])
    return retriever


def test_a_text_takes_every_route(both: plait.Retriever) -> None:
    query = "what does the moon do to the sea and to yeast"
    analysed = dict(zip(TEXTS, words(TEXTS.values()), strict=True))
    sparse_hits = both.search(query, 4, mode="terms")
    assert {h.id: h.score for h in sparse_hits} == pytest.approx(bm25(analysed, words([query])[0], 1.2, 0.75), rel=1e-5)
    dense = both.search(query, 4)
    with both.collection.snapshot() as snapshot:
        ready = both.encode([query], mode="hybrid")
        assert ready.tokens is not None and ready.terms is not None
        fused = rrf(
            [snapshot.search(ready.tokens, 9)[0], snapshot.search_terms(terms_of(ready, "terms"), 9, bm25=Bm25())[0]],
            60,
            [1, 1],
        ).hits
        expected = [d.id for d in snapshot.documents(fused.docs)]
    hybrid = both.search(query, 4, mode="hybrid")
    assert [h.id for h in hybrid] == expected and [h.score for h in hybrid] == fused.scores.tolist()
    with both.collection.snapshot() as snapshot:
        sides = [
            snapshot.search(ready.tokens, 9)[0],
            snapshot.search_terms(terms_of(ready, "terms"), 9, bm25=Bm25())[0],
        ]
        for normalise in ("minmax", "zscore", "none"):
            summed = weighted(sides, (1, 0.5), normalise).hits
            found = both.search(query, 4, mode="hybrid", fusion="weighted", normalise=normalise, weights=(1, 0.5))
            assert [h.id for h in found] == [d.id for d in snapshot.documents(summed.docs)]
            assert [h.score for h in found] == summed.scores.tolist()
    reranked = both.search(query, 4, mode="rerank")
    assert {h.id for h in reranked} == {h.id for h in sparse_hits}
    assert {h.id: h.score for h in reranked} == pytest.approx(
        {h.id: h.score for h in dense if h.id in {r.id for r in reranked}}
    )
    # Only what is among the first by terms is scored: here that is not the best by tokens.
    asked = "how do bakers make dough rise with yeast"
    first, best = both.search(asked, 1, mode="terms")[0].id, both.search(asked, 1, mode="rerank")[0].id
    assert first != best == both.search(asked, 1)[0].id
    assert [h.id for h in both.search(asked, 1, mode="rerank", depth=1)] == [first]


def test_an_explanation_has_both_sides(both: plait.Retriever) -> None:
    hit = both.search("moon and yeast", 4, mode="hybrid")[0]
    why = hit.explain()
    assert why.matches and why.score == hit.score == pytest.approx(
        sum(lane.contribution for lane in why.lanes), rel=1e-6
    )
    assert [lane.lane for lane in why.lanes] == ["tokens", "terms"] and all(lane.rank for lane in why.lanes)
    tokens = why.lanes[0].score
    assert tokens == pytest.approx(sum(m.contribution for m in why.matches), rel=1e-5)
    assert why.terms_score == pytest.approx(sum(t.contribution for t in why.terms), rel=1e-5)
    assert {t.term for t in why.terms} <= {"moon", "yeast"} and why.terms
    alone = both.explain("moon and yeast", "moon", mode="terms")
    assert not alone.matches and [t.term for t in alone.terms] == ["moon"] and alone.score == alone.terms_score


def test_terms_alone_need_no_encoder(tmp_path: Path) -> None:
    retriever = plait.create(tmp_path / "c", encoder=None, terms="bm25:german")
    retriever.add([{"id": "a", "text": "Die Hunde bellen"}, {"id": "b", "text": "Katzen schlafen"}])
    assert [h.id for h in retriever.search("ein Hund bellt")] == ["a"]
    assert [h.id for h in plait.open(tmp_path / "c").search("Katze")] == ["b"]
    with pytest.raises(FailedPrecondition, match="without an encoder"):
        retriever.search("Hund", mode="tokens")


def test_wrong_routes_are_refused(both: plait.Retriever, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="mode is 'sparse'"):
        both.search("moon", mode="sparse")
    with pytest.raises(InvalidArgument, match="fusion is 'sum'"):
        both.search("moon", mode="hybrid", fusion="sum")
    with pytest.raises(InvalidArgument, match="normalise is 'rank'"):
        both.search("moon", mode="hybrid", fusion="weighted", normalise="rank")
    with pytest.raises(InvalidArgument, match="depth is 0"):
        both.search("moon", mode="rerank", depth=0)
    with pytest.raises(InvalidArgument, match="language is 'klingon'"):
        plait.create(tmp_path / "k", terms="bm25:klingon")
    with pytest.raises(NotFound, match="nowhere"):
        plait.create(tmp_path / "t", terms="./nowhere")
    plain = plait.create(tmp_path / "p")
    with pytest.raises(InvalidArgument, match="holds no terms"):
        plain.search("moon", mode="hybrid")
    given = both.encode(["moon"])
    with pytest.raises(InvalidArgument, match="no terms"):
        both.search(given, mode="terms")
