"""Writers of one process under a scheduler: whatever order their steps come in, what was
acknowledged is there, and no more.

Each seed runs some threads one step at a time (`scheduler.py`). PLAIT_SCHEDULES says how many seeds; a seed that fails
is run again by PLAIT_SCHEDULE=SEED.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import scheduler
from plait.index.collection import Collection
from plait.index.errors import PlaitError
from plait.index.reading.backup import create_snapshot
from plait.index.reading.check import check_collection
from plait.index.tokens import Tokens, concatenate, from_matrices
from plait.index.writing.maintenance import Policy

SCHEDULES = int(os.environ.get("PLAIT_SCHEDULES", "240"))
ONE = os.environ.get("PLAIT_SCHEDULE")
SEEDS = [int(ONE)] if ONE else range(SCHEDULES)
TOGETHER = 40
"""Seeds in one test, so that they can be spread over processes."""
DIM = 8
EAGER = Policy(seal_tokens=1, fanout=2, dead_share=0.1)


def vectors(seed: int, tokens: int = 3) -> Tokens:
    drawn = np.random.default_rng(seed).standard_normal((tokens, DIM)).astype(np.float32)
    return from_matrices([(drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float16)])


def some(seeds: list[int]) -> Tokens:
    return concatenate([vectors(seed) for seed in seeds])


@dataclass
class Life:
    """A collection that several threads are at work on, and what they were told of it."""

    path: Path
    collection: Collection
    rng: np.random.Generator
    held: dict[str, int] = field(default_factory=dict)
    """Acknowledged documents: by id, the seed of their tokens. Each id belongs to one thread."""
    unknown: set[str] = field(default_factory=set)
    """Ids of writes that ended with an error that leaves open whether they were done."""
    snapshots: int = 0

    def attempt(self, write: Callable[[], object], then: Callable[[], object] = lambda: None) -> bool:
        """A write; one that is refused has done nothing."""
        try:
            write()
        except PlaitError as error:
            assert error.done is False, error
            return False
        then()
        return True

    def live(self) -> None:
        for round in range(3):
            seeds = {f"l{i}": 100 * round + i for i in range(round, round + 3)}
            self.attempt(
                lambda seeds=seeds: self.collection.live.upsert([*seeds], some([*seeds.values()])),
                lambda seeds=seeds: self.held.update(seeds),
            )

    def deleting(self) -> None:
        for id in ("w0", "w1", "w2", "none"):
            self.attempt(lambda id=id: self.collection.live.delete([id]), lambda id=id: self.held.pop(id, None))
        self.attempt(lambda: self.collection.live.update_payload("w3", {"n": 3}))

    def bulk(self) -> None:
        self._bulk("b", publish=True)

    def given_up(self) -> None:
        self._bulk("g", publish=False)

    def _bulk(self, letter: str, publish: bool) -> None:
        seeds = {f"{letter}{i}": 500 + i for i in range(4)}
        ids = [*seeds]

        def write() -> None:
            with self.collection.builder("write") as builder:
                builder.refuse_unfinished()
                builder.add(ids[:2], some([seeds[id] for id in ids[:2]]))
                builder.add(ids[2:], some([seeds[id] for id in ids[2:]]))
                _ = builder.publish() if publish else builder.discard()

        self.attempt(write, lambda: self.held.update(seeds if publish else {}))

    def seal(self) -> None:
        self.attempt(self.collection.seal)

    def merge(self) -> None:
        self.attempt(self.collection.compact)

    def background(self) -> None:
        for _ in range(3):
            self.attempt(lambda: self.collection.maintenance.step(EAGER))

    def calibrate(self) -> None:
        self.attempt(lambda: self.collection.calibrate(vectors(7), depths=(1,)))

    def fields(self) -> None:
        self.attempt(lambda: self.collection.index_fields(["n"]))
        self.attempt(lambda: self.collection.index_fields([]))

    def search(self) -> None:
        """What is found is what is there, in one state."""
        for _ in range(2):
            try:
                with self.collection.snapshot() as snapshot:
                    (hits,) = snapshot.search(vectors(7), 99, exact=True)
                    there = snapshot.view.page("", 99)
                    assert {d.number for d in there} == set(hits.docs.tolist())
            except PlaitError as error:
                assert "closed" in str(error), error

    def snapshot(self) -> None:
        target = self.path.with_name("snapshot")
        if self.attempt(lambda: create_snapshot(self.path, target)):
            assert check_collection(target) == []

    def recover(self) -> None:
        self.attempt(self.collection.recover)

    def close(self) -> None:
        self.collection.close()


OTHERS = (
    *("live", "deleting", "bulk", "given_up", "seal", "merge", "background", "calibrate", "fields", "search"),
    *("snapshot", "recover"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segment, fresh documents, some dead in both."""
    path = tmp_path_factory.mktemp("schedules") / "whole"
    with Collection.create(path, DIM, "exact") as collection:
        collection.live.upsert([f"w{i}" for i in range(4)], some([*range(4)]), [{"n": i} for i in range(4)])
        collection.seal()
        collection.live.upsert([f"w{i}" for i in range(4, 8)], some([*range(4, 8)]))
        collection.live.delete(["w5"])
    return path


def chosen(rng: np.random.Generator) -> list[str]:
    """Three to five tasks; a bulk write is often the first to take the lock."""
    names = [str(name) for name in rng.choice(OTHERS, int(rng.integers(2, 5)), replace=False)]
    if rng.random() < 0.5 and "bulk" not in names:
        names.append("bulk")
    return [*names, *(["close"] if rng.random() < 0.25 else [])]


def assert_whole(life: Life, trace: list[str]) -> None:
    assert check_collection(life.path) == [], trace
    with Collection(life.path) as collection:
        with collection.catalog.reading() as view:
            named = {f"segment-{row.number:06d}" for row in view.segments()}
        assert {p.name for p in life.path.iterdir() if "segment-" in p.name} == named, trace
        with collection.snapshot() as snapshot:
            there = {d.id: d.number for d in snapshot.view.page("", 999)}
            assert there.keys() == life.held.keys(), trace
            for id, seed in life.held.items():
                assert np.array_equal(snapshot.tokens(there[id]).vectors, vectors(seed).vectors), (id, trace)
        collection.live.upsert(["after"], vectors(1))
        collection.compact()


def run(seed: int, whole: Path, folder: Path) -> list[str]:
    """One schedule, from its seed alone. Returns its tasks."""
    rng = np.random.default_rng(seed)
    path, tasks = shutil.copytree(whole, folder / f"s{seed}" / "c"), chosen(rng)
    with scheduler.running(seed) as schedule:
        collection = Collection(path, threads=1)
        life = Life(path, collection, rng, {f"w{i}": i for i in range(8) if i != 5})
        schedule.run({name: getattr(life, name) for name in tasks})
        collection.close()
    if schedule.errors:
        raise schedule.errors[0]
    assert_whole(life, schedule.trace)
    shutil.rmtree(path.parent)
    return tasks


@pytest.mark.parametrize("first", SEEDS[:1] if ONE else range(0, SCHEDULES, TOGETHER))
def test_any_order_of_steps_keeps_what_was_acknowledged(first: int, whole: Path, tmp_path: Path) -> None:
    for seed in [first] if ONE else range(first, min(first + TOGETHER, SCHEDULES)):
        try:
            run(seed, whole, tmp_path)
        except BaseException as error:
            error.add_note(f"PLAIT_SCHEDULE={seed}")
            raise
