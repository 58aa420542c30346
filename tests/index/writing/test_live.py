"""Live writes against a dictionary and brute force: any order of writes, deletes, seals, merges and reopenings."""

import threading
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from plait.index.collection import Collection
from plait.index.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from plait.index.filters.sql import Eq, Range
from plait.index.params import Scoring, SearchParams
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.tokens import Tokens, concatenate, from_matrices
from plait.index.writing.maintenance import Policy

DIM = 6
IDS = st.sampled_from("abcdefgh")
QUERY = from_matrices([np.random.default_rng(7).standard_normal((3, DIM)).astype(np.float32)])


def document(seed: int) -> Tokens:
    rng = np.random.default_rng(seed)
    return from_matrices([rng.standard_normal((seed % 5, DIM)).astype(np.float16)], DIM)


def ranking(
    collection: Collection, scoring: Scoring = Scoring(), filter=None, exact: bool = False, **params
) -> list[tuple[str, float]]:
    with collection.snapshot() as snapshot:
        search = SearchParams(
            **{"k_token": 999 if scoring.tokens == "all" else 5, "nprobe": 99, "candidates": 999, **params}
        )
        (hits,) = snapshot.search(QUERY, 99, scoring, search, filter, exact)
        ids = [d.id for d in snapshot.documents(hits.docs)]
        return list(zip(ids, hits.scores.tolist(), strict=True))


def assert_equal(found: list[tuple[str, float]], wanted: dict[str, float]) -> None:
    wanted = {k: v for k, v in wanted.items() if v > -np.inf}
    assert {k for k, _ in found} == set(wanted)
    for id, score in found:
        assert abs(score - wanted[id]) < 1e-4
    assert [s for _, s in found] == sorted((s for _, s in found), reverse=True)


