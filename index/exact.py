"""The exact store: all stored rows, scored by one BLAS product per block. The oracle, and the plan for small collections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from .hits import Hits, best
from .kernels import segmented_max, widen
from .scoring import SearchParams
from .segment import Segment
from .stopping import steps
from .tokens import Tokens

_BLOCK = 1 << 21
"""Floats that a block of vectors, or of its scores, may take (8 MiB): large enough for BLAS, small enough for the cache."""


def scan(segment: Segment, allowed: np.ndarray | None, queries: Tokens, k: int) -> list[Hits]:
    """The k best documents of a segment for every query by MaxSim: score(q, d) = sum_i max_j q_i . d_j.

    `allowed` is a (documents,) bool mask, or None for all. Products and sums are float32 over what the stored records stand for. A
    document without tokens is never returned.
    """
    vectors = widen(queries.vectors)
    found: list[list[Hits]] = [[] for _ in range(len(queries))]
    for positions in steps(_blocks(segment, allowed, len(vectors))):
        block, offsets = segment.gather(positions)
        matches = segmented_max(block @ vectors.T, offsets)
        scores = np.add.reduceat(matches, queries.offsets[:-1], axis=1)
        for q, some in enumerate(found):
            some.append(best(segment.documents[positions], scores[:, q], k))
    return [merge(some, k) for some in found]


def merge(parts: list[Hits], k: int) -> Hits:
    """The k best of several rankings of different documents."""
    if not parts:
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.float32))
    return best(np.concatenate([p.docs for p in parts]), np.concatenate([p.scores for p in parts]), k)


def maxsim(query: np.ndarray, vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Scores (documents,) of one query (q, dim) float32 against packed documents (n, dim) float32 or float16; minus infinity without tokens."""
    return segmented_max(widen(vectors) @ query.T, offsets).sum(axis=1)


def search_tokens(
    segment: Segment, queries: np.ndarray, k_token: int, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k_token best token rows for each query row: scores (q, k) float32 and rows (q, k) int64, best first.

    Equal scores by rising row. k is at most the number of tokens; `rows` (tokens,) bool lets only these be found.
    """
    records, step = segment.tokens.vectors, _rows(segment, len(queries))
    kept = [(np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64))]
    cut = np.full((len(queries), 1), -np.inf, np.float32)
    for start in steps(range(0, len(records), step)):
        numbers = np.arange(start, min(start + step, len(records)))
        block = records[start : start + step]
        if rows is not None:
            mine = rows[start : start + step]
            numbers, block = numbers[mine], block[mine]
        kept.append(_above(queries @ segment.codec.floats(block).T, numbers, cut))
        # Sorting pays once as many new tokens wait as are wanted; until then the old cut lets a few too many pass.
        if sum(s.shape[1] for s, _ in kept[1:]) >= max(k_token, 4096):
            kept = [_sorted(kept, k_token)]
            if kept[0][0].shape[1] == k_token:
                cut = kept[0][0][:, -1:]
    return _sorted(kept, min(k_token, len(records)))


def _sorted(parts: list[tuple[np.ndarray, np.ndarray]], k: int) -> tuple[np.ndarray, np.ndarray]:
    return top_columns(np.hstack([s for s, _ in parts]), np.hstack([r for _, r in parts]), k)


def _above(products: np.ndarray, numbers: np.ndarray, cut: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The entries of each line that exceed its cut, packed to the left; minus infinity and -1 fill up.

    An entry equal to the cut loses to those kept before, whose rows are lower.
    """
    line, column = np.nonzero(products > cut)
    counts = np.bincount(line, minlength=len(products))
    place = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = len(products), int(counts.max(initial=0))
    scores, rows = np.full(shape, -np.inf, np.float32), np.full(shape, -1, np.int64)
    scores[line, place], rows[line, place] = products[line, column], numbers[column]
    return scores, rows


class Scanner(Protocol):
    """Compares queries with all rows of a segment where these lie: what `scan` and `search_tokens` do on the CPU.

    Sums are float32 in an order of its own: rankings are the CPU's but for scores that are equal within rounding.
    """

    def scan(self, queries: Tokens, k: int, allowed: np.ndarray | None) -> list[Hits]:
        """Hits by position in the segment."""
        ...

    def search_tokens(
        self, queries: np.ndarray, k_token: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]: ...


@dataclass(frozen=True)
class ExactStore:
    """A segment's own rows, seen as any other store."""

    segment: Segment
    scanner: Scanner | None = field(default=None, kw_only=True)
    """None: the CPU."""
    probes = False

    @property
    def exact(self) -> ExactStore:
        return ExactStore(self.segment, scanner=self.scanner)

    def search(
        self, queries: np.ndarray, k_token: int, nprobe: int, *, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.scanner is None:
            return search_tokens(self.segment, queries, k_token, rows)
        return self.scanner.search_tokens(queries, k_token, rows)

    def search_documents(
        self, queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None = None
    ) -> list[Hits]:
        if self.scanner is None:
            return scan(self.segment, allowed, queries, k)
        return numbered(self.segment, self.scanner.scan(queries, k, allowed), k)


def numbered(segment: Segment, found: list[Hits], k: int) -> list[Hits]:
    """Hits by position in a segment as the k best by collection-wide numbers."""
    return [best(segment.documents[hits.docs], hits.scores, k) for hits in found]


def top_columns(scores: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best entries of every line, best first, equal scores by rising row number.

    Each line's equal scores must already stand in rising order of their rows.
    """
    if k < scores.shape[1]:
        cut = -np.partition(-scores, k - 1, axis=1)[:, k - 1 : k]
        above = scores > cut
        tied = scores == cut
        room = k - above.sum(axis=1, keepdims=True)
        keep = above | (tied & (np.cumsum(tied, axis=1) <= room))
        scores, rows = scores[keep].reshape(-1, k), rows[keep].reshape(-1, k)
    # Equal scores stand in rising row order before and after: a stable sort keeps the ranking reproducible.
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _blocks(segment: Segment, allowed: np.ndarray | None, columns: int) -> Iterable[np.ndarray]:
    """Positions of allowed documents in blocks of bounded size; a longer document stands alone."""
    for first, last in segment.blocks(_rows(segment, columns)):
        positions = np.arange(first, last)
        if allowed is not None:
            positions = positions[allowed[first:last]]
        if len(positions):
            yield positions


def _rows(segment: Segment, columns: int) -> int:
    return max(1, _BLOCK // max(segment.dim, columns, 1))
