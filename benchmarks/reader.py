"""A process that does nothing but search a collection that another one writes, and what it saw: time and memory."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from plait.index.collection import Collection
from plait.index.tokens import Tokens


def memory() -> dict[str, float]:
    """MiB of this process: its peak with mapped files (which the system may take back), and
    what is its own now. Linux only."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    # Not getrusage: its maximum is inherited from the parent process.
    return {
        name: round(int(lines[key].split()[0]) / 1024)
        for name, key in (("peak_rss_mib", "VmHWM"), ("anonymous_mib", "RssAnon"))
    }


@dataclass
class Searches:
    """What a reading process saw; filled when it has ended."""

    open_ms: float = 0.0
    rows: list[tuple[float, float, float]] = field(default_factory=list)
    """Start (monotonic clock of the machine), wall seconds and CPU seconds of each search."""
    memory: dict[str, float] = field(default_factory=dict)

    def between(self, start: float, end: float) -> dict[str, float]:
        """Searches that began within the span. `max` is where a reader checks a new segment."""
        chosen = np.array([r for r in self.rows if start <= r[0] < end]).reshape(-1, 3) * 1000
        if not len(chosen):
            return {"searches": 0}
        p50, p95, top = np.percentile(chosen[:, 1], [50, 95, 100])
        cpu = {"cpu_ms_p50": np.median(chosen[:, 2]), "cpu_ms_mean": chosen[:, 2].mean()}
        wall = {"wall_ms_p50": p50, "wall_ms_p95": p95, "wall_ms_max": top}
        return {"searches": len(chosen), **{k: round(float(v), 2) for k, v in {**cpu, **wall}.items()}}


def read(path: Path, queries: Tokens, k: int, pipe: Connection) -> None:
    """The reading process: one query after the other until told to stop."""
    searches, own = Searches(), 0.0
    with Collection(path, threads=1) as collection:
        number = 0
        while not pipe.poll():
            query = queries.take([number % len(queries)])
            start, cpu = time.monotonic(), time.process_time()
            with collection.snapshot() as snapshot:
                snapshot.search(query, k)
            row = start, time.monotonic() - start, time.process_time() - cpu
            if number:
                searches.rows.append(row)
            else:
                searches.open_ms = round(1000 * row[1], 1)
                pipe.send("ready")
            found = memory()
            own = max(own, found.get("anonymous_mib", 0.0))
            number += 1
    searches.memory = {**memory(), "anonymous_mib": own}
    pipe.send(searches)


@contextmanager
def reading(path: Path, queries: Tokens, k: int) -> Iterator[Searches]:
    """A process that searches while the block runs."""
    here, there = multiprocessing.Pipe()
    searches = Searches()
    process = multiprocessing.get_context("spawn").Process(target=read, args=(path, queries, k, there), daemon=True)
    process.start()
    there.close()
    here.recv()
    try:
        yield searches
    finally:
        here.send("stop")
        searches.__dict__.update(here.recv().__dict__)
        process.join()


class Watch(threading.Thread):
    """Samples the memory that is this process's own, every 50 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = 0.0
        self.start()

    def run(self) -> None:
        while True:
            self.most = max(self.most, memory().get("anonymous_mib", 0.0))
            time.sleep(0.05)
