"""The flat plan against exact MaxSim: recall, CPU time, bytes and build time, by code size, candidates and rerank rows.

    python benchmarks/flat_scan.py COLLECTION DATA [--plan flat|lists] [--queries N] [--threads N] [--bytes 8,16,32]
                                   [--candidates 20,50,100,200] [--nprobe 4,8,16,32] [--lists N]

With `--plan lists` the lists plan runs beside it, for every nprobe.

COLLECTION is a folder made by `plait build`, DATA the BEIR folder it was built from. Every query runs on every
configuration and on the exact product before the next query starts, so that a busy machine slows all alike. One JSON
line per configuration goes to standard output, a table to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from plait.index.codecs import kmeans as clustering
from plait.index.codecs import pq4
from plait.index.codecs.codec import score
from plait.index.codecs.half import Half
from plait.index.codecs.precisions import PRECISIONS, codec
from plait.index.hits import Hits, best
from plait.index.kernels import vectors as kernels
from plait.index.late import lists
from plait.index.late.flat import Flat
from plait.index.late.lists import Lists
from threadpoolctl import threadpool_limits

from plait import Retriever

SAMPLE = 20_000


class Key(NamedTuple):
    """One configuration."""

    plan: str
    code_bytes: int
    rows: str
    candidates: int
    nprobe: int = 0


EXACT = Key("exact", 0, "float32", 0)
Search = Callable[[np.ndarray, int], Hits]
"""One configuration's search for the k best of one query."""


