"""A writer that is killed: from outside at any time, or by itself at a step that can be counted."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from life import EVERYTHING, QUERY, Operation, perform
from oracle import some_tokens
from plait.index.catalog import database
from plait.index.collection import Collection
from plait.index.errors import PlaitError
from plait.index.filters.sql import Range
from plait.index.reading.check import check_collection
from plait.index.segments import segment
from plait.index.writing.maintenance import Policy


@cache
def context() -> ForkServerContext:
    """Children are forks of a process that has imported everything and has no threads and no open collection."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([__name__, "pytest", "faiss"])
    with pytest.MonkeyPatch.context() as patch:
        # That process has this folder in no other way, and would import nothing of it before each child does so anew.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        forkserver.ensure_running()
    return forks


def start(target: Any, *arguments: Any) -> tuple[Any, Any]:
    reports, sender = context().Pipe(duplex=False)
    path, operations, extra = arguments
    child = context().Process(target=target, args=(path, operations, sender, extra), daemon=True)
    child.start()
    sender.close()
    return child, reports


def reported(reports: Any) -> list[Any]:
    """All that a dead child has sent."""
    found = []
    try:
        while True:
            found.append(reports.recv())
    except EOFError:
        return found


def run(path: Path, operations: list[Operation], reports: Connection, background: bool) -> None:
    """Performs all operations, each reported before the next begins; then waits to be killed."""
    policy = Policy(seal_tokens=20, seal_age_s=0.05, fanout=2) if background else None
    collection = Collection(path, threads=1, policy=policy)
    for number, operation in enumerate(operations):
        perform(collection, operation)
        reports.send(number)
    signal.pause()


def run_to_step(path: Path, operation: Operation, reports: Connection, last: int) -> None:
    """Performs one operation and dies at its step number `last` (from 1); 0: reports how many steps there are, and
    which commit."""
    collection = Collection(path, threads=1)
    steps = Steps(last)
    steps.watch()
    perform(collection, operation)
    steps.reached("the end, not yet reported")
    reports.send((steps.count, steps.commits))
    os._exit(0)


def look(path: Path, damaged: list[tuple[int, str, bytes | None]], reports: Connection, nothing: None) -> None:
    """Searches a closed collection once for each damage: (number, file, its new content or None)."""
    for number, name, content in damaged:
        seen = []
        for see in (found, check_collection):
            copy = path.with_name(f"{path.name}-{number}-{see.__name__}")
            shutil.copytree(path, copy)
            (copy / name).unlink()
            if content is not None:
                (copy / name).write_bytes(content)
            try:
                seen.append(("right", see(copy)))
            except PlaitError as error:
                seen.append((type(error).__name__, str(error)))
            shutil.rmtree(copy)
        reports.send((name, *seen))


def found(path: Path) -> list[list[tuple[str, dict[str, Any], float]]]:
    """All documents with their scores, and those that satisfy a filter."""
    with Collection(path, threads=1) as collection, collection.snapshot() as snapshot:
        rankings = []
        for filter in (None, Range("n", lt=4)):
            (hits,) = snapshot.search(QUERY, 99, params=EVERYTHING, filter=filter)
            documents = snapshot.documents(hits.docs)
            rankings.append([(d.id, d.payload, s) for d, s in zip(documents, hits.scores.tolist(), strict=True)])
        return rankings


AFTER_COMMIT = "what follows a commit"


class Steps:
    """Counts whatever changes a file: each is a step before which the process can die."""

    NAMES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "shutil.copyfile")

    def __init__(self, last: int):
        self.last, self.count = last, 0
        self.commits: list[int] = []
        """The steps before and after each commit."""

    def reached(self, what: object, torn: Callable[[], object] = lambda: None) -> None:
        self.count += 1
        if what in ("COMMIT", AFTER_COMMIT):
            self.commits.append(self.count)
        if self.count == self.last:
            torn()
            print(f"killed before {what}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Until the process ends: statements that write, syncs, names that come and go, columns half written."""
        sync, write = os.fsync, segment.SegmentWriter._write

        def counted_sync(descriptor: int) -> None:
            self.reached("a sync")
            sync(descriptor)

        def counted_write(writer: segment.SegmentWriter, name: str, values: np.ndarray | None) -> None:
            def half() -> None:
                write(writer, name, None if values is None else values[: len(values) // 2])
                writer._files[name].flush()

            self.reached(f"the second half of {name}", half)
            write(writer, name, values)

        steps = self

        class Traced(database.Connection):
            def __init__(self, *arguments: Any, **more: Any):
                super().__init__(*arguments, **more)
                self.set_exec_trace(lambda cursor, sql, values: steps._statement(sql))
                self.set_profile(lambda sql, _: steps.reached(AFTER_COMMIT) if sql == "COMMIT" else None)

        os.fsync = counted_sync
        setattr(database, "Connection", Traced)  # noqa: B010
        setattr(segment.SegmentWriter, "_write", counted_write)  # noqa: B010
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in self.NAMES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            self.reached(f"{event} {arguments[0]}")

    def _statement(self, sql: str) -> bool:
        if not sql.startswith(("SELECT", "PRAGMA")):
            self.reached(sql)
        return True


def add_for_ever(folder: Path, started: Any) -> None:
    """Adds batches of two documents to a bulk build until it is killed."""
    with Collection(folder).builder() as builder:
        i = len(builder.staged_ids)
        while True:
            builder.add([f"d{i}", f"d{i + 1}"], some_tokens(2, i))
            i += 2
            started.set()
