"""Documents found by terms at once, embedded later: when nothing waits, the collection equals
one where nothing ever did."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plait.index.errors import InvalidArgument, NotFound
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.retrieval.corpus import Corpus
from plait.retrieval.offline.build import build
from plait.retrieval.text import freshness

import plait

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")

QUERY = "the moon and the sea"
TEXTS = {
    "a": "The moon pulls the sea, and the sea pulls the moon.",
    "b": "Bread rises because yeast ferments the flour.",
    "c": "Foxes hunt at dusk by the sea.",
    "d": "The moon, the moon, the moon!",
    "e": "Ships sail on the sea under a red moon.",
}
ROWS = [{"id": id, "title": id.upper(), "text": text, "n": n} for n, (id, text) in enumerate(TEXTS.items())]
FIELDS = {"bm25": "bm25", "sets": "binary"}
SEARCHES: list[dict[str, Any]] = [
    {"mode": "tokens"},
    {"mode": "tokens", "exact": True},
    {"field": "bm25"},
    {"field": "sets"},
    {"mode": "hybrid"},
    {"mode": "hybrid", "fusion": "weighted", "filter": {"range": {"n": {"gte": 2}}}},
    {"mode": "rerank", "field": "sets"},
    {"mode": "rerank", "scorer": "bm25", "field": "sets"},
]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "TOGETHER", 2)


def made(path: Path, **settings: Any) -> plait.Retriever:
    settings = {"terms": FIELDS, "policy": None, **settings}
    return plait.create(path, **settings)


def found(index: plait.Retriever, **search: Any) -> dict[str, float]:
    return {hit.id: hit.score for hit in index.search(QUERY, 9, **search)}


def assert_equal(
    index: plait.Retriever, other: plait.Retriever, searches: list[dict[str, Any]] = SEARCHES, near: float = 1e-5
) -> None:
    for search in searches:
        wanted = found(other, **search)
        assert wanted and found(index, **search) == pytest.approx(wanted, rel=near), search
        for id in [*wanted][:2]:
            one, two = (i.explain(QUERY, id, 9, **search) for i in (index, other))
            assert one.score == pytest.approx(two.score, rel=near) and [t.term for t in one.terms] == [
                t.term for t in two.terms
            ]
            assert [m.document for m in one.matches] == [m.document for m in two.matches]
            assert [(s.name, s.passed, s.rank) for s in one.stages] == [(s.name, s.passed, s.rank) for s in two.stages]
    assert index.list_documents() == other.list_documents()


def as_upsert(index: plait.Retriever) -> None:
    assert index.upsert(ROWS, defer=True).count == 5


def as_bulk(index: plait.Retriever) -> None:
    assert index.add(ROWS, defer=True) == 5


@pytest.mark.parametrize(
    ("write", "state"),
    [
        (as_upsert, "fresh"),
        (as_upsert, "sealed"),
        (as_bulk, "compacted"),
        (as_bulk, "reopened"),
        (as_upsert, "restored"),
    ],
)
def test_nothing_is_left_of_having_waited(tmp_path: Path, write: Callable[..., None], state: str) -> None:
    settings = {"reduce": ["idf:80%"], "dim": 24}
    index, whole = made(tmp_path / "c", **settings), made(tmp_path / "whole", **settings)
    write(index)
    whole.upsert(ROWS)
    for turn in range(3):
        if state == "sealed":
            index.collection.seal()
        elif state == "compacted":
            index.collection.compact()
        elif state != "fresh":
            index.close()
            if state == "restored":
                create_snapshot(index.collection.path, tmp_path / f"s{turn}")
                restore_snapshot(tmp_path / f"s{turn}", tmp_path / f"c{turn}")
            index = plait.open(tmp_path / f"c{turn}" if state == "restored" else tmp_path / "c", policy=None)
        for search in ({"field": "bm25"}, {"field": "sets"}):
            assert found(index, **search) == found(whole, **search)
        waiting = 5 - 2 * turn
        assert index.info()["pending"] == len(index.pending) == waiting
        assert len(found(index, mode="tokens")) == 5 - waiting
        lanes = [found(index, **search).keys() for search in ({"field": "bm25"}, {"field": "sets"}, {"mode": "tokens"})]
        assert found(index, mode="hybrid").keys() == set().union(*lanes)
        assert index.encode_pending(limit=2).count == min(2, waiting)
    assert_equal(index, whole)
    index.collection.compact()
    assert_equal(index, whole)
    index.close()
    assert check_collection(index.collection.path) == []


def test_it_waits_at_the_end_of_what_late_interaction_ranks(tmp_path: Path) -> None:
    index = made(tmp_path / "c")
    index.upsert(ROWS[2:])
    index.upsert(ROWS[:2], defer=True)
    ranked = index.search(QUERY, 9, mode="rerank")
    assert [hit.id for hit in ranked][-1] == "a" and len(ranked) == 4
    assert ranked[-1].score == 0 < ranked[-2].score
    why = ranked[-1].explain()
    assert why.score == 0 and {m.document for m in why.matches} == {None} and why.terms
    assert sum(m.contribution for m in why.matches) == 0
    way = index.explain(QUERY, "a", 2, mode="rerank").stages
    assert [(s.name, s.passed) for s in way] == [("bm25", True), ("rerank", False)] and way[-1].score == 0
    assert not index.explain(QUERY, "a", 9, mode="tokens").stages[-1].passed
    assert index.explain(QUERY, "a", mode="hybrid").field_scores["bm25"] > 0
    index.collection.compact()
    assert [hit.id for hit in index.search(QUERY, 9, mode="rerank")] == [hit.id for hit in ranked]


@pytest.mark.parametrize("fusion", ["rrf", "weighted"])
def test_a_hybrid_search_does_not_hold_it_against_a_document(tmp_path: Path, fusion: str) -> None:
    """Where it cannot be yet, it counts as it does elsewhere: the best by terms is
    not behind all that have embeddings."""
    index = made(tmp_path / "c")
    index.upsert(ROWS[1:])
    index.upsert(ROWS[:1], defer=True)
    lanes = [[hit.id for hit in index.search(QUERY, 9, field=field)] for field in FIELDS]
    assert lanes[0][0] == lanes[1][0] == "a"
    first, second, *_ = index.search(QUERY, 9, mode="hybrid", fusion=fusion)
    assert first.id == "a" and first.score > second.score
    assert first.score == pytest.approx(3 / 61 if fusion == "rrf" else 3)
    assert index.explain(QUERY, "a", 9, mode="hybrid", fusion=fusion).stages[-1].score == first.score
    assert index.search(QUERY, 9, lanes=("tokens", "bm25"), weights=(1, 3))[0].score == pytest.approx(4 / 61)
    assert index.search(QUERY, 9, lanes=("sets", "bm25"))[0].score == pytest.approx(2 / 61)


def test_it_is_left_alone_when_it_has_changed_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, texts = made(tmp_path / "c"), dict(TEXTS)
    index.upsert(ROWS, defer=True)
    batches = index.batches

    def meanwhile(documents: Any, defer: bool = False) -> Any:
        yield from batches(documents, defer)
        if not defer and "a" in {d["id"] for d in documents}:
            monkeypatch.setattr(index, "batches", batches)
            index.upsert([{"id": "a", "text": "a loaf of bread"}], defer=True)
            index.update_payload("b", {"n": 99})
        elif not defer and "c" in {d["id"] for d in documents}:
            index.delete(["c"])

    monkeypatch.setattr(index, "batches", meanwhile)
    assert index.encode_pending(limit=2).count == 1
    (a, b) = index.get(["a", "b"])
    assert (a, b["n"], b["text"]) == ({"id": "a", "text": "a loaf of bread"}, 99, TEXTS["b"])
    assert found(index, mode="tokens").keys() == {"b"} and len(index.pending) == 4
    monkeypatch.setattr(index, "batches", meanwhile)
    done = []
    assert index.encode_pending(progress=lambda done_, total: done.append((done_, total))).count == 3
    assert done == [(2, 4), (4, 5), (5, 5)]
    whole = made(tmp_path / "whole")
    texts["a"] = "a loaf of bread"
    whole.upsert([ROWS[1] | {"n": 99}, *ROWS[3:], {"id": "a", "text": "a loaf of bread"}])
    assert_equal(index, whole)
    assert index.encode_pending().count == 0


@pytest.mark.parametrize("again", [True, False])
def test_a_deferred_build_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Deferred to its end, or not: then the rest is whole, and only what was staged before waits."""
    monkeypatch.setattr("plait.retrieval.text.documents.BATCH", 2)
    corpus = Corpus("memory", None, lambda: iter(ROWS))
    index, whole = (made(tmp_path / name, reduce=["idf:80%"], dim=8) for name in ("c", "whole"))

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("add", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(index, corpus, stop, defer=True)
    index.close()
    index = plait.open(tmp_path / "c", policy=None)
    done = build(index, corpus, defer=again)
    assert (done["documents"], done["resumed_after"]) == (5, 2)
    assert index.info()["pending"] == (5 if again else 2)
    assert (index.collection.calibration is None) == again
    assert len(found(index, mode="tokens")) == (0 if again else 3)
    build(whole, corpus)
    assert found(index, field="bm25") == found(whole, field="bm25") != {}
    index.encode_pending()
    assert_equal(index, whole)


def test_fields_of_a_model_wait_too(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="extra encoders is not installed")
    pytest.importorskip("transformers", reason="extra encoders is not installed")
    import sparse_checkpoints as tiny

    head = {"tok_proj.weight": tiny.random(1, 1, 32) / 4, "tok_proj.bias": torch.full((1,), 2.0)}
    (tmp_path / "tilde").mkdir()
    tiny.save(tmp_path / "tilde", {**tiny.under("bert.", tiny.plain()), **head}, ["TILDEv2"])
    terms = {"bm25": "bm25", "tilde": f"tildev2:{tmp_path / 'tilde'}"}
    index, whole = (made(tmp_path / name, encoder=None, terms=terms) for name in ("c", "whole"))
    index.upsert(ROWS, defer=True)
    whole.upsert(ROWS)
    assert found(index, field="tilde") == {} and found(index) == found(whole) != {}
    assert found(index, scorer="tilde") == dict.fromkeys(found(whole), 0.0)
    assert index.encode_pending().count == 5
    assert_equal(index, whole, [{"field": "tilde"}, {"field": "bm25"}, {"mode": "hybrid"}, {"scorer": "tilde"}])


def test_a_vector_waits_with_its_terms(tmp_path: Path) -> None:
    """DupMAE makes both; a zero vector is no answer to a search by vector, or by the sum."""
    pytest.importorskip("torch", reason="extra encoders is not installed")
    pytest.importorskip("transformers", reason="extra encoders is not installed")
    import sparse_checkpoints as tiny
    from test_coil_collections import dupmae

    folder = dupmae(tmp_path / "dupmae")
    terms = {"dupmae": str(folder), "sets": f"binary:{folder}"}
    texts = [{"id": str(i), "text": text} for i, text in enumerate(tiny.TEXTS)]
    index, whole = (made(tmp_path / name, encoder=None, terms=terms) for name in ("c", "whole"))
    index.upsert(texts[:2])
    index.upsert(texts[2:], defer=True)
    whole.upsert(texts)
    for search in ({"mode": "vector"}, {"mode": "sum"}):
        assert found(index, **search).keys() <= {"0", "1"}
    assert found(index, field="sets") == found(whole, field="sets")
    index.encode_pending()
    index.collection.compact()
    for search in ({"mode": "vector"}, {"mode": "sum"}, {"mode": "hybrid"}):
        assert found(index, **search) == pytest.approx(found(whole, **search), rel=1e-5) != {}


# In half precision the rounding of a value depends on how wide its batch is padded.
@pytest.mark.parametrize(("write", "dtype", "near"), [(as_upsert, None, 1e-5), (as_bulk, "float16", 2e-3)])
def test_coil_waits_too(tmp_path: Path, write: Callable[..., None], dtype: str | None, near: float) -> None:
    """Its tokens with their ids and its vectors come later: beside documents that have
    theirs, and as if they had not."""
    pytest.importorskip("torch", reason="extra encoders is not installed")
    pytest.importorskip("transformers", reason="extra encoders is not installed")
    from test_coil_collections import coil

    settings = {"encoder": str(coil(tmp_path / "coil")), "options": plait.EncoderOptions(dtype=dtype)}
    index, whole, early = (made(tmp_path / name, **settings) for name in ("c", "whole", "early"))
    first = [{"id": "z", "text": "the red sea, the moon"}]
    for one in (index, early, whole):
        one.upsert(first)
    write(index)
    whole.upsert(ROWS)
    by_model: list[dict[str, Any]] = [{"mode": "tokens"}, {"mode": "vector"}, {"mode": "tokens", "exact": True}]
    for field in FIELDS:
        assert found(index, field=field) == found(whole, field=field)
    for search in by_model:
        assert found(index, **search) == found(early, **search) and found(index, **search).keys() == {"z"}
    assert found(index, mode="hybrid").keys() == {"z"} | found(whole, field="sets").keys() | found(whole).keys()
    assert index.encode_pending(limit=2).count == 2 and index.info()["pending"] == 3
    for search in by_model:
        some = found(index, **search)
        assert len(some) == 3 and some == pytest.approx({id: found(whole, **search)[id] for id in some}, rel=near)
    index.close()
    index = plait.open(tmp_path / "c", policy=None)
    assert index.encode_pending().count == 3 and index.info()["pending"] == 0
    for _ in range(2):
        assert_equal(index, whole, [*SEARCHES, *by_model], near)
        index.collection.compact()
    index.close()
    assert check_collection(tmp_path / "c") == []


CHILD = """
import sys, plait
from plait.retrieval.text import freshness
freshness.TOGETHER = 1
plait.open(sys.argv[1], policy=None).encode_pending(progress=lambda done, total: print(done, flush=True))
"""


def test_who_is_killed_while_it_encodes_has_lost_nothing(tmp_path: Path) -> None:
    index, whole = made(tmp_path / "c"), made(tmp_path / "whole")
    index.upsert(ROWS, defer=True)
    whole.upsert(ROWS)
    index.close()
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", CHILD, tmp_path / "c"], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None and child.stdout.readline() == "1\n"
        child.kill()
        child.wait()
        child.stdout.close()
        assert check_collection(tmp_path / "c") == []
    index = plait.open(tmp_path / "c", policy=None)
    assert found(index, field="bm25") == found(whole, field="bm25")
    assert len(index.pending) + len(found(index, mode="tokens")) == 5 and len(index.pending) <= 3
    index.encode_pending()
    assert_equal(index, whole)


def test_two_that_encode_do_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, seen = made(tmp_path / "c"), []
    index.upsert(ROWS, defer=True)
    documents = type(index.encoding).documents
    monkeypatch.setattr(
        type(index.encoding), "documents", lambda self, texts: seen.extend(texts) or documents(self, texts)
    )
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(index.encode_pending().count)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == len(seen) == 5 and len(index.pending) == 0


def test_where_nothing_can_be_deferred_the_error_says_what_can(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"terms": None}, "this collection has no terms: nothing finds a document.*binary, beta:CHECKPOINT or bm25"),
        ({"encoder": None}, "bm25, sets of this collection need no model; leave it out"),
        ({"encoder": None, "dim": 4}, "vectors of this collection are given"),
        ({"encoder": None, "vector": 4}, "vectors of this collection are given"),
    ]
    for number, (settings, message) in enumerate(cases):
        index = made(tmp_path / str(number), **settings)
        for write in (index.upsert, index.add):
            with pytest.raises(InvalidArgument, match=f"defer is True, and .*{message}"):
                write(ROWS, defer=True)
        assert len(index) == 0
    index = made(tmp_path / "c")
    with pytest.raises(InvalidArgument, match="needs 'text'"):
        index.upsert([{"id": "x"}], defer=True)
    with pytest.raises(InvalidArgument, match="limit is 0"):
        index.encode_pending(limit=0)
    with pytest.raises(NotFound):
        index.explain(QUERY, "nobody")
