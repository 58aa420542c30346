"""Exact sparse search beside other engines: CPU time per query, recall, build time, bytes and memory.

    python benchmarks/sparse.py [--documents N] [--queries N] [--terms N] [-k N] [--rounds N] [--window N]
                                [--presence] [--without seismic,...] [--peers FOLDER] [--json FILE]

With --presence all weights of documents are 1, and plait stores presence only.

Engines, in one process and interleaved round by round in rotating order, one thread: plait (float32 and float16 rows,
exact and with its options), splade-index (numba), Seismic with several settings, scipy's product.
FOLDER holds those that are not installed (pip install --no-deps --target FOLDER splade-index==0.2.0 numba llvmlite tqdm
pyseismic-lsr==0.5.4); an engine that cannot be imported is left out. Queries are in each engine's own form before the
clock starts. Memory is what the resident set grew by during the build, not a peak of the search.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from plait.index import inverted
from plait.index.scoring import TermParams
from sparse_data import Mixture, exact, score_recall
from threadpoolctl import threadpool_limits

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


def clocked(make: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `make` gives, its CPU seconds, and by how many MB the resident set grew."""
    before, start = resident(), time.process_time()
    made = make()
    return made, time.process_time() - start, resident() - before


def resident() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def query_rows(queries: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    bounds = queries.indptr
    return [(queries.indices[a:b], queries.data[a:b].astype(np.float32)) for a, b in pairwise(bounds)]


def plait_engines(documents: Any, queries: Any, k: int, window: int, presence: bool) -> list[Engine]:
    asked = [(keys.astype(np.uint32), weights) for keys, weights in query_rows(queries)]
    out = []
    for half in (False,) if presence else (False, True):
        some, seconds, grown = clocked(
            lambda half=half: inverted.build(documents, presence=presence, half=half, window=window)
        )
        count = len(some.postings.offsets)
        sizes = some.postings.nbytes / count, some.rows.nbytes / count
        settings: list[dict[str, Any]] = [
            {},
            *([] if half else [{"alpha": 0.8}, {"query_terms": 12, "term_candidates": 40}]),
        ]
        for options in settings:

            def search(q: int, some: inverted.Inverted = some, options: dict[str, Any] = options) -> np.ndarray:
                return some.search(*asked[q], k, params=TermParams(**options)).docs

            named = json.dumps(options) if options else "exact"
            out.append(Engine("plait f16" if half else "plait", named, search, seconds, *sizes, grown))
    return out


def splade_index(documents: Any, queries: Any, k: int) -> list[Engine]:
    module = importlib.import_module("splade_index.numba.retrieve_utils")
    columns, seconds, grown = clocked(lambda: documents.tocsc())
    scores = {
        "data": columns.data.astype(np.float32),
        "indices": columns.indices.astype(np.int32),
        "indptr": columns.indptr.astype(np.int32),
        "num_docs": documents.shape[0],
    }
    known = np.diff(columns.indptr) > 0
    asked = [(keys[known[keys]].astype(np.int32), w[known[keys]]) for keys, w in query_rows(queries)]

    # All queries in one call, as its users would; the first one triggers it and the rest read its answers.
    def search_all() -> np.ndarray:
        return module._retrieve_numba_functional(
            query_tokens_ids=[a for a, _ in asked],
            query_tokens_weights=[w for _, w in asked],
            scores=scores,
            k=k,
            sorted=True,
            return_as="tuple",
            show_progress=False,
            leave_progress=False,
            n_threads=0,
            chunksize=None,
            backend_selection="numba",
            dtype="float32",
            int_dtype="int32",
        )[0]

    answers: list[np.ndarray] = []

    def search(q: int) -> np.ndarray:
        if q == 0:
            answers[:] = list(search_all())
        return np.asarray(answers[q], np.int64)

    return [Engine("splade-index", "numba", search, seconds, 8.0, 0.0, grown)]


def seismic(documents: Any, queries: Any, k: int) -> list[Engine]:
    module = importlib.import_module("seismic")

    def make() -> Any:
        data = module.SeismicDataset()
        names = [str(i) for i in range(documents.shape[0])]
        data.add_documents_by_id(
            names,
            documents.indices.astype(np.int64),
            documents.data.astype(np.float32),
            documents.indptr.astype(np.int64),
        )
        return module.SeismicIndex.build_from_dataset(data, n_postings=3500, num_threads=1)

    index, seconds, grown = clocked(make)
    with tempfile.TemporaryDirectory() as folder:
        index.save(str(Path(folder) / "index"))
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    kind = module.get_seismic_string()
    asked = [(np.array([str(key) for key in keys.tolist()], kind), w) for keys, w in query_rows(queries)]
    out = []
    for cut, factor in ((3, 0.9), (4, 0.9), (6, 0.8), (10, 0.9)):

        def search(q: int, cut: int = cut, factor: float = factor) -> np.ndarray:
            found = index.search("q", *asked[q], k, cut, factor, 0, True)
            return np.array([int(hit[2]) for hit in found], np.int64)

        out.append(Engine("Seismic", f"cut {cut}, factor {factor}", search, seconds, size / documents.nnz, 0.0, grown))
    return out


def scipy_product(documents: Any, queries: Any, k: int) -> list[Engine]:
    by_key, seconds, grown = clocked(documents.T.tocsr)
    asked = [queries[[q]] for q in range(queries.shape[0])]

    def search(q: int) -> np.ndarray:
        scores = (asked[q] @ by_key).toarray().ravel()
        best = np.argpartition(scores, len(scores) - k)[-k:]
        return best[np.argsort(-scores[best])]

    return [Engine("scipy", "csr product", search, seconds, 8.0, 0.0, grown)]


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
        f"{'engine':14}{'parameters':24}{'recall':>8}{'CPU ms/query (min-max)':>26}{'build s':>9}"
        f"{'B/posting':>11}{'+ rows':>8}{'grown MB':>10}"
    )
    for engine, mine, recall in zip(engines, times, recalls, strict=True):
        shown = f"{np.median(mine):.4f} ({min(mine):.4f}-{max(mine):.4f})"
        print(
            f"{engine.name:14}{engine.parameters:24}{recall:8.4f}{shown:>26}{engine.build_s:9.2f}"
            f"{engine.posting_bytes:11.2f}{engine.row_bytes:8.2f}{engine.grown_mb:10.0f}"
        )
        rows.append(
            engine._asdict() | {"search": None, "recall": recall, "cpu_ms": float(np.median(mine)), "rounds": mine}
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--terms", type=int, default=30)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, default=inverted.WINDOW)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--presence", action="store_true")
    parser.add_argument("--without", default="")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    mixture = Mixture(options.seed)
    documents, topics = mixture.documents(options.documents)
    if options.presence:
        documents.data[:] = 1
    queries = mixture.queries(options.queries, documents, topics, options.terms)
    best = exact(documents, queries, options.k)
    frequencies = np.bincount(documents.indices, minlength=documents.shape[1])
    touched = frequencies[queries.indices].sum() / options.queries
    print(
        f"{options.documents} documents of {documents.nnz / options.documents:.1f} entries, {options.queries} queries of"
        f" {queries.nnz / options.queries:.1f} terms with {touched:.0f} postings, k {options.k}"
    )
    engines = plait_engines(documents, queries, options.k, options.window, options.presence)
    for name, make in {"splade-index": splade_index, "scipy": scipy_product, "seismic": seismic}.items():
        if name not in options.without.split(","):
            try:
                engines += make(documents, queries, options.k)
            except ImportError as error:
                print(f"without {name}: {error}")
    recalls = [score_recall([e.search(q) for q in range(options.queries)], best, documents, queries) for e in engines]
    rows = report(engines, measure(engines, options.queries, options.rounds), recalls)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory of everything together: {peak:.0f} MB; {os.cpu_count()} processors")
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "peak_mb": peak, "engines": rows}, default=str))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
