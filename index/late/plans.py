"""ColBERT and XTR as plans: late interaction over all tokens of a candidate, or over the retrieved ones alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..codecs.codec import score, similarities
from ..errors import InvalidArgument
from ..hits import Hits, best, merge
from ..kernels.vectors import widen
from ..params import SearchParams, totals
from ..search.alignment import Alignment
from ..search.part import Part, by_document, locate
from ..search.spread import spread
from ..search.tally import tallied
from ..stopping import steps
from ..tokens import Tokens
from .cells import Cells, contributions
from .search import retrieve


@dataclass(frozen=True)
class Colbert:
    """score(q, d) = sum_i max_j q_i . d_j over all tokens of d (Khattab and Zaharia, arXiv 2004.12832)."""

    def search(self, parts: list[Part], queries: Tokens, k: int, params: SearchParams) -> list[Hits]:
        _check(queries, k)
        if all(by_document(p.store) for p in parts):
            found = [
                p.store.search_documents(queries, k, params, p.allowed) for p in steps(parts) if by_document(p.store)
            ]
            return [merge([hits[q] for hits in found], k) for q in range(len(queries))]
        vectors = widen(queries.vectors)
        tables = enumerate(retrieve(parts, queries, params))
        return [_refine(parts, vectors[queries.rows(q)], t, k, params) for q, t in tables]

    def score(self, parts: list[Part], query: Tokens, documents: np.ndarray, threads: int) -> np.ndarray:
        return _scores(parts, query, documents, threads)

    def explain(self, parts: list[Part], query: Tokens, document: int, params: SearchParams) -> Alignment | None:
        part, position = locate(parts, document)
        tokens, rows = part.segment.tokens, widen(query.vectors)
        if not tokens.lengths[position]:
            return None
        found = similarities(part.segment.codec, tokens.vectors[tokens.rows(position)], rows)
        matches = found.argmax(axis=0)
        met = found[matches, np.arange(len(rows))]
        return Alignment(float(totals(met[None])[0]), met, met, matches, part.segment.document(position))


@dataclass(frozen=True)
class Xtr:
    """score(q, d) = sum_i max over the retrieved tokens of d, or m_i where none was (Lee et al., arXiv 2304.01982)."""

    missing: str | float
    """What m_i is, as `Scoring.missing`."""

    def search(self, parts: list[Part], queries: Tokens, k: int, params: SearchParams) -> list[Hits]:
        _check(queries, k)
        tables = retrieve(parts, queries, params)
        return [best(t.docs, totals(contributions(t, self.missing)), k) for t in tables]

    def score(self, parts: list[Part], query: Tokens, documents: np.ndarray, threads: int) -> np.ndarray:
        """MaxSim: a given document is scored with all of its tokens, since nothing was retrieved."""
        return _scores(parts, query, documents, threads)

    def explain(self, parts: list[Part], query: Tokens, document: int, params: SearchParams) -> Alignment:
        """A document none of whose tokens is retrieved has every cell imputed."""
        part, position = locate(parts, document)
        (table,) = retrieve(parts, query, params)
        at = int(np.searchsorted(table.docs, document))
        if at == len(table.docs) or table.docs[at] != document:
            nothing = np.full((1, len(query.vectors)), -1)
            table = Cells(np.array([document]), np.full(nothing.shape, -np.inf, np.float32), nothing, table.missing)
            at = 0
        counted = contributions(table, self.missing)[at]
        rows = table.rows[at]
        met = np.where(rows >= 0, table.similarities[at], counted)
        matches = np.where(rows >= 0, rows - int(part.segment.tokens.offsets[position]), -1)
        return Alignment(float(totals(counted[None])[0]), counted, met, matches, part.segment.document(position))


def _check(queries: Tokens, k: int) -> None:
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    if (queries.lengths == 0).any():
        raise InvalidArgument(f"query {int(np.argmin(queries.lengths))} has no tokens")


def _scores(parts: list[Part], query: Tokens, documents: np.ndarray, threads: int) -> np.ndarray:
    """(documents,) float32 MaxSim of one query with documents by number; rows are read where they lie."""
    vectors, scores = widen(query.vectors), np.full(len(documents), -np.inf, np.float32)
    for part, places, positions in spread(parts, documents):
        tokens = part.segment.tokens
        scores[places] = score(part.segment.codec, tokens.vectors, tokens.offsets, positions, vectors, threads)
    return scores


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
    return merge(found, k)
