"""Measured recall: what a calibration says is what searches do, and a target picks the
cheapest setting that reaches it."""

import itertools
import time
from pathlib import Path

import numpy as np
import oracle
import pytest
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.params import Scoring, SearchParams
from plait.index.recall.calibration import Calibration, Point, draw
from plait.index.recall.frontier import frontier
from plait.index.tokens import Tokens


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    rng = np.random.default_rng(3)
    collection = Collection.create(tmp_path_factory.mktemp("calibrated") / "c", 16, "lists:8")
    with collection.builder() as builder:
        documents = oracle.normal(rng, rng.integers(0, 30, 400).tolist(), 16)
        builder.add([f"d{i}" for i in range(400)], documents)
        builder.publish()
    return collection


@pytest.fixture(autouse=True)
def dearer_by_order(monkeypatch: pytest.MonkeyPatch):
    """Every setting takes one second more than the one before: what is kept must not depend
    on how busy the machine is."""
    clock = itertools.accumulate(itertools.count(), lambda now, call: now + (call // 2 if call % 2 else 0))
    monkeypatch.setattr(time, "process_time", lambda: next(clock))


def queries(count: int) -> Tokens:
    return oracle.normal(np.random.default_rng(9), [4] * count, 16)


def test_every_point_is_what_a_search_finds(lists: Collection):
    asked = queries(20)
    measured = lists.calibrate(asked, [5])
    assert lists.calibration == measured
    assert len({p.recall for p in measured.points}) > 1, "a test of one setting would show nothing"
    with lists.snapshot() as snapshot:
        truth = snapshot.search(asked, 5, exact=True)
        for point in measured.points:
            params = SearchParams(nprobe=point.nprobe, candidates=point.candidates)
            found = snapshot.search(asked, 5, Scoring(), params)
            shares = [np.isin(t.docs, f.docs).mean() for t, f in zip(truth, found, strict=True)]
            assert point.recall == pytest.approx(np.mean(shares))
            assert point.low <= point.recall


def test_a_target_takes_the_cheapest_setting_that_reached_it(lists: Collection):
    lists.calibrate(queries(20), [3, 8])
    measured = lists.calibration
    assert measured
    for target in (0.3, 0.8, 1.0):
        chosen = lists.reaching(target, 4, SearchParams(k_token=77))
        reaching = [p for p in measured.points if p.k == 8 and p.recall >= target]
        if not reaching:
            assert chosen is None
            continue
        cheapest = min(reaching, key=lambda p: p.cpu_ms)
        assert chosen == SearchParams(77, cheapest.nprobe, cheapest.candidates)


def test_what_cannot_be_promised_is_refused(lists: Collection, tmp_path: Path):
    lists.calibrate(queries(3), [3])
    with pytest.raises(FailedPrecondition, match="up to k = 3, not 4"):
        lists.reaching(0.9, 4, SearchParams())
    for target in (0.0, 1.5, float("nan")):
        with pytest.raises(InvalidArgument, match="target_recall"):
            lists.reaching(target, 3, SearchParams())
    for depths in ([], [0]):
        with pytest.raises(InvalidArgument, match="depths"):
            lists.calibrate(queries(3), depths)
    unmeasured = Collection.create(tmp_path / "new", 4, "flat:8")
    with unmeasured.builder() as builder:
        builder.add(["a"], oracle.normal(np.random.default_rng(0), [2], 4))
        builder.publish()
    with pytest.raises(FailedPrecondition, match="never measured"):
        unmeasured.reaching(0.9, 3, SearchParams())


def test_without_queries_some_are_drawn_from_living_documents(lists: Collection):
    with lists.snapshot() as snapshot:
        drawn, owners = draw(snapshot, 50)
        assert len(set(owners)) == len(drawn) == 50
        for q, owner in enumerate(owners):
            run, document = drawn.vectors[drawn.rows(q)], snapshot.tokens(owner).vectors
            starts = [s for s in range(len(document)) if (document[s : s + len(run)] == run[: len(document) - s]).all()]
            assert starts and len(run) == min(16, len(document))
        again, _ = draw(snapshot, 50)
        assert (again.vectors == drawn.vectors).all()
    assert lists.calibrate(depths=[5]).source == "drawn"


def test_the_document_that_a_query_came_from_does_not_count(lists: Collection):
    # It is the best answer by far and always found: if it counted, recall at 1 could not miss.
    assert lists.calibrate(depths=[1]).points[0].recall < 1


def test_an_exact_collection_reaches_any_recall_unmeasured(tmp_path: Path):
    collection = Collection.create(tmp_path / "c", 4)
    assert collection.calibrate().points == ()
    with collection.builder() as builder:
        builder.add(["a", "b"], oracle.normal(np.random.default_rng(0), [2, 3], 4))
        builder.publish()
    assert collection.calibrate().points == () and collection.reaching(1.0, 500, SearchParams()) is None


def test_what_was_measured_on_a_smaller_collection_is_not_promised(tmp_path: Path):
    """Segments become coded as a collection grows: the recall of what was there before says nothing of them."""
    collection = Collection.create(tmp_path / "c", 16, "flat:8")

    def grow(batch: int) -> None:
        with collection.builder() as builder:
            documents = oracle.normal(np.random.default_rng(batch), [2] * 10, 16)
            builder.add([f"{batch}-{i}" for i in range(10)], documents)
            builder.publish()

    collection.calibrate(queries(4), [3])
    grow(0)
    with pytest.raises(FailedPrecondition, match="0 documents that a search may miss, and 10 are there now"):
        collection.reaching(0.1, 3, SearchParams())
    collection.calibrate(queries(4), [3])
    grow(1)
    assert collection.reaching(0.1, 3, SearchParams())
    grow(2)
    with pytest.raises(FailedPrecondition, match="calibrate again"):
        collection.reaching(0.1, 3, SearchParams())


def test_the_frontier_leaves_out_what_another_beats():
    a, b, c, d = (
        Point(1, n, 1, recall, 0, cpu) for n, recall, cpu in ((1, 0.5, 1), (2, 0.4, 2), (3, 0.9, 3), (4, 0.9, 4))
    )
    assert frontier([d, b, c, a]) == [a, c]
    kept = Calibration((a, c), 3, "given", 7, 7)
    assert Calibration.from_json(kept.to_json()) == kept
