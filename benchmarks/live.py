"""Inserts, deletes and searches on one living collection: what they cost, and what merging does to them.

    python benchmarks/live.py                                       # 100,000 documents, exact store
    python benchmarks/live.py --store faiss:IVF1024,SQ8
    python benchmarks/live.py --documents 10000 --seconds 2 --json

Documents are given as embeddings (no encoder is in any figure): a topic, words by Zipf's law and noise, seeded. Every
search is one query on one thread, in another process than the writer. CPU seconds are of the measured process, all its
threads; compare them, and wall times, within one run alone.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from figures import add_option, keep
from plait.index.collection import Collection
from plait.index.params import SearchParams
from plait.index.tokens import Tokens
from plait.index.writing.maintenance import Policy
from reader import Watch, memory, reading

K = 10
BATCH = 1024
CYCLES, SHARE = 10, 0.1
SMALL_CYCLES, SMALL_SHARE = 30, 0.01
"""So many that the oldest segment, too, is rewritten."""
DELETES = 200


class Corpus:
    """Seeded synthetic token vectors: each is the sum of its word, its document's topic and noise, normalised."""

    def __init__(self, documents: int, low: int, high: int, dim: int, seed: int):
        self.rng, self.low, self.high, self.dim = np.random.default_rng(seed), low, high, dim
        self.words = self._directions(4096)
        self.topics = self._directions(max(1, documents // 50))

    def _directions(self, n: int) -> np.ndarray:
        vectors = self.rng.standard_normal((n, self.dim), np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def draw(self, n: int, low: int = 0, high: int = 0) -> Tokens:
        """n new documents (or queries), float16."""
        lengths = self.rng.integers(low or self.low, (high or self.high) + 1, n)
        total = int(lengths.sum())
        words = np.minimum(self.rng.zipf(1.3, total), len(self.words)) - 1
        topics = np.repeat(self.rng.integers(0, len(self.topics), n), lengths)
        vectors = self.rng.standard_normal((total, self.dim), np.float32) * np.float32(0.5 / np.sqrt(self.dim))
        vectors += self.words[words]
        vectors += np.float32(0.7) * self.topics[topics]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Tokens(vectors.astype(np.float16), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


@dataclass
class Cost:
    """Seconds and operations, summed over all uses."""

    wall: float = 0.0
    cpu: float = 0.0
    count: int = 0

    @contextmanager
    def of(self, count: int = 1) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu
        self.count += count

    def each(self) -> dict[str, float]:
        return {"per_s": round(self.count / self.wall, 1), "cpu_ms_each": round(1000 * self.cpu / self.count, 3)}


def build(path: Path, corpus: Corpus, documents: int, store: str) -> Cost:
    """A collection from scratch, by the bulk writer. The corpus is drawn outside the cost."""
    cost = Cost()
    collection = Collection.create(path, corpus.dim, store, fields=["n"], threads=1)
    with collection, collection.builder() as builder:
        for start in range(0, documents, BATCH):
            some = range(start, min(start + BATCH, documents))
            tokens = corpus.draw(len(some))
            with cost.of(len(some)):
                builder.add([str(i) for i in some], tokens, [{"n": i % 100} for i in some])
        with cost.of(0):
            builder.publish()
    return cost


def deletes(folder: Path, main: Path, corpus: Corpus, documents: int) -> dict[str, Any]:
    """Deletes of single documents in collections of three sizes, the main one last."""
    found = {}
    for size in sorted({s for s in (1_000, 10_000) if s < documents} | {documents}):
        path = main if size == documents else folder / f"size-{size}"
        if path != main:
            build(path, corpus, size, "exact")
        cost, victims = Cost(), corpus.rng.choice(size, min(DELETES, size // 2), replace=False)
        with Collection(path, threads=1) as collection:
            collection.live.delete(["warm"], durable=False)
            for victim in victims.tolist():
                with cost.of():
                    collection.live.delete([str(victim)], durable=False)
        found[str(size)] = cost.each()
    return found


def operations(collection: Collection, corpus: Corpus, documents: int) -> dict[str, Callable[[], int]]:
    """Each kind of write, on documents chosen at random. What is drawn is drawn here, outside every cost."""

    def upsert(count: int, durable: bool) -> Callable[[], int]:
        drawn = corpus.draw(count * 16)

        def write() -> int:
            ids = corpus.rng.choice(documents, count, replace=False).tolist()
            start = int(corpus.rng.integers(0, 15)) * count
            tokens = drawn.take(range(start, start + count))
            return collection.live.upsert([str(i) for i in ids], tokens, [{"n": i % 100} for i in ids], durable).count

        return write

    def delete(durable: bool) -> int:
        collection.live.delete([str(corpus.rng.integers(documents))], durable)
        return 1

    def payload(durable: bool) -> int:
        for id in corpus.rng.integers(documents, size=64).tolist():
            with collection.catalog.reading() as view:
                there = view.by_ids([str(id)])
            if there:
                return collection.live.update_payload(str(id), {"n": id % 7}, durable).count
        return 0

    kinds: dict[str, Callable[[], int]] = {}
    for durable in (True, False):
        word = "durable" if durable else "not durable"
        kinds[f"upsert 1, {word}"] = upsert(1, durable)
        kinds[f"upsert 64, {word}"] = upsert(64, durable)
        kinds[f"delete, {word}"] = lambda durable=durable: delete(durable)
        kinds[f"update_payload, {word}"] = lambda durable=durable: payload(durable)
    return kinds


def writes(path: Path, corpus: Corpus, documents: int, seconds: float) -> dict[str, Any]:
    """Documents per second of each kind of write alone: nothing else runs, nothing is sealed."""
    found = {}
    with Collection(path, threads=1) as collection:
        for name, write in operations(collection, corpus, documents).items():
            cost, end = Cost(), time.monotonic() + seconds / 4
            while time.monotonic() < end:
                with cost.of(0):
                    cost.count += write()
            found[name] = cost.each()
        collection.seal()
    return found


def mix(path: Path, corpus: Corpus, documents: int, queries: Tokens, seconds: float) -> dict[str, Any]:
    """All kinds of durable writes at once, sealed and merged in the background, while another process searches."""
    done: dict[str, int] = {}
    with Collection(path, threads=1, policy=Policy()) as collection:
        kinds = {n: w for n, w in operations(collection, corpus, documents).items() if "not" not in n}
        with reading(path, queries, K) as searches:
            start = time.monotonic()
            while time.monotonic() < start + seconds:
                for name, write in kinds.items():
                    done[name] = done.get(name, 0) + write()
            end = time.monotonic()
    rates = {name: round(count / (end - start), 1) for name, count in done.items()}
    return {"documents_per_s": rates, "search": searches.between(start, end), "reader": searches.memory}


def recall(collection: Collection, queries: Tokens) -> dict[str, float]:
    """Mean share of the exact top ten that a search finds: with default parameters, and with so few probes and
    candidates that some is missed, where a decay would show first."""
    settings = {"recall": SearchParams(), "recall_hard": SearchParams(k_token=100, nprobe=1, candidates=4 * K)}
    with collection.snapshot() as snapshot:
        wanted = snapshot.search(queries, K, exact=True)
        found = {name: snapshot.search(queries, K, params=params) for name, params in settings.items()}
    return {
        name: round(float(np.mean([np.isin(w.docs, f.docs).mean() for w, f in zip(wanted, some, strict=True)])), 4)
        for name, some in found.items()
    }


def cycles(
    path: Path, corpus: Corpus, documents: int, share: float, times: int, queries: Tokens | None = None
) -> dict[str, Any]:
    """Each cycle replaces a share of the documents, then does what the default policy
    finds due. Queries: for recall."""
    changed, rows = max(1, int(share * documents)), []
    writing, upkeep = Cost(), Cost()
    with Collection(path, threads=1) as collection:
        first = None if queries is None else recall(collection, queries)
        for _ in range(times):
            ids = corpus.rng.choice(documents, changed, replace=False)
            for start in range(0, changed, 64):
                some = [str(i) for i in ids[start : start + 64]]
                tokens = corpus.draw(len(some))
                with writing.of(len(some)):
                    collection.live.upsert(some, tokens, [{"n": int(i) % 100} for i in some], durable=False)
            before = upkeep.cpu
            with upkeep.of(changed):
                collection.maintenance.seal()
                while collection.maintenance.step(Policy()):
                    pass
            stats = collection.stats()
            row: dict[str, float] = {"upkeep_cpu_s": round(upkeep.cpu - before, 2), "segments": len(stats["segments"])}
            row |= {"dead": stats["dead"]}
            if queries is not None:
                row |= recall(collection, queries)
            rows.append(row)
    return {"share": share, "recall_first": first, "cycles": rows, "writing": writing.each(), "upkeep": upkeep.each()}


def merge(path: Path, queries: Tokens, seconds: float) -> dict[str, Any]:
    """Everything merged into one segment, while another process searches before, during and after."""
    cost = Cost()
    with Collection(path, threads=1) as collection:
        before = collection.stats()
        with reading(path, queries, K) as searches:
            marks = [time.monotonic()]
            time.sleep(seconds)
            marks.append(time.monotonic())
            with cost.of(before["documents"]):
                collection.compact()
            marks.append(time.monotonic())
            time.sleep(seconds)
            marks.append(time.monotonic())
    spans = {name: searches.between(*marks[i : i + 2]) for i, name in enumerate(("before", "during", "after"))}
    state = {"segments": len(before["segments"]), "dead": before["dead"], "documents": before["documents"]}
    took = {"cpu_s": round(cost.cpu, 2), "wall_s": round(cost.wall, 2)}
    return {**state, **took, "open_ms": searches.open_ms, "search": spans, "reader": searches.memory}


def ratios(rebuild: float, documents: int, cycled: list[dict[str, Any]], merged: dict[str, Any]) -> dict[str, Any]:
    """How many times cheaper than a rebuild (CPU seconds per changed document) a change is under the policy."""
    found = {}
    for cycle in cycled:
        changed = cycle["share"] * documents
        upkeep = cycle["upkeep"]["cpu_ms_each"] / 1000
        whole = upkeep + cycle["writing"]["cpu_ms_each"] / 1000
        fresh = rebuild / changed
        found[f"{cycle['share']:.0%} changed"] = {
            "rebuild_cpu_ms_each": round(1000 * fresh, 3),
            "upkeep": round(fresh / upkeep, 1),
            "upkeep_and_writing": round(fresh / whole, 1),
        }
    found["full merge of all documents"] = round(rebuild / merged["cpu_s"], 1)
    return found


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every measurement, in order, on one collection."""
    n, seconds = arguments.documents, arguments.seconds
    low, high = arguments.tokens
    corpus = Corpus(n, low, high, arguments.dim, arguments.seed)
    queries, path, watch = corpus.draw(arguments.queries, 8, 16), folder / "main", Watch()
    say(f"building {n:,} documents")
    built = build(path, corpus, n, arguments.store)
    found: dict[str, Any] = {"build": {**built.each(), "cpu_s": round(built.cpu, 2), "wall_s": round(built.wall, 2)}}
    with Collection(path, verify=False) as collection:
        stats = collection.stats()
        found["build"] |= {"tokens": stats["tokens"], "mib": round(stats["bytes"]["total"] / 2**20)}
    steps: dict[str, Callable[[], Any]] = {
        "deletes": lambda: deletes(folder, path, corpus, n),
        "writes": lambda: writes(path, corpus, n, seconds),
        "mix": lambda: mix(path, corpus, n, queries, seconds),
        "cycles": lambda: cycles(path, corpus, n, SHARE, CYCLES, None if arguments.store == "exact" else queries),
        "small_cycles": lambda: cycles(path, corpus, n, SMALL_SHARE, SMALL_CYCLES),
        "merge": lambda: merge(path, queries, seconds),
    }
    for name, step in steps.items():
        say(name)
        found[name] = step()
    found["rebuild_over"] = ratios(built.cpu, n, [found["cycles"], found["small_cycles"]], found["merge"])
    found["writer"] = {**memory(), "anonymous_mib": watch.most}
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def show(value: Any, indent: str = "") -> None:
    """A report as indented lines; what has no further depth stands on one."""
    for key, item in value.items():
        rows = item if isinstance(item, list) else [item]
        if isinstance(item, dict) and any(isinstance(v, dict | list) for v in item.values()):
            print(f"{indent}{key}")
            show(item, indent + "  ")
        else:
            for row in rows:
                line = "  ".join(f"{k} {v}" for k, v in row.items()) if isinstance(row, dict) else row
                print(f"{indent}{key:<28} {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, nargs=2, default=(20, 40), metavar=("LOW", "HIGH"), help="per document")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--store", default="exact")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each timed span")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, help="where collections are made and removed (the system's own otherwise)"
    )
    parser.add_argument("--json", action="store_true")
    add_option(parser)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        settings = {k: v for k, v in vars(arguments).items() if k not in ("json", "folder", "keep")}
        report = {"settings": settings, **run(arguments, folder)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    keep(arguments, report, ["faiss-cpu"] if "faiss" in sys.modules else [])
    if arguments.json:
        print(json.dumps(report, indent=1))
    elif not arguments.keep:
        show(report)


if __name__ == "__main__":
    main()
