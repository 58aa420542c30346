"""The flat plan against exact MaxSim: recall, CPU time, bytes and build time, by code size, candidates and rerank rows.

    python benchmarks/flat_scan.py COLLECTION DATA [--queries N] [--threads N] [--bytes 8,16,32] [--candidates 20,50,100,200]

COLLECTION is a folder made by `plait build`, DATA the BEIR folder it was built from. Every query runs on every
configuration and on the exact product before the next query starts, so that a busy machine slows all alike. One JSON
line per configuration goes to standard output, a table to standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from plait.index import kernels, pq4
from plait.index.exact import maxsim
from plait.index.flat import Flat, Rows, quantize
from plait.index.hits import best
from threadpoolctl import threadpool_limits

from plait import Retriever

SAMPLE = 20_000


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
    plans = {"int8": Flat(codebook, codes, offsets, quantize(vectors, codebook.square_rotation))}
    seconds = {"fit_s": fitted - start, "encode_s": encoded - fitted, "quantize_s": time.process_time() - encoded}
    return plans | {"float16": Flat(codebook, codes, offsets, Rows(vectors))}, seconds


def measure(plans: dict[tuple, Flat], vectors: np.ndarray, offsets: np.ndarray, some: list[np.ndarray], threads: int):
    """For every configuration (bytes, rows, candidates): CPU seconds and the ranking of every query; so for exact."""
    wide = kernels.widen(vectors)
    cpu: dict = {key: [] for key in [*plans, "exact"]}
    found: dict = {key: [] for key in cpu}
    every = np.arange(len(offsets) - 1)
    for query in some:
        start = time.process_time()
        found["exact"].append(best(every, maxsim(query, wide, offsets), 100).docs)
        cpu["exact"].append(time.process_time() - start)
        for (size, kind, candidates), plan in plans.items():
            start = time.process_time()
            hits = plan.search(query, min(100, candidates), candidates, threads=threads)
            cpu[size, kind, candidates].append(time.process_time() - start)
            found[size, kind, candidates].append(hits.docs)
    return cpu, found


def recall(truth: list[np.ndarray], found: list[np.ndarray], k: int) -> float:
    """The share of the exact top k among the k best found."""
    return float(np.mean([np.isin(t[:k], f[:k]).mean() for t, f in zip(truth, found, strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bytes", default="8,16,32")
    parser.add_argument("--candidates", default="20,50,100,200")
    arguments = parser.parse_args()
    sizes, cuts = ([int(v) for v in text.split(",")] for text in (arguments.bytes, arguments.candidates))
    vectors, offsets = load(arguments.collection)
    some = queries(arguments.collection, arguments.data, arguments.queries)
    with threadpool_limits(arguments.threads):
        built = {size: build(vectors, offsets, size) for size in sizes}
        plans = {(s, kind, c): plan for s in sizes for kind, plan in built[s][0].items() for c in cuts}
        cpu, found = measure(plans, vectors, offsets, some, arguments.threads)
    report(vectors, built, cpu, found)


def report(vectors: np.ndarray, built: dict, cpu: dict, found: dict) -> None:
    exact = float(np.median(cpu["exact"]))
    say = lambda *cells: print(*(f"{c:>9}" for c in cells), file=sys.stderr)  # noqa: E731
    say("codes B", "rows", "rerank", "R@10", "R@100", "CPU ms", "of exact", "build s", "B/token")
    for key in cpu:
        size, kind, candidates = key if key != "exact" else (0, "float32", 0)
        seconds = built[size][1] if size else {}
        dim = vectors.shape[1]
        row = {
            "code_bytes": size,
            "rows": kind,
            "candidates": candidates,
            "recall@10": recall(found["exact"], found[key], 10),
            "recall@100": recall(found["exact"], found[key], 100) if candidates >= 100 or not size else None,
            "cpu_ms": 1000 * float(np.median(cpu[key])),
            "exact_over_this": exact / float(np.median(cpu[key])),
            "bytes_per_token": size + {"int8": dim + 4, "float16": 2 * dim, "float32": 4 * dim}[kind],
            "simd": kernels.simd_level(),
            **{name: round(value, 2) for name, value in seconds.items()},
        }
        print(json.dumps(row), flush=True)
        at_100 = "" if row["recall@100"] is None else f"{row['recall@100']:.4f}"
        times = f"{row['cpu_ms']:.2f}", f"1/{row['exact_over_this']:.0f}", f"{sum(seconds.values()):.1f}"
        say(size, kind, candidates, f"{row['recall@10']:.4f}", at_100, *times, row["bytes_per_token"])


if __name__ == "__main__":
    main()
