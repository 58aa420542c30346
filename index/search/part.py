"""What all plans search: a segment, its stores, and the documents that are allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits
from ..kernels.term_query import TermQuery
from ..params import Counts, SearchParams
from ..segments.segment import Segment
from ..tokens import Tokens


class TokenStore(Protocol):
    """Finds the token rows of one segment that are most similar to query rows."""

    @property
    def probes(self) -> bool:
        """Whether `nprobe` counts."""
        ...

    def search(
        self, queries: np.ndarray, k_token: int, nprobe: int, *, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(q, dim) float32 rows to scores (q, k) float32 and token rows (q, k) int64, best first; padded with -1, -inf.

        `rows` (tokens,) bool: only these may be found, and no others are counted.
        """
        ...


class DocumentStore(TokenStore, Protocol):
    """A store with its own plan for scoring all tokens of documents."""

    @property
    def exact(self) -> TokenStore:
        """Compares with every row and leaves nothing out."""
        ...

    def search_documents(
        self, queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None = None
    ) -> list[Hits]:
        """The k best documents of the segment for each query, under their collection-wide numbers.

        Scores are MaxSim over the stored rows; `allowed` (documents,) bool lets only these be found.
        """
        ...


class VectorCodes(Protocol):
    """The global vectors of one segment in a form that is cheaper to scan."""

    def estimate(self, query: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(documents,) float32 products with `query` (width,) float32, and a bound on the error of each."""
        ...


def by_document(store: TokenStore) -> TypeGuard[DocumentStore]:
    """Whether a store has its own plan for scoring all tokens of documents."""
    # A runtime protocol would compare all of its members, 20 us for every segment and search.
    return hasattr(store, "search_documents")


@dataclass(frozen=True, eq=False)
class Part:
    """A segment with its token store: what a snapshot is made of."""

    segment: Segment
    store: TokenStore
    allowed: np.ndarray | None = None
    """(documents,) bool: those that live and satisfy the filter; None: all of them."""
    terms: Mapping[str, TermStore] = field(default_factory=dict)
    """By the name of their field."""
    codes: VectorCodes | None = None
    """The global vectors in bytes; None: there are none, or they are read as they are."""

    @property
    def rows(self) -> np.ndarray | None:
        """(tokens,) bool: the rows of allowed documents."""
        return None if self.allowed is None else np.repeat(self.allowed, self.segment.tokens.lengths)


def locate(parts: list[Part], doc: int) -> tuple[Part, int]:
    """The segment that holds a document, and the document's position in it."""
    for part in parts:
        position = int(np.searchsorted(part.segment.documents, doc))
        if position < len(part.segment.documents) and part.segment.documents[position] == doc:
            return part, position
    raise InvalidArgument(f"no segment holds document number {doc}")


class TermStore(Protocol):
    """Finds the documents of one segment that have most in common with one query."""

    def search(self, query: TermQuery, k: int, allowed: np.ndarray | None = None, counts: Counts | None = None) -> Hits:
        """The k best documents under their collection-wide numbers.

        `allowed` (documents,) bool: only these may be found. `counts`: the weights are term counts, weighed by BM25.
        """
        ...

    def frequencies(self, keys: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        """(n,) int64: how many (allowed) documents hold each of (n,) uint32 rising keys."""
        ...

    def weight(self, allowed: np.ndarray | None = None) -> float:
        """The sum of all weights of (allowed) documents."""
        ...
