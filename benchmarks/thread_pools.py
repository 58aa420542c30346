"""Searches handed to the threads of a server, without any network: `plait.service.rpc.pool` beside
`ThreadPoolExecutor`.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/thread_pools.py [--documents N] [--seconds S] [--json]

Callers hand one search after the other to a pool and wait for each. `own thread`: every caller searches by itself. All
sides take turns, round by round; medians. The pools may grow to 84 threads, as a server's may, and hold one for each
caller and one more when measuring begins: so many are made sooner or later, when a call comes while the thread before
has not quite ended its own.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from figures import add_option, keep
from live import Corpus
from plait.service.rpc.pool import Threads
from service_load import under_load

import plait

DIM, TOKENS, QUERY, K = 128, 60, 32, 10
MOST, CALLERS, ROUNDS = 84, (1, 2, 4), 6


def grown(pool: Executor, threads: int) -> None:
    """Lets the pool make so many threads."""
    begun, go = threading.Barrier(threads + 1), threading.Event()

    def hold() -> None:
        begun.wait()
        go.wait()

    held = [pool.submit(hold) for _ in range(threads)]
    begun.wait()
    go.set()
    for future in held:
        future.result()


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--documents", type=int, default=20_000)
    options.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    options.add_argument("--json", action="store_true")
    add_option(options)
    chosen = options.parse_args()
    corpus, rows = Corpus(chosen.documents, TOKENS, TOKENS, DIM, 0), []
    with tempfile.TemporaryDirectory() as name:
        with plait.create(Path(name) / "c", encoder=None, dim=DIM) as index:
            index.add_tokens([f"d{i}" for i in range(chosen.documents)], corpus.draw(chosen.documents))
        queries = [corpus.draw(1, QUERY, QUERY) for _ in range(256)]
        with plait.open(Path(name) / "c") as index:

            def search(n: int) -> None:
                index.search(queries[n % 256], K)

            search(0)
            for callers in CALLERS:
                pools = {"in turns": ThreadPoolExecutor(MOST), "last idle first": Threads(MOST, "plait")}
                for pool in pools.values():
                    grown(pool, callers + 1)
                ways = {"own thread": search} | {
                    name: lambda n, pool=pool: pool.submit(search, n).result() for name, pool in pools.items()
                }
                rounds = [
                    {way: under_load(call, callers, chosen.seconds, None) for way, call in ways.items()}
                    for _ in range(ROUNDS)
                ]
                for way in ways:
                    some = {n: float(np.median([r[way][n] for r in rounds])) for n in ("qps", "p50_ms", "cpu_ms_here")}
                    rows.append(
                        {"callers": callers, "way": way, **some, "busy": some["qps"] * some["cpu_ms_here"] / 1e3}
                    )
                for pool in pools.values():
                    pool.shutdown()
    found = {"cores": os.cpu_count(), "load": os.getloadavg()[0], "documents": chosen.documents, "rows": rows}
    keep(chosen, {"rows": rows})
    if chosen.json:
        print(json.dumps(found))
        return
    print({name: value for name, value in found.items() if name != "rows"})
    for row in rows:
        print("  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


if __name__ == "__main__":
    main()
