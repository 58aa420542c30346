"""The exact store: all stored rows, scored where they lie. The oracle, and the plan for small collections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ..codecs import codec as codecs
from ..hits import Hits, best, merge
from ..kernels import rows as row_kernels
from ..kernels.vectors import widen
from ..params import SearchParams
from ..search.part import Part, by_document
from ..segments.segment import Segment
from ..stopping import look
from ..tokens import Tokens

_PRODUCTS = 1 << 21
"""Products of tokens and query rows between two looks at whether the caller still waits: some milliseconds."""


def scan(segment: Segment, allowed: np.ndarray | None, queries: Tokens, k: int) -> list[Hits]:
    """The k best documents of a segment for every query by MaxSim: score(q, d) = sum_i max_j q_i . d_j.

    `allowed` is a (documents,) bool mask, or None for all. Scores are those of `codecs.scores`. A document without
    tokens is never returned.
    """
    vectors, tokens = widen(queries.vectors), segment.tokens
    every = np.arange(len(segment.documents)) if allowed is None else np.flatnonzero(allowed)
    found: list[list[Hits]] = [[] for _ in range(len(queries))]
    for positions in blocks(segment, every, max(1, _PRODUCTS // max(1, len(vectors)))):
        look()
        scores = codecs.scores(segment.codec, tokens.vectors, tokens.offsets, positions, vectors, queries.offsets)
        for q, some in enumerate(found):
            some.append(best(segment.documents[positions], scores[:, q], k))
    return [merge(some, k) for some in found]


def search_tokens(
    segment: Segment, queries: np.ndarray, k_token: int, rows: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k_token best token rows for each query row: scores (q, k) float32 and rows (q, k) int64, best first.

    Equal scores by rising row. k is at most the number of tokens; `rows` (tokens,) bool lets only these be found.
    """
    codec, records = segment.codec, segment.tokens.vectors
    if not len(records):
        return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
    return row_kernels.best_rows(codec.rows(records), codec.turned(queries), k_token, allowed=rows)


def exactly(part: Part) -> Part:
    """The part as a search sees it that compares with every stored row, wherever the rows lie."""
    store = part.store.exact if by_document(part.store) else ExactStore(part.segment)
    return replace(part, store=store, codes=None)


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
        return self

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


def blocks(segment: Segment, positions: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    """Rising positions in blocks of about so many rows; a longer document stands alone."""
    if not len(positions):
        return
    ends = np.cumsum(segment.tokens.offsets[positions + 1] - segment.tokens.offsets[positions] + 1)
    for some in np.split(positions, np.searchsorted(ends, np.arange(rows, ends[-1], rows))):
        if len(some):
            yield some
