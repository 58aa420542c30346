"""COIL's lists beside the published layout in NumPy: CPU time per query, bytes, and whether both rank alike.

    python benchmarks/coil.py [--documents N] [--queries N] [--tokens N] [--dim N] [--width N] [-k N] [--batch N]
                                    [--rounds N] [--json FILE]

The published layout (github.com/luyug/COIL, retriever-fast): per vocabulary id a float32 matrix of all its occurrences
with two int64 maps, to the documents of the list and from there to all; a float32 matrix of global vectors. A query is
one product per id, the greatest of each document, a sum; here with NumPy's fastest ways (`reduceat` over runs of a
document). With a batch, products are of all its queries at once, as published; documents
are then chosen query by query.

plait searches a collection on disk with every check that this brings; scores are exact over the float16 rows, which are
mapped and read for the candidates alone. In one process, interleaved round by round, one thread. Ids follow a Zipf law,
vectors of one id have a common mean: figures compare layouts, they do not say what a real collection costs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from figures import add_option, keep
from plait.index.coil.store import CoilStore
from plait.index.collection import Collection
from plait.index.params import Scoring
from plait.index.tokens import Tokens, concatenate
from plait.index.vector.codes import GlobalCodes
from threadpoolctl import threadpool_limits

VOCABULARY = 30_000
SEP = 102
COIL = Scoring("coil")


class Published(NamedTuple):
    """The published layout."""

    keys: np.ndarray
    bounds: np.ndarray
    """(terms + 1,) rows of each id."""
    rows: np.ndarray
    """(occurrences, dim) float32."""
    local: np.ndarray
    """(occurrences,) int64: the document's place in its list. Kept because the layout has it."""
    run_bounds: np.ndarray
    """(terms + 1,) runs of each id."""
    runs: np.ndarray
    """(runs,) int64: the first row of every run, which NumPy needs in place of `local`."""
    documents: np.ndarray
    """(runs,) int64."""
    whole: np.ndarray | None
    """(documents, width) float32."""

    @property
    def nbytes(self) -> int:
        parts = self.rows, self.local, self.documents, self.whole
        return sum(part.nbytes for part in parts if part is not None)

    def search(self, queries: list[Tokens], count: int, k: int) -> list[np.ndarray]:
        """The documents of a batch, best first."""
        scores = np.zeros((len(queries), count), np.float32)
        if self.whole is not None:
            scores[:] = np.concatenate([q.globals_ for q in queries if q.globals_ is not None]) @ self.whole.T
        ids = np.concatenate([q.ids for q in queries if q.ids is not None])
        vectors = np.concatenate([q.vectors for q in queries])
        of = np.repeat(np.arange(len(queries)), [len(q.vectors) for q in queries])
        for id in np.unique(ids):
            at = int(np.searchsorted(self.keys, id))
            if at == len(self.keys) or self.keys[at] != id:
                continue
            first, last = self.bounds[at], self.bounds[at + 1]
            asked = np.flatnonzero(ids == id)
            products = np.maximum(vectors[asked] @ self.rows[first:last].T, 0)
            mine = slice(self.run_bounds[at], self.run_bounds[at + 1])
            best = np.maximum.reduceat(products, self.runs[mine] - first, axis=1)
            for row, q in zip(best, of[asked], strict=True):
                scores[q, self.documents[mine]] += row
        chosen = np.argpartition(scores, count - k, axis=1)[:, -k:]
        return [some[np.argsort(-row[some], kind="stable")] for some, row in zip(chosen, scores, strict=True)]


def published(tokens: Tokens) -> Published:
    assert tokens.ids is not None
    order = np.argsort(tokens.ids, kind="stable")
    ids, owners = tokens.ids[order], tokens.owners[order]
    keys, starts = np.unique(ids, return_index=True)
    opens = np.ones(len(ids), bool)
    opens[1:] = (np.diff(ids.astype(np.int64)) != 0) | (np.diff(owners) != 0)
    runs = np.flatnonzero(opens)
    bounds = np.append(starts, len(ids))
    run_bounds = np.searchsorted(runs, bounds)
    local = np.cumsum(opens) - 1 - np.repeat(run_bounds[:-1], np.diff(bounds))
    whole = None if tokens.globals_ is None else tokens.globals_.astype(np.float32)
    rows = tokens.vectors[order].astype(np.float32)
    return Published(keys, bounds, rows, local.astype(np.int64), run_bounds, runs, owners[runs], whole)


