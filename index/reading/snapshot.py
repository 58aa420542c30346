"""Snapshots: one consistent state of a collection, searched and read from beginning to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from ..catalog.schema import Schema
from ..catalog.view import Document, View
from ..errors import InvalidArgument
from ..filters.sql import Filter, compile
from ..hits import Hits
from ..late.exact import exactly
from ..params import Bm25, Counts, Scoring, SearchParams, TermParams
from ..search.alignment import Alignment, unmet
from ..search.part import Part, locate
from ..sparse.search import (
    TermMatch,
    TermStatistics,
    explain_terms,
    ready_queries,
    search_terms,
    term_statistics,
    weigh_queries,
)
from ..term_rows import TermRows, from_terms
from ..terms import Terms
from ..tokens import Tokens, check, whole_rows
from ..vector import search as vector_search
from . import sums as added
from .candidates import term_scores, vector_scores
from .loader import State, mark
from .plans import plan_of


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
        return plan_of(scoring, self._schema).search(self._embedded(filter, exact), vectors, k, params)

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
        found = plan_of(scoring, self._schema).explain(self.parts(filter, exact), vectors, doc, params)
        if found is None and not self.view.pending_among(np.array([doc])).any():
            raise InvalidArgument("this document has no tokens, so nothing aligns with it")
        return found or unmet(self.state.parts, vectors.vectors, doc)

    def score_tokens(
        self, query: Tokens, docs: Sequence[int] | np.ndarray, threads: int = 1, scoring: Scoring = Scoring()
    ) -> np.ndarray:
        """(docs,) float32: exact scores of one query with given documents, whatever found them, in their order.

        MaxSim: products and sums are float32 over the stored float16 rows, read in place; minus infinity for a document
        without tokens, but 0 for one that waits for its tokens: what found it keeps it. With tokens of `coil` alone,
        where the scoring says so: as `index/coil/search.py` has it.

        Raises:
            InvalidArgument: not exactly one query, or it does not fit the collection.
            NotFound: a number that is no living document's in this snapshot.
        """
        vectors, numbers = self._vectors(_single(query)), np.asarray(docs, np.int64).reshape(-1)
        scores = plan_of(scoring, self._schema).score(self.state.parts, vectors, numbers, threads)
        none = np.flatnonzero(scores == -np.inf)
        scores[none[self.view.pending_among(numbers[none])]] = 0
        return scores

    def search_vectors(
        self, queries: np.ndarray, k: int = 10, filter: Filter | None = None, exact: bool = False
    ) -> list[Hits]:
        """The k best documents of every query (q, width) by the dot product with their global vectors, exactly.

        The filter is applied before anything is scored. `exact` reads every vector, where bounds would leave some out.
        """
        return vector_search.search(self._embedded(filter, exact), self._whole(queries), k)

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
        """The k best documents of every query by the sum of `search_terms` and `search_vectors`, exactly
        (`index/reading/sums.py`)."""
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
        """The k best documents of every query by sum_i max_j q_i . d_j over sparse rows: a dot
        product where both have one.

        Only documents that share a key with the query are found. A query may have several rows (`offsets`), whatever
        the collection's documents have. The filter is applied before anything is scored.

        Args:
            bm25: the weights of documents and queries are counts of terms; they are weighed by what all living
                documents hold, whether or not they satisfy the filter.
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
        """(docs,) float32: the scores that `search_terms` gives; 0 for a document that shares no key. Errors:
        `score_tokens`."""
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
        return [exactly(p) for p in parts] if exact else parts

    def _embedded(self, filter: Filter | None, exact: bool) -> list[Part]:
        """The parts without documents that wait, whose global vectors are zeros: without
        tokens they are not found anyway."""
        parts = self.parts(filter, exact)
        return [mark(part, self._pending) for part in parts] if self._schema.vector else parts

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