def load(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """All segments' vectors (n, dim) float16 and offsets."""
    vectors, offsets = [], [np.zeros(1, np.int64)]
    for segment in sorted(folder.glob("segment-*")):
        dim = json.loads((segment / "segment.json").read_text())["dim"]
        vectors.append(np.fromfile(segment / "vectors", "<f2").reshape(-1, dim))
        offsets.append(np.fromfile(segment / "offsets", "<i8")[1:] + offsets[-1][-1])
    return np.concatenate(vectors), np.concatenate(offsets)


def queries(folder: Path, data: Path, count: int) -> list[np.ndarray]:
    texts = [json.loads(line)["text"] for line in (data / "queries.jsonl").read_text().splitlines()]
    tokens = Retriever(folder).encoding.queries(texts[:count])
    return [np.ascontiguousarray(kernels.widen(tokens.vectors[tokens.rows(i)])) for i in range(len(tokens))]


def build(vectors: np.ndarray, offsets: np.ndarray, size: int) -> tuple[dict[str, Flat], dict[str, float]]:
    """The plan with either kind of rows, and the CPU seconds of its parts."""
    rng = np.random.default_rng(0)
    start = time.process_time()
    sample = vectors[np.sort(rng.choice(len(vectors), min(SAMPLE, len(vectors)), replace=False))]
    codebook = pq4.fit(sample, size)
    fitted = time.process_time()
    codes = pq4.encode(codebook, vectors)
    encoded = time.process_time()
    kept = [codec(precision, vectors.shape[1]) for precision in PRECISIONS]
    plans = {some.precision: Flat(codebook, codes, offsets, some, some.encode(vectors)) for some in kept}
    return plans, {"fit_s": fitted - start, "encode_s": encoded - fitted, "records_s": time.process_time() - encoded}


def build_lists(
    plans: dict[str, Flat], vectors: np.ndarray, offsets: np.ndarray, count: int
) -> tuple[dict[str, Lists], dict[str, float], float]:
    """The lists plan with the flat plan's codebook and rows, the CPU seconds of its parts, and its bytes per token."""
    start = time.process_time()
    chosen = np.random.default_rng(0).choice(len(vectors), min(32 * count, len(vectors)), replace=False)
    centroids = clustering.fit(vectors[np.sort(chosen)], count)
    fitted = time.process_time()
    postings = lists.build(plans["float16"].codebook, centroids, vectors, offsets)
    seconds = {"cluster_s": fitted - start, "postings_s": time.process_time() - fitted}
    files = postings.codes, postings.documents, postings.bounds, centroids
    built = {
        kind: Lists(plan.codebook, centroids, postings, offsets, plan.codec, plan.records)
        for kind, plan in plans.items()
    }
    return built, seconds, sum(file.nbytes for file in files) / len(vectors)


def searches(
    flat: dict[int, dict[str, Flat]],
    listed: dict[int, dict[str, Lists]],
    cuts: list[int],
    probes: list[int],
    threads: int,
) -> dict[Key, Search]:
    """The search of every configuration."""
    out: dict[Key, Search] = {}
    for c in cuts:
        for size, plans in flat.items():
            for kind, plan in plans.items():
                out[Key("flat", size, kind, c)] = partial(plan.search, candidates=c, threads=threads)
        for size, plans in listed.items():
            for (kind, plan), n in product(plans.items(), probes):
                out[Key("lists", size, kind, c, n)] = partial(plan.search, candidates=c, nprobe=n, threads=threads)
    return out


def measure(plans: dict[Key, Search], vectors: np.ndarray, offsets: np.ndarray, some: list[np.ndarray]):
    """For every configuration and for exact: the CPU seconds and the ranking of every query."""
    half, rows = Half(vectors.shape[1]), vectors.astype(np.float16)
    every = np.arange(len(offsets) - 1)
    runs: dict[Key, Search] = {EXACT: lambda q, k: best(every, score(half, rows, offsets, every, q, 1), k), **plans}
    cpu: dict[Key, list[float]] = {key: [] for key in runs}
    found: dict[Key, list[np.ndarray]] = {key: [] for key in runs}
    for query in some:
        for key, search in runs.items():
            start = time.process_time()
            hits = search(query, min(100, key.candidates or 100))
            cpu[key].append(time.process_time() - start)
            found[key].append(hits.docs)
    return cpu, found


def recall(truth: list[np.ndarray], found: list[np.ndarray], k: int) -> float:
    """The share of the exact top k among the k best found."""
    return float(np.mean([np.isin(t[:k], f[:k]).mean() for t, f in zip(truth, found, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--plan", choices=("flat", "lists"), default="flat")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bytes", default="8,16,32")
    parser.add_argument("--candidates", default="20,50,100,200")
    parser.add_argument("--nprobe", default="4,8,16,32")
    parser.add_argument("--lists", type=int, help="clusters; unless said, by the number of tokens")
    arguments = parser.parse_args()
    given = arguments.bytes, arguments.candidates, arguments.nprobe
    sizes, cuts, probes = ([int(v) for v in text.split(",")] for text in given)
    vectors, offsets = load(arguments.collection)
    some = queries(arguments.collection, arguments.data, arguments.queries)
    count = arguments.lists or lists.count(len(vectors))
    with threadpool_limits(arguments.threads):
        flat = {size: build(vectors, offsets, size) for size in sizes}
        listed = {}
        if arguments.plan == "lists":
            listed = {size: build_lists(flat[size][0], vectors, offsets, count) for size in sizes}
        plans = {size: built[0] for size, built in flat.items()}
        others = {size: built[0] for size, built in listed.items()}
        cpu, found = measure(searches(plans, others, cuts, probes, arguments.threads), vectors, offsets, some)
    seconds = {("flat", size): built[1] for size, built in flat.items()}
    # Both plans learn a codebook and keep rows; the lists encode in their own order.
    for size, built in listed.items():
        shared = {name: value for name, value in flat[size][1].items() if name != "encode_s"}
        seconds["lists", size] = {**shared, **built[1]}
    scanned = {("lists", size): built[2] for size, built in listed.items()}
    report(vectors.shape[1], seconds, scanned, cpu, found)


def report(dim: int, built: dict, scanned: dict, cpu: dict, found: dict) -> None:
    """`built`: CPU seconds by plan and code size; `scanned`: bytes per token but for the rows, where not the codes'."""
    exact = float(np.median(cpu[EXACT]))
    say = lambda *cells: print(*(f"{c:>9}" for c in cells), file=sys.stderr)  # noqa: E731
    say("plan", "codes B", "rows", "rerank", "nprobe", "R@10", "R@100", "CPU ms", "of exact", "build s", "B/token")
    for key in cpu:
        seconds, kept = built.get(key[:2], {}), {"int8": dim + 4, "float16": 2 * dim, "float32": 4 * dim}[key.rows]
        row = {
            **key._asdict(),
            "recall@10": recall(found[EXACT], found[key], 10),
            "recall@100": recall(found[EXACT], found[key], 100) if key.candidates >= 100 or key == EXACT else None,
            "cpu_ms": 1000 * float(np.median(cpu[key])),
            "exact_over_this": exact / float(np.median(cpu[key])),
            "bytes_per_token": round(scanned.get(key[:2], key.code_bytes) + kept, 2),
            "simd": kernels.simd_level(),
            **{name: round(value, 2) for name, value in seconds.items()},
        }
        print(json.dumps(row), flush=True)
        at_100 = "" if row["recall@100"] is None else f"{row['recall@100']:.4f}"
        times = f"{row['cpu_ms']:.2f}", f"1/{row['exact_over_this']:.0f}", f"{sum(seconds.values()):.1f}"
        shown = key.plan, key.code_bytes, key.rows, key.candidates, key.nprobe
        say(*shown, f"{row['recall@10']:.4f}", at_100, *times, row["bytes_per_token"])


if __name__ == "__main__":
    main()