class Mixture:
    """Draws documents and queries: Zipf ids, a mean for each id, a direction for each topic of global vectors."""

    def __init__(self, seed: int, dim: int, width: int) -> None:
        self.rng, self.dim, self.width = np.random.default_rng(seed), dim, width
        weights = 1 / (np.arange(VOCABULARY) + 8.0)
        self._zipf = np.cumsum(weights / weights.sum())
        self._means = self.rng.standard_normal((VOCABULARY, dim)).astype(np.float32)
        self._topics = self.rng.standard_normal((500, width)).astype(np.float32)

    def documents(self, count: int, length: int) -> Tokens:
        lengths = np.clip(self.rng.lognormal(np.log(length), 0.4, count), 8, 4 * length).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        ids = np.searchsorted(self._zipf, self.rng.random(offsets[-1])).clip(0, VOCABULARY - 1).astype(np.uint32)
        ids[offsets[1:] - 1] = SEP
        return Tokens(self._around(ids), offsets, ids, globals_=self._whole(count))

    def queries(self, count: int, documents: Tokens) -> list[Tokens]:
        """Four to twelve tokens of a document, frequent ones among them, and [SEP]."""
        out = []
        for d in self.rng.choice(len(documents), count):
            own = documents.ids[documents.rows(int(d))]  # type: ignore[index]
            ids = np.append(self.rng.choice(own, int(self.rng.integers(4, 13))), SEP).astype(np.uint32)
            whole = documents.globals_
            more = self._whole(1)
            near = None if whole is None or more is None else whole[d : d + 1].astype(np.float32) + more
            out.append(Tokens(self._around(ids).astype(np.float32), np.array([0, len(ids)]), ids, globals_=near))
        return out

    def _around(self, ids: np.ndarray) -> np.ndarray:
        out = np.empty((len(ids), self.dim), np.float16)
        for start in range(0, len(ids), 1 << 18):
            some = ids[start : start + (1 << 18)]
            noise = self.rng.standard_normal((len(some), self.dim), np.float32)
            out[start : start + (1 << 18)] = self._means[some] + 0.7 * noise
        return out

    def _whole(self, count: int) -> np.ndarray | None:
        if not self.width:
            return None
        topics = self._topics[self.rng.integers(0, len(self._topics), count)]
        return (topics + self.rng.standard_normal((count, self.width), np.float32)).astype(np.float16)


def exact(tokens: Tokens, query: Tokens) -> np.ndarray:
    """(documents,) float64 scores of all documents."""
    assert tokens.ids is not None and query.ids is not None
    scores = np.zeros(len(tokens))
    for id, vector in zip(query.ids, query.vectors.astype(np.float64), strict=True):
        rows = np.flatnonzero(tokens.ids == id)
        best = np.zeros(len(tokens))
        np.maximum.at(best, tokens.owners[rows], tokens.vectors[rows].astype(np.float64) @ vector)
        scores += best
    if tokens.globals_ is not None and query.globals_ is not None:
        for start in range(0, len(tokens), 1 << 13):
            rows = tokens.globals_[start : start + (1 << 13)].astype(np.float64)
            scores[start : start + (1 << 13)] += rows @ query.globals_[0]
    return scores


