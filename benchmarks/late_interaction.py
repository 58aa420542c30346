"""Late-interaction engines on the same token vectors: recall, CPU time, build time, bytes and memory.

    python benchmarks/late_interaction.py COLLECTION DATA [--peers FOLDER] [--engines a,b] [--queries N] [--threads N]
    python benchmarks/late_interaction.py --synthetic 10000 [...]

COLLECTION is a folder made by `plait build`, DATA the BEIR folder it was built from. PEERS holds packages that are not
in this environment (`pip install --no-deps --target PEERS ...`); an engine that is not installed is skipped, and what
installs it is said. Every engine runs in a process of its own. Every query runs on every engine and setting before the
next query starts, so that a busy machine slows all alike. Times are CPU time of the engine's process: medians over
queries, one query a call. A table goes to standard output; with --json one line per
setting, the table to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import token_data
from engine_process import Engine, EngineFailed
from engine_report import Measured, print_table, rows_of
from figures import add_option, keep
from plait.index.codecs.codec import score
from plait.index.codecs.half import Half
from plait.index.hits import best
from plait.index.kernels.vectors import simd_level

ENGINES = ("numpy_exact", "plait_exact", "maxsim_cpu", "muvera_rs", "tachiom", "plait_flat", "plait_lists")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
DEPTHS = (10, 100)


def main() -> None:
    arguments = _arguments()
    # Children inherit these; libraries read them once, when they are loaded.
    os.environ.update(dict.fromkeys(THREADS, str(arguments.threads)))
    with TemporaryDirectory() as scratch, ExitStack() as running:
        data = _data(arguments, Path(scratch))
        engines = []
        for engine in _engines(arguments, data):
            folder = running.enter_context(TemporaryDirectory(dir=scratch))
            try:
                engine.start(Path(folder))
                engines.append(engine)
                _say(f"{engine.name} {dict(engine.options)}: built in {engine.built['build_cpu_s']:.1f} s of CPU time")
            except EngineFailed as failed:
                _say(str(failed))
        loads = [os.getloadavg()[0]]
        measured = measure(engines, data)
        loads.append(os.getloadavg()[0])
        peaks = [engine.stop() for engine in engines]
        rows = rows_of(engines, peaks, measured, truth(data), data)
    keep(arguments, {"engines": rows})
    for row in rows:
        if arguments.json:
            print(json.dumps({**row, "threads": arguments.threads, "load": loads, "simd": simd_level()}), flush=True)
    print_table(rows, sys.stderr if arguments.json else sys.stdout)


def truth(data: token_data.Data) -> list[np.ndarray]:
    """For every query the 100 best documents by exact MaxSim: float32 products over the stored float16 rows."""
    tokens = token_data.read(data.folder)
    half, every = Half(tokens.dim), np.arange(len(tokens))
    rows = half.encode(tokens.vectors)
    return [best(every, score(half, rows, tokens.offsets, every, q, 1), DEPTHS[-1]).docs for q in data.queries]


def measure(engines: list[Engine], data: token_data.Data) -> Measured:
    """Runs every query on every engine, setting and depth. EngineFailed: an engine did not answer.

    An engine's settings take turns in random order: the first one finds the caches full of the engine before it.
    """
    rng = np.random.default_rng(0)
    keys = [(e, s, k) for e, engine in enumerate(engines) for s in range(len(engine.grid)) for k in DEPTHS]
    results: Measured = {key: [] for key in keys}
    for e, s, k in keys:
        # Pages, caches and what libraries do at their first call.
        engines[e].search(data.queries[-1], k, engines[e].grid[s])
    for number, query in enumerate(data.queries):
        for e, s, k in sorted(keys, key=lambda key: (key[0], rng.random())):
            results[e, s, k].append(engines[e].search(query, k, engines[e].grid[s]))
        _say(f"query {number + 1} of {len(data.queries)}", end="\r")
    return results


def _data(arguments: argparse.Namespace, scratch: Path) -> token_data.Data:
    if arguments.synthetic:
        folder = scratch / "tokens"
        folder.mkdir()
        return token_data.synthetic(folder, arguments.synthetic, arguments.queries)
    return token_data.collection(arguments.collection, arguments.data, arguments.queries)


def _engines(arguments: argparse.Namespace, data: token_data.Data) -> list[Engine]:
    adapters: list[tuple[str, Any]] = [(name, import_module(f"peers.{name}")) for name in arguments.engines.split(",")]
    return [
        Engine(name, options, adapter.GRID, data.folder, arguments.peers, arguments.threads)
        for name, adapter in adapters
        for options in adapter.BUILDS
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path, nargs="?")
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument(
        "--synthetic", type=int, metavar="DOCUMENTS", help="synthetic documents instead of a collection"
    )
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--peers", type=Path, help="a folder with the peers' packages")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    add_option(parser)
    arguments = parser.parse_args()
    if not arguments.synthetic and not arguments.data:
        parser.error("give COLLECTION and DATA, or --synthetic DOCUMENTS")
    return arguments


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
