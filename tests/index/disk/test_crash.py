"""A writer killed at random and at every step: what it acknowledged is there, the rest
all or nothing, nothing returns."""

import os
import random
import shutil
import signal
from pathlib import Path

import crash_child
import pytest
from crash_child import reported, start
from kill_round import assert_goes_on, one_round
from life import (
    DIM,
    FIELDS,
    VECTOR,
    Contents,
    Kept,
    Operation,
    after,
    assert_holds,
    perform,
    prepare,
    snapshot_folder,
)
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.reading.backup import create_snapshot, restore_snapshot

ROUNDS = int(os.environ.get("PLAIT_CRASH_ROUNDS", "0"))
"""Rounds of random kills for each store, and every step on every store; without it a short form."""
SOME = 40
"""Steps of an operation in the short form, beside the first, the last, and those before and after each commit."""
STORES = ("exact", "faiss:IVF,SQfp16", "flat")


def assert_snapshot_whole(path: Path, seed: int, contents: Contents) -> None:
    """A snapshot is there and whole, or can be taken now."""
    target = snapshot_folder(path, seed)
    if not target.exists():
        create_snapshot(path, target)
    restored = target.with_name(target.name + "-restored")
    restore_snapshot(target, restored)
    assert_holds(restored, [Contents(contents.documents)])


@pytest.mark.parametrize(
    ("store", "terms", "vector"),
    [
        *((store, None, 0) for store in STORES),
        ("exact", TermField(), 0),
        ("exact", FIELDS, 0),
        ("contextual", None, VECTOR),
    ],
)
def test_killed_at_random(tmp_path: Path, store: str, terms: Kept, vector: int) -> None:
    path, contents = tmp_path / "c", Contents()
    Collection.create(path, DIM, store, fields=["n"], terms=terms, vector=vector).close()
    first = int(os.environ.get("PLAIT_CRASH_SEED", "1"))
    for seed in range(first, first + (ROUNDS or 12)):
        try:
            contents, _ = one_round(path, contents, seed, isinstance(terms, TermField))
        except BaseException as error:
            error.add_note(f"PLAIT_CRASH_SEED={first}, round {seed}")
            raise


def killed_at(whole: Path, operation: Operation, last: int, folder: Path) -> tuple[Path, list[tuple[int, list[int]]]]:
    """A copy of a collection after a writer died at a step, and what the writer reported."""
    path = shutil.copytree(whole, folder / "c")
    child, reports = start(crash_child.run_to_step, path, operation, last)
    child.join()
    assert child.exitcode == (-signal.SIGKILL if last else 0), f"step {last}: the child ended with {child.exitcode}"
    return path, reported(reports)


@pytest.mark.parametrize("store", STORES if ROUNDS else STORES[:1])
@pytest.mark.parametrize(
    ("name", "terms", "vector"),
    [
        *((name, None, 0) for name in ("seal", "merge", "compact", "snapshot", "upsert", "add", "publish", "discard")),
        *((name, TermField(per_token=True), 0) for name in ("seal", "add")),
        ("publish", FIELDS, 0),
        *((name, TermField(), 0) for name in ("defer", "complete")),
        *((name, None, VECTOR) for name in ("seal", "compact", "publish")),
    ],
)
def test_killed_at_every_step(tmp_path: Path, name: str, store: str, terms: Kept, vector: int) -> None:
    chosen = "contextual" if vector else store
    contents = prepare(tmp_path / "whole", chosen, name in ("publish", "discard"), terms, vector)
    batch = {"a0": (91, {"n": 9}), "new": (92, {"n": 9})} if name == "upsert" else {"new": (92, {"n": 9})}
    if name == "complete":
        with Collection(tmp_path / "whole", threads=1) as collection:
            for earlier in (("defer", {"w0": (92, {"n": 9}), "a0": (93, {"n": 9})}), ("seal", None)):
                perform(collection, earlier)
                contents = after(contents, earlier)
        batch = {"w0": 92, "a0": 93}
    operation = (name, batch if name in ("upsert", "add", "defer", "complete") else 3)
    _, ((steps, commits),) = killed_at(tmp_path / "whole", operation, 0, tmp_path / "0")
    chosen_steps = set(range(1, steps + 1))
    if not ROUNDS:
        some = random.Random(f"{name} {terms} {vector}").sample(sorted(chosen_steps), min(SOME, steps))
        chosen_steps = {1, *commits, *some, steps}
    committed = []
    for last in sorted(chosen_steps):
        path, _ = killed_at(tmp_path / "whole", operation, last, tmp_path / str(last))
        new = assert_holds(path, [contents, after(contents, operation)])
        committed.append(new != contents)
        if name == "snapshot":
            assert_snapshot_whole(path, 3, new)
        assert_goes_on(path, new)
        shutil.rmtree(path.parent)
    # One transaction decides: nothing before it, all after it. The last step is behind it.
    assert committed == sorted(committed)
    assert committed[-1] == (after(contents, operation) != contents)
