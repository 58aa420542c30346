"""The candidate loop: retrieve tokens, arrange them by document, impute, refine. One path for every store and system."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..codecs.codec import score, similarities
from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels.vectors import widen
from ..params import Scoring, SearchParams, totals
from ..search.alignment import Alignment
from ..search.part import Part, by_document, locate
from ..search.tally import tallied
from ..stopping import steps
from ..tokens import Tokens, from_matrices
from . import exact
from .cells import Cells, cells, contributions

_MATCHES, _ROWS = 1 << 20, 1 << 10
"""Tokens of a segment retrieved at a time, for so many rows of queries at most; a longer query goes alone."""


def search(parts: list[Part], queries: Tokens, k: int, scoring: Scoring, params: SearchParams) -> list[Hits]:
    """The k best documents of each query."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    if (queries.lengths == 0).any():
        raise InvalidArgument(f"query {int(np.argmin(queries.lengths))} has no tokens")
    if scoring.tokens == "all" and all(by_document(p.store) for p in parts):
        found = [p.store.search_documents(queries, k, params, p.allowed) for p in steps(parts) if by_document(p.store)]
        return [exact.merge([hits[q] for hits in found], k) for q in range(len(queries))]
    tables = enumerate(retrieve(parts, queries, params))
    if scoring.tokens == "retrieved":
        return [best(t.docs, totals(contributions(t, scoring.missing)), k) for _, t in tables]
    vectors = widen(queries.vectors)
    return [_refine(parts, vectors[queries.rows(q)], t, k, params) for q, t in tables]


def retrieve(parts: list[Part], queries: Tokens, params: SearchParams) -> Iterator[Cells]:
    """The k' best tokens of the whole collection for each row of every query, arranged by document.

    k' is cut after the segments are merged, so the answer does not depend on how documents are spread over segments.
    """
    vectors, offsets = widen(queries.vectors), queries.offsets
    for first, last in steps(passes(queries.lengths * max(params.k_token, _MATCHES // _ROWS), _MATCHES)):
        found = _tokens(parts, vectors[offsets[first] : offsets[last]], params)
        for q in range(first, last):
            mine = slice(offsets[q] - offsets[first], offsets[q + 1] - offsets[first])
            yield cells(*(a[mine] for a in found))


def passes(costs: np.ndarray, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of queries whose costs (queries,) add up to `most` or less; a dearer query goes alone."""
    ends, first = np.cumsum(costs), 0
    while first < len(costs):
        last = int(np.searchsorted(ends, (ends[first - 1] if first else 0) + most, side="right"))
        last = max(first + 1, last)
        yield first, last
        first = last


def _tokens(parts: list[Part], vectors: np.ndarray, params: SearchParams) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k' best tokens for each row (q, dim) float32: (q, k') scores, document numbers and rows of their segments."""
    scores, docs, rows = [], [], []
    for part in steps(parts):
        s, r = part.store.search(vectors, params.k_token, params.nprobe, rows=part.rows)
        scores.append(s)
        rows.append(r)
        owner = part.segment.owners_of(np.maximum(r, 0))
        docs.append(np.where(r >= 0, part.segment.documents[owner] if len(part.segment.documents) else -1, -1))
    if not parts:
        nothing = np.zeros((len(vectors), 0), np.int64)
        return nothing.astype(np.float32), nothing, nothing
    s, d, r = np.hstack(scores), np.hstack(docs), np.hstack(rows)
    order = np.lexsort((r, d, -s), axis=1)[:, : params.k_token]
    return np.take_along_axis(s, order, 1), np.take_along_axis(d, order, 1), np.take_along_axis(r, order, 1)


def explain(parts: list[Part], query: np.ndarray, doc: int, scoring: Scoring, params: SearchParams) -> Alignment:
    """The alignment behind the score that `search` gives document `doc` for one query (q, dim) float32.

    With `retrieved` scoring a document none of whose tokens is retrieved has every cell imputed.
    """
    part, position = locate(parts, doc)
    document = part.segment.document(position)
    first = int(part.segment.tokens.offsets[position])
    if scoring.tokens == "all":
        if not len(document.vectors):
            raise InvalidArgument("this document has no tokens, so nothing aligns with it")
        found = similarities(part.segment.codec, part.segment.tokens.vectors[part.segment.tokens.rows(position)], query)
        matches = found.argmax(axis=0)
        met = found[matches, np.arange(len(query))]
        return Alignment(float(totals(met[None])[0]), met, met, matches, document)
    (table,) = retrieve(parts, from_matrices([query]), params)
    at = int(np.searchsorted(table.docs, doc))
    if at == len(table.docs) or table.docs[at] != doc:
        nothing = np.full((1, len(query)), -1)
        table = Cells(np.array([doc]), np.where(nothing < 0, np.float32(-np.inf), 0), nothing, table.missing)
        at = 0
    given = contributions(table, scoring.missing)[at]
    rows = table.rows[at]
    met = np.where(rows >= 0, table.similarities[at], given)
    return Alignment(float(totals(given[None])[0]), given, met, np.where(rows >= 0, rows - first, -1), document)


def _refine(parts: list[Part], query: np.ndarray, table: Cells, k: int, params: SearchParams) -> Hits:
    """Exact MaxSim over all tokens of the most promising candidates (ColBERT's gather)."""
    estimate = totals(contributions(table, "kth"))
    chosen = np.sort(best(table.docs, estimate, max(params.candidates, 4 * k)).docs)
    found = []
    for part in steps(parts):
        numbers = part.segment.documents
        mine = chosen[np.isin(chosen, numbers, assume_unique=True)]
        if len(mine):
            with tallied(len(mine)):
                tokens, positions = part.segment.tokens, np.searchsorted(numbers, mine)
                found.append(Hits(mine, score(part.segment.codec, tokens.vectors, tokens.offsets, positions, query, 1)))
    return exact.merge(found, k)
