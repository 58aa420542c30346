"""What searches by terms leave out: measured as they search, chosen by target, and in collections that live."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.filters.sql import Range
from plait.index.params import Bm25, TermParams
from plait.index.recall.calibration import Calibration
from plait.index.recall.term_calibration import draw_terms
from plait.index.terms import Terms
from plait.retrieval.routes.options import SearchKeywords
from scipy import sparse

import plait

KEYS, DOCUMENTS = 200, 300


def topics(seed: int, count: int, per_token: bool) -> Terms:
    """Weights over topics of keys; some keys are in most documents."""
    rng, lines, offsets = np.random.default_rng(seed), [], [0]
    for _ in range(count):
        topic = rng.integers(0, 16)
        for _ in range(rng.integers(1, 6) if per_token else 1):
            keys = np.union1d(rng.integers(0, 12, 6), rng.integers(0, 20, 8) + 12 + 11 * topic)
            row = np.zeros(KEYS, np.float32)
            row[keys] = rng.integers(1, 6, len(keys))
            lines.append(row)
        offsets.append(len(lines))
    return Terms(sparse.csr_array(np.array(lines)), np.array(offsets, np.int64) if per_token else None)


FIELDS = {
    "weights": TermField(KEYS),
    "rows per token": TermField(KEYS, per_token=True),
    "counts": TermField(KEYS, counts=True),
}


@pytest.fixture(params=list(FIELDS))
def collection(request: pytest.FixtureRequest, tmp_path: Path) -> Collection:
    """Two segments and fresh documents, dead ones in each."""
    field = FIELDS[request.param]
    made = Collection.create(tmp_path / "c", 0, terms=field, fields=["n"])
    for batch in range(3):
        ids = [f"{batch}-{i}" for i in range(DOCUMENTS // 3)]
        payloads = [{"n": i} for i in range(len(ids))]
        made.live.upsert(ids, None, payloads, terms=topics(batch, len(ids), field.per_token))
        if batch < 2:
            made.seal()
    made.live.delete([f"{batch}-{i}" for batch in range(3) for i in range(0, 100, 9)])
    return made


@pytest.fixture
def cheaper_by_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting takes less than the one before: what is kept must not depend on how busy the machine is."""
    lengths = (1000 - n // 2 if n % 2 else 0 for n in itertools.count())
    clock = itertools.accumulate(lengths)
    monkeypatch.setattr(time, "process_time", lambda: next(clock))


def knobs(collection: Collection) -> tuple[Terms, Bm25 | None]:
    (field,) = collection.schema.terms.values()
    return topics(77, 12, field.per_token), Bm25() if field.counts else None


def test_a_cut_as_large_as_a_segment_leaves_nothing_out(collection: Collection) -> None:
    asked, bm25 = knobs(collection)
    with collection.snapshot() as snapshot:
        for filter in (None, Range("n", lt=20)):
            whole = snapshot.search_terms(asked, 10, filter, bm25)
            cut = snapshot.search_terms(asked, 10, filter, bm25, TermParams(term_candidates=DOCUMENTS))
            for a, b in zip(whole, cut, strict=True):
                assert a.docs.tolist() == b.docs.tolist() and a.scores.tolist() == b.scores.tolist()


def test_what_a_cut_finds_has_its_exact_score(collection: Collection) -> None:
    asked, bm25 = knobs(collection)
    missed = 0
    with collection.snapshot() as snapshot:
        whole = snapshot.search_terms(asked, DOCUMENTS, bm25=bm25)
        for params in (
            TermParams(term_candidates=1, query_terms=2),
            TermParams(term_candidates=5, min_idf=1.0),
            TermParams(term_candidates=5, min_idf=99),
            TermParams(alpha=0.3),
        ):
            for truth, found in zip(whole, snapshot.search_terms(asked, 5, None, bm25, params), strict=True):
                scores = dict(zip(truth.docs.tolist(), truth.scores.tolist(), strict=True))
                assert len(found) == 5 and all(
                    scores[d] == s for d, s in zip(found.docs.tolist(), found.scores, strict=True)
                )
                missed += len(np.setdiff1d(truth.docs[:5], found.docs))
    assert missed, "nothing was left out: a test of nothing"


@pytest.mark.usefixtures("cheaper_by_order")
def test_every_point_is_what_a_search_finds(collection: Collection) -> None:
    asked, bm25 = knobs(collection)
    measured = collection.calibrate(None, [3, 5], terms=asked, bm25=bm25).terms
    stored = collection.calibration
    assert measured and stored and stored.terms == measured
    assert Calibration.from_json(stored.to_json()) == stored
    assert measured.points[-1].recall == 1 and measured.queries == 12 and measured.source == "given"
    with collection.snapshot() as snapshot:
        for point in measured.points:
            truth = snapshot.search_terms(asked, point.k, bm25=bm25)
            found = snapshot.search_terms(asked, point.k, None, bm25, point.params)
            shares = [np.isin(t.docs, f.docs).mean() for t, f in zip(truth, found, strict=True)]
            assert point.recall == pytest.approx(np.mean(shares))
    for target in (0.3, 1.0):
        at = [p for p in measured.points if p.k == 5 and p.recall >= target]
        assert collection.reaching_terms(target, 4) == min(at, key=lambda p: p.cpu_ms).params


def test_drawn_queries_are_of_living_documents(collection: Collection) -> None:
    with collection.snapshot() as snapshot:
        drawn, owners = draw_terms(snapshot, counts=False, count=40)
        assert len(drawn) == len(set(owners)) == 40
        dead = snapshot.view.tombstones()
        assert len(dead) and not np.isin(owners, dead).any()
        for q, owner in enumerate(owners):
            mine, whole = drawn.take([q]).rows[:, :KEYS].toarray(), snapshot.terms(owner).rows.toarray()
            assert len(mine) <= 8 and all(any(((row == 0) | (row == full)).all() for full in whole) for row in mine)
            assert mine.any()
    measured = collection.calibrate(depths=[3], bm25=knobs(collection)[1]).terms
    assert measured and measured.source == "drawn" and measured.queries == 64


def test_what_was_not_measured_is_not_promised(collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="never measured"):
        collection.reaching_terms(0.9, 3)
    asked, bm25 = knobs(collection)
    collection.calibrate(None, [3], terms=asked, bm25=bm25)
    with pytest.raises(FailedPrecondition, match="up to k = 3, not 4"):
        collection.reaching_terms(0.9, 4)
    with pytest.raises(InvalidArgument, match="target_recall is 2"):
        collection.reaching_terms(2, 3)
    (field,) = collection.schema.terms.values()
    for batch in range(10, 14):
        ids = [f"{batch}-{i}" for i in range(100)]
        collection.live.upsert(ids, None, terms=topics(batch, 100, field.per_token))
        collection.seal()
    with pytest.raises(FailedPrecondition, match="200 documents that a search may miss, and"):
        collection.reaching_terms(0.9, 3)
    fresh = Collection.create(tmp_path / "fresh", 0, terms=field)
    assert fresh.reaching_terms(0.9, 3) == TermParams()


def test_a_search_names_a_recall_instead_of_parameters(tmp_path: Path) -> None:
    retriever = plait.create(tmp_path / "c", encoder=None, terms="bm25", policy=None)
    words = [f"{a}{b}" for a in ("stone", "river", "cloud", "ember") for b in ("wood", "light", "fall", "gate")]
    rng = np.random.default_rng(0)
    retriever.add([{"id": str(i), "text": " ".join(rng.choice(words, 12))} for i in range(60)])
    query = "stonewood riverlight ember"
    with pytest.raises(FailedPrecondition, match="never measured"):
        retriever.search(query, target_recall=0.9)
    assert retriever.calibrate([query], [10]).terms is not None
    assert retriever.info()["recall"]["terms"]["points"]
    exact = [(h.id, h.score) for h in retriever.search(query)]
    assert [(h.id, h.score) for h in retriever.search(query, target_recall=1.0)] == exact
    assert [(h.id, h.score) for h in retriever.search(query, term_candidates=60)] == exact
    contradictions: list[SearchKeywords] = [{"target_recall": 0.9, "alpha": 0.5}, {"exact": True, "alpha": 0.5}]
    for wrong in contradictions:
        with pytest.raises(InvalidArgument, match="one or the other"):
            retriever.search(query, 10, **wrong)