class Model(RuleBasedStateMachine):
    """The collection beside a dictionary of id to (seed of its tokens, payload)."""

    folders: pytest.TempPathFactory

    @initialize(
        store=st.sampled_from(["exact", "flat:8", "lists:8", "faiss:IVF,SQfp16"]),
        precision=st.sampled_from(["float16", "int8"]),
    )
    def create(self, store: str, precision: str) -> None:
        self.path = self.folders.mktemp("live") / "c"
        self.collection = Collection.create(self.path, DIM, store, fields=["n"], precision=precision)
        self.model: dict[str, tuple[int, dict]] = {}
        self.seq = 0

    @rule(
        batch=st.lists(st.tuples(IDS, st.integers(0, 60)), min_size=1, max_size=4, unique_by=lambda pair: pair[0]),
        durable=st.booleans(),
    )
    def upsert(self, batch: list[tuple[str, int]], durable: bool) -> None:
        tokens = concatenate([document(seed) for _, seed in batch])
        done = self.collection.live.upsert([i for i, _ in batch], tokens, [{"n": seed} for _, seed in batch], durable)
        assert done.seq > self.seq and done.count == len(batch)
        self.seq = done.seq
        self.model |= {i: (seed, {"n": seed}) for i, seed in batch}

    @rule(ids=st.lists(IDS, max_size=3, unique=True))
    def delete(self, ids: list[str]) -> None:
        assert self.collection.live.delete(ids).count == len(set(ids) & self.model.keys())
        for id in ids:
            self.model.pop(id, None)

    @rule(low=st.integers(0, 60))
    def delete_where(self, low: int) -> None:
        gone = {i for i, (_, payload) in self.model.items() if low <= payload.get("n", -1) < low + 10}
        assert self.collection.live.delete_where(Range("n", gte=low, lt=low + 10)).count == len(gone)
        for id in gone:
            del self.model[id]

    @rule(id=IDS, n=st.integers(0, 60))
    def update_payload(self, id: str, n: int) -> None:
        if id in self.model:
            self.collection.live.update_payload(id, {"n": n, "more": "x"})
            self.model[id] = self.model[id][0], {"n": n, "more": "x"}
        else:
            with pytest.raises(NotFound):
                self.collection.live.update_payload(id, {"n": n})

    @rule(ids=st.lists(st.sampled_from("ijk"), min_size=1, max_size=2, unique=True), seed=st.integers(0, 60))
    def bulk(self, ids: list[str], seed: int) -> None:
        new = [i for i in ids if i not in self.model]
        with self.collection.builder() as builder:
            builder.add(
                new,
                concatenate([document(seed)] * len(new)) if new else document(seed).take([]),
                [{"n": seed}] * len(new),
            )
            builder.publish()
        self.model |= {i: (seed, {"n": seed}) for i in new}

    @rule()
    def seal(self) -> None:
        self.collection.seal()

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        numbers = [row["number"] for row in self.collection.stats()["segments"]]
        some = data.draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else []
        self.collection.maintenance.merge(some)

    @rule(retrain=st.booleans())
    def compact(self, retrain: bool) -> None:
        self.collection.compact(retrain)
        stats = self.collection.stats()
        assert stats["dead"] == stats["fresh"] == 0 and len(stats["segments"]) == bool(self.model)

    @rule()
    def reopen(self) -> None:
        self.collection.close()
        self.collection = Collection(self.path)

    @rule()
    def back_up_and_restore(self) -> None:
        copy = self.path.with_name(f"snapshot-{self.seq}-{len(list(self.path.parent.iterdir()))}")
        create_snapshot(self.path, copy)
        self.collection.close()
        self.path = copy.with_name(copy.name + "-restored")
        restore_snapshot(copy, self.path)
        self.collection = Collection(self.path)

    @invariant()
    def equals_the_dictionary(self) -> None:
        if not hasattr(self, "model"):
            return
        kept = self.collection.schema.codec
        matrices = {i: kept.floats(kept.encode(document(seed).vectors)) for i, (seed, _) in self.model.items()}
        assert_equal(ranking(self.collection), {i: oracle.maxsim(QUERY.vectors, m) for i, m in matrices.items()})
        ids = list(matrices)
        # Equal scores are cut at k' by document number, which the dictionary does not know: ties are kept apart by
        # seeds.
        if len({seed for seed, _ in self.model.values()}) == len(ids):
            wanted = oracle.xtr(QUERY.vectors, [matrices[i] for i in ids], 5, "kth")
            assert_equal(
                ranking(self.collection, Scoring("retrieved"), exact=True), {ids[d]: s for d, s in wanted.items()}
            )
        few = {i: m for i, m in matrices.items() if self.model[i][1].get("n", -1) < 20}
        found = ranking(self.collection, filter=Range("n", lt=20))
        assert_equal(found, {i: oracle.maxsim(QUERY.vectors, m) for i, m in few.items()})
        with self.collection.snapshot() as snapshot:
            assert {d.id: d.payload for d in snapshot.view.page("", 99)} == {i: p for i, (_, p) in self.model.items()}
            assert snapshot.view.count() == len(self.model)

    def teardown(self) -> None:
        if hasattr(self, "collection"):
            self.collection.close()
            assert check_collection(self.path) == []


def test_any_sequence_equals_a_dictionary(tmp_path_factory: pytest.TempPathFactory) -> None:
    Model.folders = tmp_path_factory
    from hypothesis.stateful import run_state_machine_as_test

    phases = [Phase.explicit, Phase.generate]
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=slow, phases=phases
        ),
    )


def test_a_second_writer_is_refused_and_takes_over_after_close(tmp_path: Path) -> None:
    first = Collection.create(tmp_path, DIM)
    first.live.upsert(["a"], document(3))
    second = Collection(tmp_path)
    assert [i for i, _ in ranking(second)] == ["a"]
    for attempt in (lambda: second.live, second.seal, second.compact, lambda: second.builder().__enter__()):
        with pytest.raises(Unavailable, match="another handle of this same process"):
            attempt()
    first.close()
    second.live.delete(["a"])
    assert ranking(Collection(tmp_path)) == []


def test_readers_notice_new_states_and_keep_pinned_ones(tmp_path: Path) -> None:
    writer, reader = Collection.create(tmp_path, DIM), Collection(tmp_path)
    writer.live.upsert(["a", "b"], concatenate([document(3), document(4)]))
    with reader.snapshot() as pinned:
        before = pinned.search(QUERY, 9)[0].docs.tolist()
        writer.live.delete(["a"])
        writer.live.upsert(["c"], document(2))
        writer.compact()
        assert pinned.search(QUERY, 9)[0].docs.tolist() == before
        assert {d.id for d in pinned.documents(before)} == {"a", "b"}
    assert {i for i, _ in ranking(reader)} == {"b", "c"}


