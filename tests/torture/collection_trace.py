"""What is done to a collection while it is recorded, and whether its folder holds what it should after each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from life import DIM, FIELDS, VECTOR, Contents, Kept, Operation, after, assert_holds, draw, perform, write
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import NotFound
from plait.index.reading.backup import create_snapshot, delete_snapshot, restore_snapshot
from plait.index.writing.maintenance import Policy

from .recorder import mark

World = Mapping[str, Contents]
"""What should be there: collections and snapshots by the names of their folders."""


@dataclass(frozen=True)
class Life:
    """What a trace is made of."""

    store: str = "exact"
    terms: Kept = None
    vector: int = 0
    background: bool = False
    """Seal and merge beside the writes."""
    steps: int = 24
    nested: bool = False
    """Nothing is there before, not even the folders around the collection and its snapshots."""

    @property
    def main(self) -> str:
        """The collection that is written to."""
        return "collections/c" if self.nested else "c"

    def snapshot(self, number: int) -> str:
        return f"collections/.snapshots/s{number}" if self.nested else f"snapshot-{number}"


LIVES = {
    "birth": Life(nested=True),
    "exact": Life(),
    "terms": Life(terms=TermField()),
    "fields": Life(terms=FIELDS),
    "flat": Life("flat"),
    "lists": Life("lists"),
    "contextual": Life("contextual", vector=VECTOR),
    "background": Life(terms=TermField(), background=True, steps=40),
}
_BIRTH: list[Operation] = [("upsert", {"a": (3, {"n": 1, "id": "a"})}), ("snapshot", 0)]
_WHOLE: list[Operation] = [
    ("upsert", {f"a{i}": (i, {"n": i, "id": f"a{i}"}) for i in range(5)}),
    ("seal", None),
    ("fast", {"f1": (11, {"n": 1, "id": "f1"}), "a1": (12, {"n": 2, "id": "a1"})}),
    ("index_fields", ["n", "id"]),
    ("delete", ["a2", "none"]),
    ("add", {"b1": (21, {"n": 3, "id": "b1"}), "b2": (22, {"n": 4, "id": "b2"})}),
    ("add", {"b3": (23, {"n": 5, "id": "b3"})}),
    ("publish", None),
    ("snapshot", 0),
    ("add", {"b4": (24, {"n": 3, "id": "b4"})}),
    ("discard", None),
    ("update_payload", ("a1", {"n": 9})),
    ("merge", 1),
    ("reopen", None),
    ("restore", 0),
    ("drop", 0),
    ("compact", 0),
]
"""One of each kind."""
_PROBE: Operation = ("upsert", {"probe": (3, {"n": 1, "id": "probe"})})


def steps(life: Life, seed: int) -> list[Operation]:
    """What is done: everything once (seed 0), or what the seed draws."""
    chosen: list[Operation] = [("create", None)]
    if life.nested:
        return chosen + _BIRTH
    if not seed:
        deferred: list[Operation] = [
            ("defer", {"d1": (31, {"n": 1, "id": "d1"}), "a3": (32, {"n": 1, "id": "a3"})}),
            ("complete", {"d1": 31}),
        ]
        return [*chosen, *_WHOLE, *(deferred if isinstance(life.terms, TermField) else [])]
    rng, contents = np.random.default_rng(seed), Contents()
    snapshots: list[int] = []
    while len(chosen) < life.steps:
        chance = rng.integers(12)
        operation = draw(rng, contents, isinstance(life.terms, TermField))
        if chosen[-1][0] == "fast" and (chance in (2, 3) or operation[0] == "snapshot"):
            # Until the next durable write a machine that dies may lose a fast one: copies elsewhere do not change that.
            continue
        if chance == 0:
            operation = "reopen", None
        elif chance == 1:
            operation = "index_fields", [[], ["n"], ["n", "id"]][rng.integers(3)]
        elif chance == 2 and snapshots:
            operation = "restore", snapshots[-1]
        elif chance == 3 and snapshots:
            operation = "drop", snapshots.pop()
        elif chance < 6 and operation[0] == "upsert":
            operation = "fast", operation[1]
        if operation[0] == "snapshot":
            snapshots.append(int(operation[1] or 0))
        if operation[0] == "restore" and operation in chosen:
            continue
        chosen.append(operation)
        contents = worlds(life, chosen)[-1][life.main]
    return chosen


def worlds(life: Life, operations: list[Operation]) -> Sequence[World]:
    """What should be there before the first step and after each."""
    seen: list[dict[str, Contents]] = [{}]
    for name, value in operations:
        world = dict(seen[-1])
        match name:
            case "create":
                world[life.main] = Contents()
            case "snapshot":
                world[life.snapshot(value)] = Contents(world[life.main].documents)
            case "restore":
                world[f"restored-{value}"] = world[life.snapshot(value)]
            case "drop":
                del world[life.snapshot(value)]
            case _:
                world[life.main] = after(world[life.main], ("upsert" if name == "fast" else name, value))
        seen.append(world)
    return seen


def durable(operation: Operation) -> bool:
    """Whether a machine that dies may not lose what was acknowledged."""
    return operation[0] != "fast"


def create(life: Life, path: Path) -> Collection:
    made: dict[str, Any] = {"fields": ["n"], "terms": life.terms, "vector": life.vector}
    return Collection.create(path, DIM, life.store, **made, **_machine(life))


def _machine(life: Life) -> dict[str, Any]:
    return {"threads": 1, "policy": Policy(seal_tokens=12, seal_age_s=0.05, fanout=2) if life.background else None}


def play(life: Life, seed: int, root: Path) -> None:
    collection: Collection | None = None
    for number, (name, value) in enumerate(steps(life, seed)):
        mark(f"begin {number}")
        if collection is None:
            collection = create(life, root / life.main)
        elif name == "reopen":
            collection.close()
            collection = Collection(root / life.main, **_machine(life))
        elif name == "fast":
            seeds = [seed for seed, _ in value.values()]
            batch = write(DIM, life.terms, seeds, life.vector)
            collection.live.upsert([*value], payloads=[p for _, p in value.values()], durable=False, **batch)
        elif name == "index_fields":
            collection.index_fields(value)
        elif name == "snapshot":
            create_snapshot(root / life.main, root / life.snapshot(value))
        elif name == "restore":
            restore_snapshot(root / life.snapshot(value), root / f"restored-{value}")
        elif name == "drop":
            delete_snapshot(root / life.snapshot(value))
        else:
            perform(collection, (name, value))
        mark(f"end {number}")
    assert collection is not None
    collection.close()


def look(life: Life, root: Path, allowed: Sequence[World], deep: bool) -> None:
    """Fails unless the folder holds what is allowed and can be written to. `deep`: merged and copied, too."""
    for name in sorted({name for world in allowed for name in world}):
        options = [world.get(name) for world in allowed]
        there = [option for option in options if option is not None]
        absent = None in options and _absent(root / name)
        held = None if absent else assert_holds(root / name, there)
        if name == life.main:
            _goes_on(life, root, held, deep)


def _absent(path: Path) -> bool:
    """Nothing that could be taken for a collection, and nothing that is in the way of one."""
    if not path.exists():
        return True
    try:
        Collection(path).close()
    except NotFound:
        return True
    return False


def _goes_on(life: Life, root: Path, held: Contents | None, deep: bool) -> None:
    """What the machine left can be made, ended, written to, merged and copied."""
    path = root / life.main
    if held is None:
        create(life, path).close()
        held = Contents()
    operations: list[Operation] = [("publish" if deep else "discard", None)] if held.staged else []
    operations += [_PROBE, ("compact", 0)] if deep else [_PROBE]
    with Collection(path, threads=1) as collection:
        for operation in operations:
            perform(collection, operation)
            held = after(held, operation)
        named = {f"segment-{row['number']:06d}" for row in collection.stats()["segments"]}
    assert {p.name for p in path.glob("segment-*")} == named, "folders that nobody names are left"
    if deep:
        create_snapshot(path, root / "snapshot-probe")
        assert_holds(path, [held])
        assert_holds(root / "snapshot-probe", [Contents(held.documents)])
