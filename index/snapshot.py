"""Snapshots: one consistent state of a collection, searched and read from beginning to end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from . import added, dense, same_id
from .bm25 import Bm25
from .candidates import same_id_scores, term_scores, token_scores, vector_scores
from .codecs import Codec
from .codecs import codec as codec_of
from .errors import InvalidArgument
from .exact import ExactStore
from .filters import Filter, compile
from .growing import extend, shed
from .hits import Hits
from .kernels import widen
from .product import LEARNED, Keep
from .representations import Schema
from .scoring import Scoring, SearchParams, TermParams
from .search import Alignment, Part, TokenStore, explain, locate, search, unmet
from .segment import Segment, segment_folder
from .stores import open_codes, open_store, open_terms
from .term_rows import TermRows, from_terms
from .term_search import (
    TermMatch,
    TermStatistics,
    explain_terms,
    ready_queries,
    search_terms,
    term_statistics,
    weigh_queries,
)
from .term_store import Counts
from .terms import Terms
from .tokens import Tokens, check, whole_rows
from .view import Document, View

Place = Callable[[Segment, TokenStore], TokenStore]
"""Called with a segment and its store when it is opened: the store to search it through."""


@dataclass(frozen=True, eq=False)
class State:
    """What the segments and fresh documents were at one sequence number, open for search."""

    seq: int
    sealed: int
    """Documents with greater numbers that came one by one are in `fresh`."""
    published: dict[int, Part]
    """By segment number."""
    fresh: list[Segment]
    dead: np.ndarray
    """(n,) int64 rising numbers of those that died, of the documents in `fresh`."""
    codec: Codec
    """Of all records."""
    learned: int | None = None
    """CRC-32 of what the codec has learned; None: nothing yet."""

    @cached_property
    def parts(self) -> list[Part]:
        grown = [_mark(Part(s, ExactStore(s), terms=open_terms(s)), self.dead) for s in self.fresh]
        return [*self.published.values(), *grown]


class Loader:
    """Brings the state up to date with the catalog, opening only what is new. Shared by the threads of a process."""

    def __init__(
        self,
        path: Path,
        codec: Codec,
        device: str,
        threads: int | None,
        verify: bool,
        place: Place | None = None,
    ):
        self._path, self._codec, self._device, self._threads = path, codec, device, threads
        self._verify, self._place = verify, place
        self._lock = threading.Lock()
        self._state = self._nothing(codec, None)

    def load(self, view: View) -> State:
        """The state that a view sees. DataLoss: a segment is damaged, or was merged away since the view began."""
        with self._lock:
            state, seq, learned = self._state, view.meta("seq"), view.resource_crc(LEARNED)
            # A view that began before the newest state still gets what it saw; records of another codebook are read anew.
            base = state if state.seq <= seq and state.learned == learned else self._nothing(self._at(view), learned)
            if base.seq == seq:
                return base
            new = self._advance(base, view, seq)
            if seq > state.seq:
                self._state = new
            return new

    def _nothing(self, codec: Codec, learned: int | None) -> State:
        return State(-1, -1, {}, [], np.zeros(0, np.int64), codec, learned)

    def _at(self, view: View) -> Codec:
        """The codec with what it had learned when the view began."""
        data = view.resource(LEARNED)
        return codec_of(self._codec.precision, self._codec.dim, Keep(lambda: data))

    def _advance(self, state: State, view: View, seq: int) -> State:
        newly_dead, published = view.tombstones(after=state.seq), {}
        for row in view.segments():
            if not row.published:
                continue
            part = state.published.get(row.number)
            if part is None:
                segment = Segment.open(segment_folder(self._path, row.number), row.manifest_crc or 0, state.codec)
                if self._verify:
                    segment.verify()
                store = open_store(segment, self._device, self._threads)
                if self._place is not None:
                    store = self._place(segment, store)
                part = _mark(
                    Part(segment, store, terms=open_terms(segment), codes=open_codes(segment)), view.tombstones()
                )
            published[row.number] = _mark(part, newly_dead)
        sealed, dead = view.meta("sealed"), np.union1d(state.dead, newly_dead)
        fresh = shed([s for s in state.fresh if s.documents[0] > sealed], dead, state.codec)
        last = max([sealed, *(int(s.documents[-1]) for s in fresh)])
        fresh = extend(fresh, view.growing(after=last), state.codec)
        # Published parts know their dead: kept here, they would grow for as long as the process lives.
        held = np.isin(dead, np.concatenate([np.zeros(0, np.int64), *(s.documents for s in fresh)]), assume_unique=True)
        return replace(state, seq=seq, sealed=sealed, published=published, fresh=fresh, dead=dead[held])


class Snapshot:
    """A pinned state: every call sees the same documents, whatever is written meanwhile."""

    def __init__(self, view: View, state: State, schema: Schema):
        self.view, self.state, self._schema = view, state, schema

    def search(
        self,
        queries: Tokens,
        k: int = 10,
        scoring: Scoring = Scoring(),
        params: SearchParams = SearchParams(),
        filter: Filter | None = None,
        exact: bool = False,
    ) -> list[Hits]:
        """The k best documents of every query among those that satisfy the filter; fewer when fewer were retrieved.

        The filter is applied before anything is scored. `exact` compares with every stored token, whatever the store.
        """
        vectors = self._vectors(queries)
        parts = self._embedded(filter, exact)
        if scoring.tokens == "same_id":
            return same_id.search(parts, same_id.queries_of(vectors, self._schema.vector), k)
        return search(parts, vectors, k, scoring, params)

    def explain(
        self,
        query: Tokens,
        doc: int,
        scoring: Scoring = Scoring(),
        params: SearchParams = SearchParams(),
        filter: Filter | None = None,
        exact: bool = False,
    ) -> Alignment:
        """Why document number `doc` has its score for one query. The filter counts: XTR's imputed values depend on it.

        Of a document that waits for its tokens nothing contributes.
        """
        vectors = self._vectors(query)
        if scoring.tokens == "same_id":
            (one,) = same_id.queries_of(vectors, self._schema.vector)
            return same_id.explain(self.state.parts, one, doc)
        if scoring.tokens == "all" and self.view.pending_among(np.array([doc])).any():
            return unmet(self.state.parts, vectors.vectors, doc)
        return explain(self.parts(filter, exact), widen(vectors.vectors), doc, scoring, params)

    def score_tokens(
        self, query: Tokens, docs: Sequence[int] | np.ndarray, threads: int = 1, scoring: Scoring = Scoring()
    ) -> np.ndarray:
        """(docs,) float32: exact scores of one query with given documents, whatever found them, in their order.

        MaxSim: products and sums are float32 over the stored float16 rows, read in place; minus infinity for a document
        without tokens, but 0 for one that waits for its tokens: what found it keeps it. With tokens of `same_id` alone, where
        the scoring says so: as `same_id.py` has it.

        Raises:
            InvalidArgument: not exactly one query, or it does not fit the collection.
            NotFound: a number that is no living document's in this snapshot.
        """
        vectors, numbers = self._vectors(_single(query)), np.asarray(docs, np.int64).reshape(-1)
        if scoring.tokens == "same_id":
            (one,) = same_id.queries_of(vectors, self._schema.vector)
            return same_id_scores(self.state.parts, one, numbers)
        scores = token_scores(self.state.parts, widen(vectors.vectors), numbers, threads)
        none = np.flatnonzero(scores == -np.inf)
        scores[none[self.view.pending_among(numbers[none])]] = 0
        return scores

    def search_vectors(
        self, queries: np.ndarray, k: int = 10, filter: Filter | None = None, exact: bool = False
    ) -> list[Hits]:
        """The k best documents of every query (q, width) by the dot product with their global vectors, exactly.

        The filter is applied before anything is scored. `exact` reads every vector, where bounds would leave some out.
        """
        return dense.search(self._embedded(filter, exact), self._whole(queries), k)

    def score_vectors(self, query: np.ndarray, docs: Sequence[int] | np.ndarray) -> np.ndarray:
        """(docs,) float32: the scores that `search_vectors` gives for one query (width,). Errors: `score_tokens`."""
        (one,) = self._whole(np.asarray(query)[None])
        return vector_scores(self.state.parts, one, np.asarray(docs, np.int64).reshape(-1))

    def search_added(
        self,
        terms: Terms,
        vectors: np.ndarray,
        k: int = 10,
        filter: Filter | None = None,
        exact: bool = False,
        field: str | None = None,
    ) -> list[Hits]:
        """The k best documents of every query by the sum of `search_terms` and `search_vectors`, exactly (`added.py`)."""
        name = self._schema.need_terms(field)
        parts = self._embedded(filter, exact)
        return added.search(parts, name, self._rows(name, terms), self._whole(vectors), k)

    def search_terms(
        self,
        queries: Terms,
        k: int = 10,
        filter: Filter | None = None,
        bm25: Bm25 | None = None,
        params: TermParams = TermParams(),
        field: str | None = None,
    ) -> list[Hits]:
        """The k best documents of every query by sum_i max_j q_i . d_j over sparse rows: a dot product where both have one.

        Only documents that share a key with the query are found. A query may have several rows (`offsets`), whatever the
        collection's documents have. The filter is applied before anything is scored.

        Args:
            bm25: the weights of documents and queries are counts of terms; they are weighed by what all living documents
                hold, whether or not they satisfy the filter.
            params: what may be left out for time; the default finds the exact best.
            field: the term field, here and in all that follows; None: the first.
        """
        name = self._schema.need_terms(field)
        rows, counts = self._weighed(name, queries, bm25)
        return search_terms(self.parts(filter), name, ready_queries(self.state.parts, name, rows, params), k, counts)

    def explain_terms(self, query: Terms, doc: int, bm25: Bm25 | None = None, field: str | None = None) -> TermMatch:
        """Why document number `doc` has its score for one query: the keys in common, both weights, their products."""
        name = self._schema.need_terms(field)
        rows, counts = self._weighed(name, _single(query), bm25)
        return explain_terms(self.state.parts, name, rows, doc, counts)

    def score_terms(
        self,
        query: Terms,
        docs: Sequence[int] | np.ndarray,
        bm25: Bm25 | None = None,
        field: str | None = None,
    ) -> np.ndarray:
        """(docs,) float32: the scores that `search_terms` gives; 0 for a document that shares no key. Errors: `score_tokens`."""
        name = self._schema.need_terms(field)
        rows, counts = self._weighed(name, _single(query), bm25)
        return term_scores(self.state.parts, name, rows, np.asarray(docs, np.int64).reshape(-1), counts)

    def term_statistics(self, keys: Sequence[int] | np.ndarray, field: str | None = None) -> TermStatistics:
        """For (n,) keys: in how many living documents each occurs; how many there are; their total weight.

        Exact: fresh documents count, the dead do not. It reads every key of every segment.
        """
        name, wanted = self._schema.need_terms(field), np.asarray(keys, np.int64).reshape(-1)
        space = self._schema.terms[name].keys
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < space:
            raise InvalidArgument(f"keys must lie between 0 and {space - 1}, the key space of {name}")
        return term_statistics(self.state.parts, name, wanted.astype(np.uint32))

    @property
    def first_field(self) -> str:
        """The term field that is meant where none is named. InvalidArgument: there is none."""
        return self._schema.need_terms()

    def parts(self, filter: Filter | None = None, exact: bool = False) -> list[Part]:
        parts = self.state.parts
        if filter is not None:
            found = self.view.numbers(*compile(filter, self.view.declared))
            parts = [replace(p, allowed=np.isin(p.segment.documents, found, assume_unique=True)) for p in parts]
        return [p.exact for p in parts] if exact else parts

    def _embedded(self, filter: Filter | None, exact: bool) -> list[Part]:
        """The parts without documents that wait, whose global vectors are zeros: without tokens they are not found anyway."""
        parts = self.parts(filter, exact)
        return [_mark(part, self._pending) for part in parts] if self._schema.vector else parts

    @property
    def _nothing_yet(self) -> bool:
        """Whether documents wait for their tokens, and no other has any."""
        empty = not any(len(part.segment.tokens.vectors) for part in self.state.parts)
        return empty and self.view.count_pending() > 0

    @cached_property
    def _pending(self) -> np.ndarray:
        return self.view.pending()

    def tokens(self, number: int) -> Tokens:
        """The stored tokens of one document, their vectors as float32."""
        part, position = locate(self.state.parts, number)
        return part.segment.document(position)

    def terms(self, number: int, field: str | None = None) -> Terms:
        """The stored terms of one document."""
        name = self._schema.need_terms(field)
        part, position = locate(self.state.parts, number)
        return part.segment.terms[name].take([position]).terms(self._schema.terms[name].keys)

    def documents(self, numbers: Sequence[int] | np.ndarray) -> list[Document]:
        """Ids and payloads of the documents with these numbers, in this order."""
        return self.view.by_number(numbers)

    def each_document(self, numbers: Sequence[int] | np.ndarray) -> Iterator[Document]:
        """As `documents`, in any order and only one at a time in memory."""
        return self.view.each_number(numbers)

    def _vectors(self, queries: Tokens) -> Tokens:
        self._schema.need_tokens()
        if self._nothing_yet:
            # Compared with nothing: not even a width is known before what reduces it was learned from documents.
            queries = queries.with_vectors(np.zeros((len(queries.vectors), self._schema.dim), np.float32))
        return check(queries, self._schema.dim)

    def _whole(self, queries: np.ndarray) -> np.ndarray:
        return whole_rows(queries, self._schema.need_vector()).astype(np.float32)

    def _weighed(self, field: str, queries: Terms, bm25: Bm25 | None) -> tuple[TermRows, Counts | None]:
        rows = self._rows(field, queries)
        if bm25 is None:
            return rows, None
        if not self._schema.terms[field].counts:
            raise InvalidArgument("BM25 weighs counts of terms; create the collection with TermField(counts=True)")
        return weigh_queries(self.state.parts, field, rows, bm25)

    def _rows(self, field: str, queries: Terms) -> TermRows:
        return from_terms(queries, self._schema.terms[field].keys)


Query = TypeVar("Query", Tokens, Terms)


def _single(query: Query) -> Query:
    if len(query) != 1:
        raise InvalidArgument(f"{len(query)} queries; this takes exactly one")
    return query


def _mark(part: Part, dead: np.ndarray) -> Part:
    """The part without some documents more."""
    numbers = part.segment.documents
    if not len(dead) or not len(numbers):
        return part
    at = np.searchsorted(numbers, dead)
    hit = at[(at < len(numbers)) & (numbers[np.minimum(at, len(numbers) - 1)] == dead)]
    if not len(hit):
        return part
    allowed = np.ones(len(numbers), bool) if part.allowed is None else part.allowed.copy()
    allowed[hit] = False
    return replace(part, allowed=allowed)
