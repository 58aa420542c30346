"""The flat plan: scan the 4-bit codes of every token, then rerank the best documents with their real rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kernels, pq4
from .errors import InvalidArgument
from .hits import Hits, best


@dataclass(frozen=True, eq=False)
class Rows:
    """Token vectors for reranking, in float16 or in one byte per dimension."""

    values: np.ndarray
    """(n, dim) float16, or int8 with scales."""
    scales: np.ndarray | None = None
    """(n,) float32: row r stands for scales[r] * values[r]."""


def quantize(vectors: np.ndarray) -> Rows:
    """int8 rows of (n, dim) vectors: each is scaled so that its largest value is 127; off by at most half a scale."""
    wide = kernels.widen(vectors)
    scales = np.abs(wide).max(axis=1, initial=0) / np.float32(127)
    return Rows(np.rint(wide / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8), scales)


def rerank(
    query: np.ndarray, rows: Rows, offsets: np.ndarray, positions: np.ndarray, *, threads: int = 1
) -> np.ndarray:
    """(positions,) float32: MaxSim of one query (q, dim) float32 with the documents at these positions.

    Exact for the rows as they are stored (float32 products and sums), which are read in place. Minus infinity for a
    document without tokens.
    """
    if threads < 1:
        raise InvalidArgument(f"threads is {threads}; it must be at least 1")
    return kernels.row_scores(rows.values, rows.scales, offsets, positions, query, threads=threads)


@dataclass(frozen=True, eq=False)
class Flat:
    """Everything one segment needs for the plan. Positions number its documents from 0."""

    codebook: pq4.Codebook
    codes: np.ndarray
    """(blocks, bytes, 32) uint8 from `pq4.encode`."""
    offsets: np.ndarray
    """(documents + 1,) int64."""
    rows: Rows

    def search(
        self,
        query: np.ndarray,
        k: int,
        candidates: int = 100,
        *,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> Hits:
        """The k best of one query (q, dim) float32, with the scores of their rows; positions as document numbers.

        Args:
            candidates: documents to rerank, at least k. More find more of the exact top k and cost more: 16-byte codes
                of a real collection had 0.995 of the exact top 10 within their best 30.
            allowed: (documents,) bool; the others are not read.
        """
        if not 1 <= k <= candidates:
            raise InvalidArgument(f"k is {k} of {candidates} candidates; it must be at least 1 and at most as many")
        scores = pq4.scan(self.codes, self.offsets, query, self.codebook, allowed=allowed, threads=threads)
        chosen = best(np.arange(len(scores)), scores, candidates).docs
        # By position: reads go through the rows in one direction.
        chosen.sort()
        return best(chosen, rerank(query, self.rows, self.offsets, chosen, threads=threads), k)
