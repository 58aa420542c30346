"""One round of random operations that a SIGKILL ends, and what must be left."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import crash_child
import numpy as np
from crash_child import reported, start
from life import Contents, Operation, after, assert_holds, draw, perform, snapshot_folder
from plait.index.collection import Collection
from plait.index.reading.check import check_collection

PROBE: Operation = ("upsert", {"probe": (3, {"n": 1, "id": "probe"})})


def assert_goes_on(path: Path, contents: Contents) -> Contents:
    """The next writer can finish a build, write and seal; what a crash left is swept."""
    operations = [("publish", None)] if contents.staged else []
    with Collection(path, threads=1) as collection:
        for operation in [*operations, PROBE, ("seal", None)]:
            perform(collection, operation)
            contents = after(contents, operation)
        named = {f"segment-{row['number']:06d}" for row in collection.stats()["segments"]}
    assert {p.name for p in path.glob("segment-*")} == named
    return assert_holds(path, [contents])


def one_round(path: Path, contents: Contents, seed: int, defers: bool, most: int = 40) -> tuple[Contents, int]:
    """Up to `most` random operations, a kill at a random moment, a look at what is left:
    this, and how many were acknowledged."""
    rng = np.random.default_rng(seed)
    operations, states, seen = [], [contents], []
    for _ in range(most):
        operations.append(draw(rng, states[-1], defers))
        states.append(after(states[-1], operations[-1]))
    child, reports = start(crash_child.run, path, operations, bool(rng.integers(2)))
    with suppress(EOFError):  # it ended by itself: see below
        seen.extend(reports.recv() for _ in range(rng.integers(0, most - 1)))
    time.sleep(float(rng.uniform(0, 0.02)))
    with suppress(ProcessLookupError):  # it has ended by itself
        os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"the child ended by itself with {child.exitcode}"
    done = max([*seen, *reported(reports)], default=-1)
    contents = assert_holds(path, states[done + 1 : done + 3])
    for name, value in operations[: done + 2]:
        if name == "snapshot" and snapshot_folder(path, value).exists():
            assert check_collection(snapshot_folder(path, value)) == []
    for left in path.parent.glob("snapshot-*"):
        shutil.rmtree(left)
    return assert_goes_on(path, contents), done + 1
