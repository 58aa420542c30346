"""The stores on 4-bit codes, `flat` and `lists`: their files in a segment, and the segment seen through their plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from ..codecs import kmeans as clustering
from ..codecs import pq4
from ..codecs.codec import Vectors
from ..errors import DataLoss
from ..hits import Hits
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels
from ..params import SearchParams
from ..segments.segment import Segment
from ..stopping import steps
from ..tokens import Tokens
from . import lists
from .exact import ExactStore, numbered
from .flat import Flat
from .lists import Lists, Postings

CODEBOOK, CODES, CENTROIDS, BOUNDS, OWNERS = "codebook", "codes", "centroids", "bounds", "owners"
FILES = (CODEBOOK, CODES, CENTROIDS, BOUNDS, OWNERS)
_ROWS = 1 << 16
_PER_LIST = 32
"""Sampled tokens that a centroid is learned from."""

Plan = Callable[[Tokens, int, SearchParams, np.ndarray | None], list[Hits]]
"""Queries, k, parameters, allowed documents: hits of each query by position in the segment."""


@dataclass(frozen=True, eq=False)
class CodedStore:
    """Finds documents by its plan, whose scores are those of the rows; single tokens among the rows themselves."""

    exact: ExactStore
    """The rows."""
    plan: Plan
    probes: bool
    """Whether `nprobe` counts."""
    threads: int = 1
    few: Callable[[np.ndarray | None, int], bool] = lambda allowed, candidates: False
    """Whether the plan scores all allowed documents, whatever their codes say, rather than choose so many candidates.
    """

    def search(
        self, queries: np.ndarray, k_token: int, nprobe: int, *, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self.exact.search(queries, k_token, nprobe, rows=rows)

    def search_documents(
        self, queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None = None
    ) -> list[Hits]:
        return numbered(self.exact.segment, self.plan(queries, k, params, allowed), k)


def open_flat(segment: Segment, threads: int) -> CodedStore:
    """A segment through the flat plan."""
    flat = load_flat(segment)

    def plan(queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None) -> list[Hits]:
        candidates = max(params.candidates, 4 * k)
        return [flat.search(query, k, candidates, allowed=allowed, threads=threads) for query in steps(each(queries))]

    return CodedStore(ExactStore(segment), plan, probes=False, threads=threads)


def load_flat(segment: Segment) -> Flat:
    """Maps the codes of a segment, in the order of its tokens."""
    book = _codebook(segment)
    codes = segment.files.array(CODES, "|u1", (-1, book.bytes_per_token, pq4.BLOCK))
    return Flat(book, codes, segment.tokens.offsets, segment.codec, segment.tokens.vectors)


def open_lists(segment: Segment, threads: int) -> CodedStore:
    """A segment through the lists plan."""
    inverted = load_lists(segment)

    def plan(queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None) -> list[Hits]:
        candidates, nprobe = max(params.candidates, 4 * k), min(params.nprobe, len(inverted.centroids))
        search = partial(inverted.search, k=k, candidates=candidates, nprobe=nprobe, allowed=allowed, threads=threads)
        return [search(query) for query in steps(each(queries))]

    return CodedStore(ExactStore(segment), plan, probes=True, threads=threads)


def load_lists(segment: Segment) -> Lists:
    """Maps the lists of a segment."""
    book, files = _codebook(segment), segment.files
    postings = Postings(
        files.array(BOUNDS, "<i8"),
        files.array(CODES, "|u1", (-1, book.bytes_per_token, pq4.BLOCK)),
        files.array(OWNERS, "<u4"),
    )
    centroids = files.array(CENTROIDS, "<f4", (-1, segment.dim))
    return Lists(book, centroids, postings, segment.tokens.offsets, segment.codec, segment.tokens.vectors)


def each(queries: Tokens) -> list[np.ndarray]:
    """Every query's (q, dim) float32."""
    vectors = kernels.widen(queries.vectors)
    return [vectors[queries.rows(q)] for q in range(len(queries))]


def build_flat(folder: Path, codebook: bytes, vectors: Vectors, done: Callable[[int], None]) -> tuple[str, ...]:
    """Codes all tokens in blocks of bounded size. Returns the names of the files written."""
    book = pq4.Codebook.from_bytes(codebook)
    (folder / CODEBOOK).write_bytes(codebook)
    with open(folder / CODES, "wb") as out:
        for start in range(0, len(vectors), _ROWS):
            out.write(pq4.encode(book, vectors[start : start + _ROWS]).tobytes())
            done(min(start + _ROWS, len(vectors)))
        out.flush()
        os.fsync(out.fileno())
    return CODEBOOK, CODES


def build_lists(
    folder: Path,
    codebook: bytes,
    vectors: Vectors,
    offsets: np.ndarray,
    ids: np.ndarray | None,
    done: Callable[[int], None],
) -> tuple[str, ...]:
    """Clusters the segment's own tokens and writes their lists. Returns the names of the files written."""
    book, number = pq4.Codebook.from_bytes(codebook), lists.count(len(vectors))
    centroids = clustering.fit(sample(vectors, _PER_LIST * number), number)
    postings = lists.build(book, centroids, vectors, offsets, ids)
    (folder / CODEBOOK).write_bytes(codebook)
    for name, array in (
        (CENTROIDS, centroids.astype("<f4")),
        (BOUNDS, postings.bounds.astype("<i8")),
        (CODES, postings.codes),
        (OWNERS, postings.documents.astype("<u4")),
    ):
        array.tofile(folder / name)
    done(len(vectors))
    return CODEBOOK, CENTROIDS, BOUNDS, CODES, OWNERS


def distortion(codebook: bytes, vectors: np.ndarray) -> float:
    """Mean distance of (n, dim) float32 vectors, n > 0, from what their codes stand for."""
    book = pq4.Codebook.from_bytes(codebook)
    decoded = pq4.decode(book, pq4.encode(book, vectors), len(vectors))
    return float(row_kernels.lengths(vectors - decoded).mean())


def sample(vectors: Vectors, size: int, seed: int = 0) -> np.ndarray:
    """(at most size, dim) float32 rows, drawn without replacement, in their order."""
    return kernels.widen(vectors[sample_rows(len(vectors), size, seed)])


def sample_rows(count: int, size: int, seed: int = 0) -> np.ndarray:
    """The rows of `sample`, rising, of so many."""
    return np.sort(np.random.default_rng(seed).choice(count, min(count, size), replace=False))


def _codebook(segment: Segment) -> pq4.Codebook:
    data = segment.files.data(CODEBOOK).tobytes()
    try:
        return pq4.Codebook.from_bytes(data)
    except DataLoss as error:
        raise DataLoss(f"{segment.files[CODEBOOK].path}: {error}") from None