def measure(engines: dict[str, Callable[[], list[np.ndarray]]], queries: int, rounds: int) -> dict[str, list[float]]:
    """CPU ms per query of each engine in every round; one round more warms up."""
    times: dict[str, list[float]] = {name: [] for name in engines}
    names = list(engines)
    for r in range(rounds + 1):
        for i in range(len(names)):
            name = names[(i + r) % len(names)]
            start = time.process_time()
            engines[name]()
            if r:
                times[name].append(1e3 * (time.process_time() - start) / queries)
    return times


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    mixture = Mixture(options.seed, options.dim, options.width)
    tokens = mixture.documents(options.documents, options.tokens)
    queries = mixture.queries(options.queries, tokens)
    layout, n, k = published(tokens), options.documents, options.k
    collection = Collection.create(folder, options.dim, "contextual", vector=options.width)
    start = time.process_time()
    with collection.builder() as builder:
        for first in range(0, n, 10_000):
            some = range(first, min(n, first + 10_000))
            builder.add([str(i) for i in some], tokens.take(list(some)))
        builder.publish()
    build_s = time.process_time() - start
    with collection.snapshot() as snapshot:
        (part,) = snapshot.state.parts
        assert isinstance(part.store, CoilStore)
        scanned = part.store.lists.nbytes
        if isinstance(part.codes, GlobalCodes):
            scanned += part.codes.codes.nbytes + part.codes.scales.nbytes
        together = concatenate(queries)
        batches = [queries[i : i + options.batch] for i in range(0, len(queries), options.batch)]

        def ours() -> list[np.ndarray]:
            return [hits.docs for hits in snapshot.search(together, k, COIL)]

        def one_by_one() -> list[np.ndarray]:
            return [layout.search([query], n, k)[0] for query in queries]

        def batched() -> list[np.ndarray]:
            return [docs for batch in batches for docs in layout.search(batch, n, k)]

        engines: dict[str, Callable[[], list[np.ndarray]]] = {
            "plait": ours,
            "published": one_by_one,
            f"published, {options.batch} at a time": batched,
        }
        right = dict.fromkeys(engines, 0)
        answers = {name: search() for name, search in engines.items()}
        for q, query in enumerate(queries):
            truth = exact(tokens, query)
            cut = np.sort(truth)[-k] * (1 - 1e-6)
            for name, found in answers.items():
                right[name] += int((truth[found[q]] >= cut).sum())
        times = measure(engines, len(queries), options.rounds)
    rows = {name: {"cpu_ms": float(np.median(t)), "rounds": t} for name, t in times.items()}
    for name, row in rows.items():
        row["recall"] = right[name] / (k * len(queries))
    return {
        "tokens": len(tokens.vectors),
        "touched": float(np.mean([_count(tokens, q) for q in queries])),
        "build_s": build_s,
        "bytes": {"plait": scanned, "published": layout.nbytes, "plait float16 rows": 2 * tokens.vectors.size},
        "engines": rows,
    }


def _count(tokens: Tokens, query: Tokens) -> int:
    """How many tokens of documents the query's are compared with."""
    assert tokens.ids is not None and query.ids is not None
    return sum(int((tokens.ids == id).sum()) for id in query.ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--dim", type=int, default=32)
    parser.add_argument("--width", type=int, default=768, help="of global vectors; 0: COIL-tok")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", type=Path)
    add_option(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(options, Path(folder) / "c")
    print(
        f"{options.documents} documents, {found['tokens']} tokens of {options.dim} dimensions, global vectors of"
        f" {options.width}; a query meets {found['touched']:.0f} tokens; k {options.k}; built in {found['build_s']:.1f} CPU s"
    )
    base = found["engines"]["published"]["cpu_ms"]
    for name, row in found["engines"].items():
        low, high = min(row["rounds"]), max(row["rounds"])
        print(
            f"{name:28} recall {row['recall']:.4f}  CPU {row['cpu_ms']:8.3f} ms/query ({low:.3f}-{high:.3f}),"
            f" {row['cpu_ms'] / base:.2f} of published"
        )
    sizes = found["bytes"]
    print(", ".join(f"{name} {size / 2**20:.0f} MB" for name, size in sizes.items()), end="; ")
    print(f"plait scans {sizes['plait'] / sizes['published']:.3f} of what the published layout holds in memory")
    keep(options, found)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options), **found}, default=str))


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
