"""The exact store: float16 rows, scored by one BLAS product per block. The oracle, and the plan for small collections."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .hits import Hits, best
from .kernels import segmented_max, widen
from .segment import Segment
from .tokens import Tokens

_BLOCK = 1 << 21
"""Floats that a block of vectors, or of its scores, may take (8 MiB): large enough for BLAS, small enough for the cache."""


def scan(segments: Iterable[Segment], queries: Tokens, k: int) -> list[Hits]:
    """The k best documents of every query by MaxSim over all tokens: score(q, d) = sum_i max_j q_i . d_j.

    Products and sums are float32 over the stored float16 rows. A document without tokens is never returned.
    """
    vectors = widen(queries.vectors)
    found: list[list[Hits]] = [[] for _ in range(len(queries))]
    for segment in segments:
        scores = np.concatenate(
            [_scores(segment, vectors, queries.offsets, *r) for r in _ranges(segment, len(vectors))]
            or [np.zeros((0, len(queries)), np.float32)]
        )
        for q, some in enumerate(found):
            some.append(best(segment.documents, scores[:, q], k))
    return [merge(some, k) for some in found]


def merge(parts: list[Hits], k: int) -> Hits:
    """The k best of several rankings of different documents."""
    if not parts:
        return Hits(np.zeros(0, np.int64), np.zeros(0, np.float32))
    return best(np.concatenate([p.docs for p in parts]), np.concatenate([p.scores for p in parts]), k)


def maxsim(query: np.ndarray, vectors: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Scores (documents,) of one query (q, dim) float32 against packed documents (n, dim); minus infinity without tokens."""
    return segmented_max(widen(vectors) @ query.T, offsets).sum(axis=1)


def search_tokens(segment: Segment, queries: np.ndarray, k_token: int) -> tuple[np.ndarray, np.ndarray]:
    """The k_token best token rows for each query row: scores (q, k) float32 and rows (q, k) int64, best first.

    Equal scores by rising row. k is at most the number of tokens in the segment.
    """
    scores, rows = np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    offsets = segment.tokens.offsets
    for first, last in _ranges(segment, len(queries)):
        start, end = int(offsets[first]), int(offsets[last])
        block = queries @ widen(segment.tokens.vectors[start:end]).T
        numbers = np.broadcast_to(np.arange(start, end), block.shape)
        scores, rows = top_columns(np.hstack([scores, block]), np.hstack([rows, numbers]), k_token)
    return scores, rows


@dataclass(frozen=True)
class ExactTokens:
    """Token retrieval over a segment's own rows: the exact store, seen as any other."""

    segment: Segment

    def search(self, queries: np.ndarray, k_token: int, nprobe: int) -> tuple[np.ndarray, np.ndarray]:
        return search_tokens(self.segment, queries, k_token)


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


def _ranges(segment: Segment, columns: int) -> Iterable[tuple[int, int]]:
    return segment.blocks(max(1, _BLOCK // max(segment.dim, columns, 1)))


def _scores(segment: Segment, vectors: np.ndarray, queries: np.ndarray, first: int, last: int) -> np.ndarray:
    """(documents, queries) float32 MaxSim of the documents [first, last)."""
    offsets = segment.tokens.offsets[first : last + 1]
    block = widen(segment.tokens.vectors[int(offsets[0]) : int(offsets[-1])])
    best_match = segmented_max(block @ vectors.T, offsets - offsets[0])
    return np.add.reduceat(best_match, queries[:-1], axis=1)
