"""The stores on 4-bit codes, `flat` and `lists`: their files in a segment, and the segment seen through their plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import clustering, kernels, lists, pq4
from .codecs import Vectors
from .exact import search_tokens
from .flat import Flat
from .hits import Hits, best
from .lists import Lists, Postings
from .scoring import SearchParams
from .segment import Segment
from .tokens import Tokens

CODEBOOK, CODES, CENTROIDS, BOUNDS, OWNERS = "codebook", "codes", "centroids", "bounds", "owners"
FILES = (CODEBOOK, CODES, CENTROIDS, BOUNDS, OWNERS)
_ROWS = 1 << 16
_PER_LIST = 32
"""Sampled tokens that a centroid is learned from."""

Plan = Callable[[np.ndarray, int, SearchParams, np.ndarray | None], Hits]
"""One query (q, dim) float32, k, parameters, allowed documents: hits by position in the segment."""


@dataclass(frozen=True, eq=False)
class CodedStore:
    """Finds documents by its plan, whose scores are those of the rows; single tokens among the rows themselves."""

    segment: Segment
    plan: Plan
    probes: bool
    """Whether `nprobe` counts."""
    threads: int = 1

    def search(
        self, queries: np.ndarray, k_token: int, nprobe: int, *, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        return search_tokens(self.segment, queries, k_token, rows)

    def search_documents(
        self, queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None = None
    ) -> list[Hits]:
        found, vectors = [], kernels.widen(queries.vectors)
        for q in range(len(queries)):
            hits = self.plan(vectors[queries.rows(q)], k, params, allowed)
            found.append(best(self.segment.documents[hits.docs], hits.scores, k))
        return found


def open_flat(segment: Segment, threads: int) -> CodedStore:
    """A segment through the flat plan."""
    flat = load_flat(segment)

    def plan(query: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None) -> Hits:
        return flat.search(query, k, max(params.candidates, 4 * k), allowed=allowed, threads=threads)

    return CodedStore(segment, plan, probes=False, threads=threads)


def load_flat(segment: Segment) -> Flat:
    """Maps the codes of a segment, in the order of its tokens."""
    folder = _folder(segment)
    book = _codebook(folder)
    codes = _mapped(folder / CODES, "|u1", (-1, book.bytes_per_token, pq4.BLOCK))
    return Flat(book, codes, segment.tokens.offsets, segment.codec, segment.tokens.vectors)


def open_lists(segment: Segment, threads: int) -> CodedStore:
    """A segment through the lists plan."""
    inverted = load_lists(segment)

    def plan(query: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None) -> Hits:
        candidates, nprobe = max(params.candidates, 4 * k), min(params.nprobe, len(inverted.centroids))
        return inverted.search(query, k, candidates, nprobe=nprobe, allowed=allowed, threads=threads)

    return CodedStore(segment, plan, probes=True, threads=threads)


def load_lists(segment: Segment) -> Lists:
    """Maps the lists of a segment."""
    folder = _folder(segment)
    book = _codebook(folder)
    postings = Postings(
        _mapped(folder / BOUNDS, "<i8", (-1,)),
        _mapped(folder / CODES, "|u1", (-1, book.bytes_per_token, pq4.BLOCK)),
        _mapped(folder / OWNERS, "<u4", (-1,)),
    )
    centroids = _mapped(folder / CENTROIDS, "<f4", (-1, segment.dim))
    return Lists(book, centroids, postings, segment.tokens.offsets, segment.codec, segment.tokens.vectors)


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
    return float(np.linalg.norm(vectors - decoded, axis=1).mean())


def sample(vectors: Vectors, size: int, seed: int = 0) -> np.ndarray:
    """(at most size, dim) float32 rows, drawn without replacement, in their order."""
    rows = np.random.default_rng(seed).choice(len(vectors), min(len(vectors), size), replace=False)
    return kernels.widen(vectors[np.sort(rows)])


def _folder(segment: Segment) -> Path:
    assert segment.folder is not None, "fresh documents have no codes"
    return segment.folder


def _codebook(folder: Path) -> pq4.Codebook:
    return pq4.Codebook.from_bytes((folder / CODEBOOK).read_bytes())


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(path, dtype, "r").view(np.ndarray).reshape(shape)
