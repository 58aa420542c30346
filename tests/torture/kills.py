"""Kills writers of all kinds of collections. What they acknowledged is there, and a reader beside sees no error."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import oracle
from crash_child import reported, start
from kill_round import one_round
from life import EVERYTHING, FIELDS, VECTOR, Contents, Kept, asked, sparse, there
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.filters.sql import Range
from plait.index.params import Bm25
from plait.index.reading.snapshot import Snapshot

DIM = 64
AFRESH = 40
"""Rounds after which a collection is made anew, for it grows."""
MOST = 14
"""Operations of a round."""
COUNTS = TermField(counts=True)


@dataclass(frozen=True)
class Kind:
    """What a collection is made of."""

    store: str
    precision: str = "float16"
    terms: Kept = None
    vector: int = 0

    @property
    def dim(self) -> int:
        return 6 if self.vector else DIM

    def __str__(self) -> str:
        terms = (
            ""
            if not self.terms
            else "BM25"
            if self.terms is COUNTS
            else "weights"
            if isinstance(self.terms, TermField)
            else "fields"
        )
        return " ".join(filter(None, (self.store, self.precision, terms)))


STORES = ("exact", "flat", "lists", "auto")
PRECISIONS = ("float16", "int8", "pq:32", "pq:64", "residual:1", "residual:2", "residual:4")
_TERMS = (None, COUNTS, TermField(), FIELDS)
KINDS = [
    *(Kind(s, p, _TERMS[(i + j) % 4]) for i, s in enumerate(STORES) for j, p in enumerate(PRECISIONS)),
    Kind("contextual", vector=VECTOR),
    Kind("faiss:IVF,SQfp16"),
]


@dataclass
class Seen:
    """What became of the rounds of one kind."""

    kind: str
    rounds: int = 0
    acknowledged: int = 0
    reads: int = 0
    violations: int = 0
    told: tuple[str, ...] = ()


def rounds(kind: Kind, count: int, first: int, folder: Path) -> Seen:
    """Kills a writer so often. A violation ends the collection, not the rounds: the next has a new one."""
    seen, folder = Seen(str(kind)), folder / str(kind).replace(":", "-").replace(" ", "-")
    for begin in range(first, first + count, AFRESH):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        path, contents = folder / "c", Contents()
        made: dict[str, Any] = {"fields": ["n"], "terms": kind.terms, "vector": kind.vector}
        Collection.create(path, kind.dim, kind.store, precision=kind.precision, **made).close()
        with reading(path, seen):
            for seed in range(begin, min(begin + AFRESH, first + count)):
                try:
                    contents, acknowledged = one_round(path, contents, seed, isinstance(kind.terms, TermField), MOST)
                    seen.acknowledged += acknowledged
                    seen.rounds += 1
                    assert_finds(path, contents)
                except Exception as error:
                    _violated(seen, f"{kind}, round {seed}: {type(error).__name__}: {error}"[:2000])
                    break
    shutil.rmtree(folder, ignore_errors=True)
    return seen


def _violated(seen: Seen, what: str) -> None:
    seen.violations += 1
    seen.told = (*seen.told, what)[:20]


@contextmanager
def reading(path: Path, seen: Seen) -> Iterator[None]:
    """A process that searches the collection until the block ends, and must see no error."""
    stop = path.with_name("stop")
    reader, reports = start(read, path, [], stop)
    try:
        reports.poll(60)
        yield
    finally:
        stop.touch()
        told = reported(reports)
        reader.join(60)
        stop.unlink()
        if not told or reader.exitcode:
            _violated(seen, f"{seen.kind}: the reader ended with {reader.exitcode}")
        for reads, errors in told[-1:]:  # the first says that it has begun
            seen.reads += reads
            for error in errors:
                _violated(seen, f"{seen.kind}: a reader got {error}")


def read(path: Path, operations: list[Any], reports: Connection, stop: Path) -> None:
    """Searches, and opens the collection anew now and then; every state that it sees is whole."""
    reads, errors = 0, []
    while not stop.exists() and len(errors) < 5:
        try:
            with Collection(path, threads=1) as collection:
                for _ in range(20):
                    with collection.snapshot() as snapshot:
                        _whole(snapshot, collection.dim)
                    reads += 1
                    if reads == 1:
                        reports.send((reads, []))
                    time.sleep(0.05)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")
    reports.send((reads, errors))


def _whole(snapshot: Snapshot, dim: int) -> None:
    (hits,) = snapshot.search(asked(dim), 999, params=EVERYTHING)
    documents = snapshot.documents(hits.docs)
    assert len({d.id for d in documents}) == len(hits), "a document is found twice"
    with_tokens = sum(len(snapshot.tokens(d.number).vectors) > 0 for d in snapshot.view.page("", 1000))
    assert len(hits) == with_tokens, f"{len(hits)} of {with_tokens} documents are found"


def assert_finds(path: Path, contents: Contents) -> None:
    """A filtered ranking is brute force over what satisfies the filter, and BM25 is its formula over what lives."""
    with Collection(path, threads=1) as collection, collection.snapshot() as snapshot:
        numbers = {id: snapshot.view.by_id(id).number for id in contents.documents}
        query = asked(collection.dim)
        (hits,) = snapshot.search(query, 999, params=EVERYTHING, filter=Range("n", lt=30))
        some = {numbers[id] for id, (_, payload) in contents.documents.items() if payload["n"] < 30}
        scores = {n: oracle.maxsim(query.vectors, snapshot.tokens(n).vectors) for n in some}
        oracle.same_ranking(hits, scores, 999, 1e-4)
        if [*collection.schema.terms.values()] == [COUNTS]:
            asking = sparse(3, COUNTS)
            (hits,) = snapshot.search_terms(asking, 999, bm25=Bm25())
            living = {numbers[id]: sparse(there(seed), COUNTS).rows for id, (seed, _) in contents.documents.items()}
            oracle.same_ranking(hits, bm25(living, asking.rows), 999, 1e-4)


def bm25(documents: dict[int, Any], query: Any) -> dict[int, float]:
    """The formula over rows of counts by number: documents that share a term with the query."""
    mean = sum(float(row.data.sum()) for row in documents.values()) / max(1, len(documents)) or 1.0
    counted = {n: dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for n, row in documents.items()}
    scores: dict[int, float] = {}
    for key, times in zip(query.indices.tolist(), query.data.tolist(), strict=True):
        df = sum(key in counts for counts in counted.values())
        idf = math.log(1 + (len(documents) - df + 0.5) / (df + 0.5))
        for number, counts in counted.items():
            if key in counts:
                norm = 1.2 * (0.25 + 0.75 * float(np.sum([*counts.values()])) / mean)
                scores[number] = scores.get(number, 0.0) + times * idf * counts[key] / (counts[key] + norm)
    return scores