def test_a_live_write_waits_for_an_unfinished_build(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, DIM)
    with collection.builder() as builder:
        builder.add(["a"], document(3))
    for attempt in (lambda: collection.live.upsert(["b"], document(2)), collection.seal):
        with pytest.raises(FailedPrecondition, match="1 documents waiting"):
            attempt()
    with collection.builder() as builder:
        builder.discard()
    collection.live.upsert(["b"], document(2))
    assert [i for i, _ in ranking(collection)] == ["b"]


def test_bad_batches_are_refused_whole(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, DIM)
    collection.live.upsert(["a"], document(3), [{"n": 1}])
    two = concatenate([document(3), document(4)])
    named = Tokens(two.vectors, two.offsets, np.zeros(len(two.vectors), np.uint32))
    for message, ids, tokens in (
        ("'x' occurs twice", ["x", "x"], two),
        ("''", ["x", ""], two),
        ("counts must agree", ["x"], two),
        ("come with", ["x", "y"], named),
        ("NaN", ["x", "y"], two.with_vectors(np.full_like(two.vectors, np.nan))),
    ):
        with pytest.raises(InvalidArgument, match=message):
            collection.live.upsert(ids, tokens)
    assert [i for i, _ in ranking(collection)] == ["a"]
    with pytest.raises(AlreadyExists, match="'a'"), collection.builder() as builder:
        builder.add(["a"], document(2))


