"""Documents whose vectors come later, beside a dictionary: found by the terms that are there, by nothing else until
they are whole."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from life import COIL, DIM, FIELDS, KEYED_QUERY, VECTOR, document, keyed, offset, sparse, terms_of
from plait.index.catalog.catalog import FORMAT
from plait.index.catalog.database import connect
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import InvalidArgument
from plait.index.filters.sql import Range
from plait.index.hits import Hits
from plait.index.params import SearchParams
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.reading.snapshot import Snapshot
from plait.index.terms import Terms
from plait.index.tokens import concatenate
from plait.index.writing.maintenance import Policy
from test_format import CASES, GOLDEN, counted_rows, sparse_rows
from test_terms_live import expected, query

IDS = st.sampled_from("abcdefgh")
EARLY = {"weights": FIELDS["weights"]}
"""The field whose terms are there at once."""
EVERYTHING = SearchParams(k_token=999, nprobe=99, candidates=999)


def early(seeds: Sequence[int]) -> dict[str, Terms]:
    made = terms_of([*seeds], EARLY)
    assert isinstance(made, dict)
    return made


def whole(seeds: Sequence[int]) -> dict[str, Any]:
    return {"tokens": concatenate([keyed(seed) for seed in seeds]), "terms": terms_of([*seeds], FIELDS)}


def scored(snapshot: Snapshot, hits: Hits) -> dict[str, float]:
    return {d.id: float(s) for d, s in zip(snapshot.documents(hits.docs), hits.scores, strict=True)}


def assert_finds(collection: Collection, model: dict[str, tuple[int, dict[str, Any], bool]]) -> None:
    """Every kind of search finds what is there of each document, by id: its seed, its payload, whether it waits."""
    there = {id: keyed(seed) for id, (seed, _, waits) in model.items() if not waits}
    assert KEYED_QUERY.globals_ is not None
    with collection.snapshot() as snapshot:
        view = snapshot.view
        numbers = {id: view.by_id(id).number for id in model}
        assert {d.id: d.payload for d in view.page("", 99)} == {id: payload for id, (_, payload, _) in model.items()}
        assert view.pending().tolist() == sorted(numbers[id] for id, (_, _, waits) in model.items() if waits)
        assert view.count_pending() == len(model) - len(there)
        for k in (2, 99):
            (hits,) = snapshot.search(KEYED_QUERY, k, params=EVERYTHING)
            maxsim = {numbers[id]: oracle.maxsim(KEYED_QUERY.vectors, d.vectors) for id, d in there.items()}
            oracle.same_ranking(hits, maxsim, k, 1e-4)
            (hits,) = snapshot.search(KEYED_QUERY, k, COIL)
            coil = {numbers[id]: oracle.coil(KEYED_QUERY, d) for id, d in there.items()}
            oracle.same_ranking(hits, {n: s for n, s in coil.items() if s is not None}, k, 1e-4)
            (hits,) = snapshot.search_vectors(KEYED_QUERY.globals_, k)
            products = {numbers[id]: oracle.product(KEYED_QUERY, d) for id, d in there.items()}
            oracle.same_ranking(hits, products, k, 1e-4)
        for name, field in FIELDS.items():
            asked = query(field.per_token)
            truth = {
                id: expected(asked, sparse(seed + offset(name), field))
                for id, (seed, _, waits) in model.items()
                if name in EARLY or not waits
            }
            (hits,) = snapshot.search_terms(asked, 99, field=name)
            assert scored(snapshot, hits) == pytest.approx(
                {id: s for id, s in truth.items() if s is not None}, abs=1e-4
            )
        given = snapshot.score_tokens(KEYED_QUERY, [*numbers.values()])
        for id, score in zip(numbers, given.tolist(), strict=True):
            assert score == pytest.approx(0 if model[id][2] else maxsim[numbers[id]], abs=1e-4)


class Model(RuleBasedStateMachine):
    folders: pytest.TempPathFactory

    @initialize(store=st.sampled_from(["exact", "flat:8", "lists:8", "contextual"]))
    def create(self, store: str) -> None:
        self.path = self.folders.mktemp("pending") / "c"
        self.collection = Collection.create(self.path, DIM, store, fields=["n"], terms=FIELDS, vector=VECTOR)
        self.model: dict[str, tuple[int, dict[str, Any], bool]] = {}

    @rule(batch=st.dictionaries(IDS, st.integers(0, 60), min_size=1, max_size=4), defer=st.booleans())
    def upsert(self, batch: dict[str, int], defer: bool) -> None:
        seeds, payloads = [*batch.values()], [{"n": seed} for seed in batch.values()]
        given = {"tokens": None, "terms": early(seeds)} if defer else whole(seeds)
        self.collection.live.upsert([*batch], **given, payloads=payloads, defer=defer)
        self.model |= {id: (seed, {"n": seed}, defer) for id, seed in batch.items()}

    @rule(seed=st.integers(0, 60), publish=st.booleans())
    def bulk(self, seed: int, publish: bool) -> None:
        ids = [id for id in "ijk" if id not in self.model]
        if ids:
            with self.collection.builder() as builder:
                builder.add(ids, None, [{"n": seed}] * len(ids), early([seed] * len(ids)), defer=True)
                getattr(builder, "publish" if publish else "discard")()
        if publish:
            self.model |= {id: (seed, {"n": seed}, True) for id in ids}

    @rule(others=st.sets(IDS, max_size=5))
    def complete(self, others: set[str]) -> None:
        """Those that wait, of all but some; what does not wait is left as it is."""
        asked = {id: entry for id, entry in self.model.items() if id not in others}
        if not asked:
            return
        with self.collection.catalog.reading() as view:
            numbers = np.array([view.by_id(id).number for id in asked], np.int64)
        # What comes for a document that does not wait is not its own: it must not be kept.
        seeds = [seed if waits else seed + 1 for seed, _, waits in asked.values()]
        done = self.collection.live.complete(numbers, **whole(seeds))
        assert done.count == sum(waits for _, _, waits in asked.values())
        self.model |= {id: (seed, payload, False) for id, (seed, payload, _) in asked.items()}

    @rule(ids=st.lists(IDS, max_size=3, unique=True))
    def delete(self, ids: list[str]) -> None:
        self.collection.live.delete(ids)
        self.model = {id: entry for id, entry in self.model.items() if id not in ids}

    @rule(id=IDS, n=st.integers(0, 60))
    def update_payload(self, id: str, n: int) -> None:
        if id in self.model:
            self.collection.live.update_payload(id, {"n": n})
            seed, _, waits = self.model[id]
            self.model[id] = seed, {"n": n}, waits

    @rule(what=st.sampled_from(["seal", "compact", "merge", "reopen", "restore"]))
    def keep(self, what: str) -> None:
        if what in ("seal", "compact"):
            getattr(self.collection, what)()
        elif what == "merge":
            numbers = [row["number"] for row in self.collection.stats()["segments"]]
            self.collection.maintenance.merge(numbers[-2:])
        else:
            self.collection.close()
            if what == "restore":
                copy = self.path.with_name(f"copy-{len(list(self.path.parent.iterdir()))}")
                create_snapshot(self.path, copy)
                self.path = copy.with_name(copy.name + "-restored")
                restore_snapshot(copy, self.path)
            self.collection = Collection(self.path)
            _ = self.collection.live  # takes the lock

    @invariant()
    def equals_the_dictionary(self) -> None:
        if hasattr(self, "model"):
            assert_finds(self.collection, self.model)

    def teardown(self) -> None:
        if hasattr(self, "collection"):
            self.collection.close()
            assert check_collection(self.path) == []


def test_any_sequence_equals_a_dictionary(tmp_path_factory: pytest.TempPathFactory) -> None:
    Model.folders = tmp_path_factory
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    chosen = {"phases": [Phase.explicit, Phase.generate], "suppress_health_check": slow}
    run_state_machine_as_test(
        Model, settings=settings(max_examples=25, stateful_step_count=15, deadline=None, **chosen)
    )


def test_a_filter_is_applied_to_what_waits_as_well(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", DIM, terms=FIELDS, vector=VECTOR)
    collection.live.upsert(list("abcd"), None, [{"n": i} for i in range(4)], terms=early([3, 5, 7, 8]), defer=True)
    with collection.snapshot() as snapshot:
        (every,) = snapshot.search_terms(query(False), 9, field="weights")
        (few,) = snapshot.search_terms(query(False), 9, Range("n", gte=2), field="weights")
    assert few.docs.tolist() == [n for n in every.docs.tolist() if n >= 2] and len(every) == 4


@pytest.mark.parametrize("precision", ["int8", "pq:32", "residual:2"])
def test_precisions_that_learn_learn_from_what_comes(tmp_path: Path, precision: str) -> None:
    later, now = (
        Collection.create(tmp_path / name, 32, terms=TermField(), precision=precision) for name in ("later", "now")
    )
    tokens = oracle.normal(np.random.default_rng(0), [3, 0, 5, 4], 32)
    tokens = tokens.with_vectors(tokens.vectors / np.linalg.norm(tokens.vectors, axis=1, keepdims=True))
    terms = terms_of([1, 2, 3, 4], TermField())
    asked = oracle.normal(np.random.default_rng(1), [3], 32)
    later.live.upsert(list("abcd"), None, terms=terms, defer=True)
    for seals in (False, True):
        with later.snapshot() as snapshot:
            assert len(snapshot.search(asked, 9)[0]) == 0 and not snapshot.score_tokens(asked, [0, 1, 2, 3]).any()
            assert len(snapshot.tokens(2).vectors) == 0
        if seals:
            later.compact()
    later.live.complete(np.arange(4), tokens, terms)
    now.live.upsert(list("abcd"), tokens, terms=terms)
    found = []
    for collection in (later, now):
        collection.compact()
        with collection.snapshot() as snapshot:
            found.append(scored(snapshot, snapshot.search(asked, 9)[0]))
    assert found[0] == found[1] and len(found[0]) == 3


def test_what_waits_is_sealed_before_it_slows_searches(tmp_path: Path) -> None:
    """It has no tokens to count; each document counts for 64."""
    collection = Collection.create(tmp_path / "c", DIM, terms=TermField())
    policy, segments = Policy(seal_tokens=640, seal_age_s=1e9, fanout=2), 0
    for start in range(0, 60, 3):
        seeds = [start, start + 1, start + 2]
        collection.live.upsert([str(s) for s in seeds], None, terms=terms_of(seeds, TermField()), defer=True)
        while collection.maintenance.step(policy):
            pass
        with collection.snapshot() as snapshot:
            assert len(snapshot.state.fresh) <= 4
            assert snapshot.view.fresh_size()[0] < 10
            segments = max(segments, len(snapshot.view.segments()))
    sizes = [row["documents"] for row in collection.stats()["segments"]]
    assert sum(sizes) + collection.stats()["fresh"] == 60 and max(sizes) > 20
    # Merged by documents: sizes that differ by more than the fanout are left apart, and not all merged at every seal.
    assert segments == 2
    assert collection.stats()["pending"] == 60 and collection.stats()["tokens"] == 0


def test_chunks_of_fresh_documents_that_wait_are_moved_few_times(tmp_path: Path) -> None:
    """Joined by halves, as those with tokens are: never all of them at every write."""
    collection, largest = Collection.create(tmp_path / "c", DIM, terms=TermField()), []
    for seed in range(65):
        collection.live.upsert([str(seed)], None, terms=terms_of([seed], TermField()), durable=False, defer=True)
        with collection.snapshot() as snapshot:
            largest.append(snapshot.state.fresh[0])
    assert len({id(chunk) for chunk in largest}) <= 10


def test_what_no_longer_waits_is_left_alone(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", DIM, terms=TermField())
    live, terms = collection.live, terms_of([3, 4, 6], TermField())
    live.upsert(["a", "b", "c"], None, terms=terms, defer=True)
    live.upsert(["a"], document(8), terms=terms_of([8], TermField()))
    live.delete(["b"])
    given = {
        "tokens": concatenate([document(seed) for seed in (3, 4, 6, 9)]),
        "terms": terms_of([3, 4, 6, 9], TermField()),
    }
    assert live.complete(np.array([0, 1, 2, 3]), **given).count == 1
    with collection.snapshot() as snapshot:
        held = {d.id: snapshot.tokens(d.number).vectors for d in snapshot.view.page("", 9)}
    assert held.keys() == {"a", "c"}
    np.testing.assert_array_equal(held["a"], document(8).vectors)
    np.testing.assert_array_equal(held["c"], document(6).vectors)


def test_what_is_not_published_does_not_wait_yet(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", DIM, terms=TermField())
    with collection.builder() as builder:
        builder.add(["a", "b"], None, terms=terms_of([3, 4], TermField()), defer=True)
    with collection.catalog.reading() as view:
        assert view.count_pending() == len(view.pending()) == 0
    create_snapshot(tmp_path / "c", tmp_path / "copy")
    with collection.builder() as builder:
        builder.publish()
    with collection.catalog.reading() as view:
        assert view.count_pending() == len(view.pending()) == 2
    with Collection(tmp_path / "copy") as copy, copy.builder() as builder:
        # The same numbers are given again: what the copy forgot does not wait in it.
        builder.add(["c", "d"], concatenate([document(3), document(4)]), terms=terms_of([3, 4], TermField()))
        builder.publish()
        assert copy.stats()["pending"] == 0
    assert check_collection(tmp_path / "c") == check_collection(tmp_path / "copy") == []


def test_a_write_by_a_plait_that_knows_nothing_of_it_keeps_it_right(tmp_path: Path) -> None:
    """It deletes rows of `documents`, and no others that are new: the catalog itself forgets that they waited."""
    collection = Collection.create(tmp_path / "c", DIM, terms=TermField())
    collection.live.upsert(["a", "b"], None, terms=terms_of([3, 4], TermField()), defer=True)
    collection.close()
    db = connect(tmp_path / "c" / "catalog.db")
    with db:
        number = db.execute("SELECT number FROM documents WHERE id = 'a'").get
        db.execute("DELETE FROM documents WHERE number = ?", (number,))
        db.execute("DELETE FROM growing WHERE number = ?", (number,))
        db.execute("INSERT INTO tombstones VALUES (?, 2)", (number,))
    db.close()
    assert check_collection(tmp_path / "c") == []
    with Collection(tmp_path / "c").catalog.reading() as view:
        assert [d.id for d in view.by_number(view.pending())] == ["b"]


@pytest.mark.parametrize(("version", "store"), [case for case in CASES if case[0] > 1])
def test_older_collections_may_have_documents_that_wait_and_stay_what_they_are(
    tmp_path: Path, version: int, store: str
) -> None:
    path = shutil.copytree(GOLDEN / f"v{version}" / store, tmp_path / "c")
    terms = {"plain": sparse_rows("z3")} if version >= 4 else sparse_rows("z3")
    with Collection(path) as collection:
        assert collection.stats()["pending"] == 0
        collection.live.upsert(["z"], None, [{"n": 3}], terms=terms, defer=True)
        collection.compact()
        with collection.catalog.reading() as view:
            assert view.meta("format") == version <= FORMAT and view.count_pending() == 1
        with collection.snapshot() as snapshot:
            (hits,) = snapshot.search_terms(sparse_rows("q3"), 99)
            assert "z" in {d.id for d in snapshot.documents(hits.docs)}
            if version >= 4:
                assert (
                    snapshot.terms(snapshot.view.by_id("z").number, "counted").rows.nnz
                    == 0
                    < counted_rows("z3").rows.nnz
                )
    assert check_collection(path) == []


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("INSERT INTO pending SELECT number FROM documents WHERE id = 'fresh'", "waits for its tokens and has some"),
        ("INSERT INTO pending SELECT number FROM documents WHERE id = 'sealed'", "waits for its tokens and has some"),
        ("INSERT INTO pending VALUES (0)", "wait for their tokens and are not there, first number 0"),
    ],
)
def test_a_check_finds_what_cannot_wait(tmp_path: Path, sql: str, said: str) -> None:
    path = tmp_path / "c"
    with Collection.create(path, DIM, terms=FIELDS, vector=VECTOR) as collection:
        collection.live.upsert(["dead", "sealed"], **whole([3, 4]))
        collection.live.upsert(["waits"], None, terms=early([6]), defer=True)
        collection.live.delete(["dead"])
        collection.seal()
        collection.live.upsert(["fresh"], **whole([7]))
    assert check_collection(path) == []
    db = connect(path / "catalog.db")
    with db:
        db.execute(sql)
        assert db.changes() == 1
    db.close()
    (problem,) = check_collection(path)
    assert said in problem


def test_what_cannot_be_deferred_is_refused(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", DIM, terms=FIELDS, vector=VECTOR)
    plain = Collection.create(tmp_path / "plain", DIM)
    for where, tokens, terms, message in (
        (collection, keyed(3), early([3]), "tokens are given"),
        (collection, None, None, "give terms of some field"),
        (collection, None, {}, "give terms of some field"),
        (collection, None, {"nobody": sparse(3, TermField())}, "no term field is called 'nobody'"),
        (collection, None, sparse(3, TermField()), "several term fields"),
        (collection, None, early([3, 4]), "terms of 2 documents"),
        (plain, None, sparse(3, TermField()), "holds no terms"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            where.live.upsert(["x"], tokens, terms=terms, defer=True)
        with where.builder() as builder, pytest.raises(InvalidArgument, match=message):
            builder.add(["x"], tokens, terms=terms, defer=True)
        assert len(where) == 0 and where.stats()["pending"] == 0
