"""What the benchmarks of inverted indexes share: one configuration of an engine, its
clock and its line of the table."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Search = Callable[[int], np.ndarray]
"""The number of a query to the numbers of its documents."""


class Engine(NamedTuple):
    """One configuration."""

    name: str
    parameters: str
    search: Search
    build_s: float
    posting_bytes: float
    """Of the inverted index alone."""
    row_bytes: float
    """Of forward rows beside it, per posting."""
    grown_mb: float


def engines_of(names: Sequence[str], *given: Any) -> list[Engine]:
    """What the `engines` of these files of `sparse_peers` make of `given`; one whose
    packages are missing is left out."""
    found: list[Engine] = []
    for name in names:
        try:
            found += import_module(f"sparse_peers.{name}").engines(*given)
        except ImportError as error:
            print(f"without {name}: {error}")
    return found


def clocked(make: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `make` gives, its CPU seconds, and by how many MB the resident set grew."""
    before, start = resident(), time.process_time()
    made = make()
    return made, time.process_time() - start, resident() - before


def resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def file_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def sparse_rows(matrix: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Keys and float32 weights of every row."""
    bounds = matrix.indptr
    return [(matrix.indices[a:b], matrix.data[a:b].astype(np.float32)) for a, b in pairwise(bounds)]


def at_once(search_all: Callable[[], Iterable[Any]]) -> Search:
    """For an engine that takes all queries in one call: the first query triggers it, the rest read its answers."""
    answers: list[Any] = []

    def search(q: int) -> np.ndarray:
        if q == 0:
            answers[:] = list(search_all())
        return np.asarray(answers[q], np.int64)

    return search


def measure(engines: list[Engine], queries: int, rounds: int) -> list[list[float]]:
    """Each engine's CPU ms per query in every round; one round more warms up."""
    times: list[list[float]] = [[] for _ in engines]
    for r in range(rounds + 1):
        for i in range(len(engines)):
            at = (i + r) % len(engines)
            start = time.process_time()
            for q in range(queries):
                engines[at].search(q)
            if r:
                times[at].append(1e3 * (time.process_time() - start) / queries)
    return times


def report(engines: list[Engine], times: list[list[float]], recalls: list[float]) -> list[dict[str, Any]]:
    rows = []
    print(
        f"{'engine':14}{'parameters':44}{'recall':>8}{'CPU ms/query (min-max)':>26}{'build s':>9}"
        f"{'B/posting':>11}{'+ rows':>8}{'grown MB':>10}"
    )
    for engine, mine, recall in zip(engines, times, recalls, strict=True):
        shown = f"{np.median(mine):.4f} ({min(mine):.4f}-{max(mine):.4f})"
        print(
            f"{engine.name:14}{engine.parameters:44}{recall:8.4f}{shown:>26}{engine.build_s:9.2f}"
            f"{engine.posting_bytes:11.2f}{engine.row_bytes:8.2f}{engine.grown_mb:10.0f}"
        )
        rows.append(
            engine._asdict() | {"search": None, "recall": recall, "cpu_ms": float(np.median(mine)), "rounds": mine}
        )
    return rows
