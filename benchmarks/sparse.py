"""Exact sparse search beside other engines: CPU time per query, recall, build time, bytes and memory.

    python benchmarks/sparse.py [--documents N] [--queries N] [--terms N] [-k N] [--rounds N] [--window N] [--presence]
                                [--clustered] [--without seismic,...] [--peers FOLDER] [--json FILE]

With --presence all weights of documents are 1, and plait stores presence only. With --clustered documents of one main
topic stand together, as an order by graph bisection would approach; without it their order is random.

Engines, in one process and interleaved round by round in rotating order, one thread: plait (float32 and float16 rows,
exact and with its options), and the files of `sparse_peers`, which say what to install and what is inside the timing.
FOLDER holds those that are not installed; an engine that cannot be imported is left out. Queries are in each engine's
own form before the clock starts. Memory is what the resident set grew by during the build, not a peak of the search.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
from figures import add_option, keep
from plait.index.params import TermParams
from plait.index.sparse import inverted
from plait.index.sparse.postings import WINDOW
from sparse_data import Mixture, exact, score_recall
from sparse_engine import Engine, clocked, engines_of, measure, report, sparse_rows
from threadpoolctl import threadpool_limits

PEERS = ("splade_index", "scipy_product", "seismic", "block_max_pruning", "pisa", "qdrant")
CHOSEN = ((8, 80), (10, 40), (10, 80), (12, 40))
"""Keys of a query that find, and documents that are then scored."""


def plait_engines(documents: Any, queries: Any, k: int, window: int, presence: bool) -> list[Engine]:
    asked = [(keys.astype(np.uint32), weights) for keys, weights in sparse_rows(queries)]
    out = []
    for half in (False,) if presence else (False, True):
        some, seconds, grown = clocked(
            lambda half=half: inverted.build(documents, presence=presence, half=half, window=window)
        )
        count = len(some.postings.offsets)
        sizes = some.postings.nbytes / count, some.rows.nbytes / count
        settings: list[dict[str, Any]] = [
            {},
            *([] if half else [{"alpha": 0.8}]),
            *({"query_terms": t, "term_candidates": c} for t, c in CHOSEN if not half),
        ]
        for options in settings:

            def search(q: int, some: inverted.Inverted = some, options: dict[str, Any] = options) -> np.ndarray:
                return some.search(*asked[q], k, params=TermParams(**options)).docs

            named = json.dumps(options) if options else "exact"
            out.append(Engine("plait f16" if half else "plait", named, search, seconds, *sizes, grown))
    return out


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--terms", type=int, default=30)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--window", type=int, default=WINDOW)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--presence", action="store_true")
    parser.add_argument("--clustered", action="store_true")
    parser.add_argument("--without", default="", help=", ".join(PEERS))
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--json", type=Path)
    add_option(parser)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.peers:
        sys.path.append(str(options.peers))
    mixture = Mixture(options.seed)
    documents, topics = mixture.documents(options.documents)
    if options.clustered:
        order = np.argsort(topics, kind="stable")
        documents, topics = documents[order], topics[order]
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
    others = [name for name in PEERS if name not in options.without.split(",")]
    engines += engines_of(others, documents, queries, options.k)
    recalls = [score_recall([e.search(q) for q in range(options.queries)], best, documents, queries) for e in engines]
    rows = report(engines, measure(engines, options.queries, options.rounds), recalls)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory of everything together: {peak:.0f} MB; {os.cpu_count()} processors")
    keep(options, {"peak_mb": peak, "engines": rows})
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), "peak_mb": peak, "engines": rows}, default=str))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