def test_background_work_seals_and_merges(tmp_path: Path) -> None:
    policy = Policy(seal_tokens=40, fanout=2, dead_share=0.2)
    Collection.create(tmp_path, DIM).close()
    collection = Collection(tmp_path, policy=policy)
    for i in range(60):
        collection.live.upsert([str(i)], document(i))
        if i % 3 == 0:
            collection.live.delete([str(i // 2)])
    while collection.maintenance.step(Policy(seal_tokens=40, seal_age_s=0, fanout=2)):
        pass
    wanted = {str(i) for i in range(60)} - {str(i // 2) for i in range(0, 60, 3)} - {str(i) for i in range(0, 60, 5)}
    assert {i for i, _ in ranking(collection)} == wanted
    stats = collection.stats()
    assert stats["fresh"] == 0 and len(stats["segments"]) < 5
    collection.close()
    assert check_collection(tmp_path) == []


def test_readers_never_see_a_mix_while_everything_changes(tmp_path: Path) -> None:
    """Each round replaces every document and its payload in one transaction: all results must be of one round."""
    Collection.create(tmp_path, DIM).close()
    collection = Collection(tmp_path, policy=Policy(seal_tokens=30, seal_age_s=1, fanout=2))
    ids = [str(i) for i in range(8)]

    def write(round: int) -> None:
        vectors = np.full((1, DIM), 1 + round % 50, np.float32)
        collection.live.upsert(ids, from_matrices([vectors] * len(ids)), [{"round": round}] * len(ids))

    write(0)
    failures: list[str] = []
    done = threading.Event()

    def read() -> None:
        reader = Collection(tmp_path)
        while not done.is_set():
            with reader.snapshot() as snapshot:
                query = from_matrices([np.ones((1, DIM), np.float32)])
                (hits,) = snapshot.search(query, 99)
                documents = snapshot.documents(hits.docs)
                rounds = {d.payload["round"] for d in documents}
                if len(documents) != len(ids) or len(rounds) != 1 or len(set(hits.scores.tolist())) != 1:
                    failures.append(f"{len(documents)} documents of rounds {rounds}")
                elif hits.scores[0] != DIM * (1 + rounds.pop() % 50):
                    failures.append("vectors and payload of different rounds")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for round in range(1, 120):
        write(round)
    done.set()
    for thread in readers:
        thread.join()
    assert failures == []
    collection.close()
    assert check_collection(tmp_path) == []


def test_a_needle_is_found_by_a_filter(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, DIM)
    tokens = concatenate([document(3)] * 5000)
    with collection.builder() as builder:
        builder.add([str(i) for i in range(5000)], tokens, [{"needle": i == 4321} for i in range(5000)])
        builder.publish()
    for scoring in (Scoring(), Scoring("retrieved")):
        assert [i for i, _ in ranking(collection, scoring, Eq("needle", True), k_token=3)] == ["4321"]


def test_sealing_and_merging_are_reproducible(tmp_path: Path) -> None:
    """Same writes, same bytes: whatever the number of threads."""
    for name, threads in (("one", 1), ("two", 2)):
        Collection.create(tmp_path / name, DIM, "faiss:IVF,SQ8").close()
        collection = Collection(tmp_path / name, threads=threads)
        for start in (0, 30):
            batch = [str(i) for i in range(start, start + 30)]
            collection.live.upsert(batch, concatenate([document(int(i)) for i in batch]))
            collection.seal()
        collection.live.delete(["3", "33"])
        collection.compact()
        collection.close()
    (one,), (two,) = (list((tmp_path / n).glob("segment-*")) for n in ("one", "two"))
    assert one.name == two.name
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name


def test_snapshots_refuse_to_overwrite_and_to_restore_damage(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path / "c", DIM)
    collection.live.upsert(["a"], document(3))
    collection.seal()
    assert create_snapshot(tmp_path / "c", tmp_path / "s") == collection.stats()["seq"]
    with pytest.raises(AlreadyExists):
        create_snapshot(tmp_path / "c", tmp_path / "s")
    with pytest.raises(AlreadyExists):
        restore_snapshot(tmp_path / "s", tmp_path / "c")
    with pytest.raises(NotFound):
        restore_snapshot(tmp_path, tmp_path / "x")
    # A snapshot's files are links: a damaged one is written anew, not in place.
    vectors = next((tmp_path / "s").glob("segment-*/vectors"))
    content = bytearray(vectors.read_bytes())
    content[0] ^= 1
    vectors.unlink()
    vectors.write_bytes(content)
    from plait.index.errors import DataLoss

    with pytest.raises(DataLoss, match="vectors"):
        restore_snapshot(tmp_path / "s", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("payload", [{"a": float("nan")}, {"a": "x\0y"}, {"a": "\ud800"}, {"a": {1, 2}}])
def test_payloads_that_are_no_json_are_refused(tmp_path: Path, payload: dict) -> None:
    collection = Collection.create(tmp_path, DIM)
    collection.live.upsert(["a"], document(3), [{"a": "\\u0000 spelled out"}])
    for attempt in (
        lambda: collection.live.upsert(["b"], document(3), [payload]),
        lambda: collection.live.update_payload("a", payload),
    ):
        with pytest.raises(InvalidArgument, match="payload of document"):
            attempt()
    assert ranking(collection, filter=Eq("a", "\\u0000 spelled out"))[0][0] == "a"


def test_a_bulk_write_under_way_is_no_broken_one(tmp_path: Path) -> None:
    """Who writes meanwhile may try again; after a build that was given up, somebody must decide."""
    collection = Collection.create(tmp_path, DIM)
    with collection.builder() as builder:
        collection.live.upsert(["a"], document(3))
        builder.add(["b"], document(4))
        with pytest.raises(Unavailable, match="1 documents so far is under way"):
            collection.live.upsert(["c"], document(5))
    with pytest.raises(FailedPrecondition, match="interrupted build has 1 documents waiting"):
        collection.live.delete(["a"])
    with collection.builder() as builder:
        builder.publish()
    collection.live.delete(["a"])
    assert [id for id, _ in ranking(collection)] == ["b"]


def test_a_reader_that_slept_never_takes_a_new_segment_for_an_old_one(tmp_path: Path) -> None:
    """Segment 1 is merged away with all its documents, another one comes: its number must not be 1 again."""
    writer, reader = Collection.create(tmp_path, DIM), Collection(tmp_path)
    writer.live.upsert(["a"], document(3))
    writer.seal()
    assert [i for i, _ in ranking(reader)] == ["a"]
    writer.live.delete(["a"])
    writer.compact()
    writer.live.upsert(["b"], document(4))
    writer.seal()
    assert [i for i, _ in ranking(reader)] == ["b"]
