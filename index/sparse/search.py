"""Sparse search over segments: the best documents, why one has its score, and how often keys occur."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits, merge
from ..kernels.term_query import TermQuery
from ..kernels.terms import sparse_maxsim
from ..params import Bm25, Counts, TermParams
from ..search.part import Part, locate
from ..stopping import steps
from ..term_rows import TermRows
from .bm25 import idf
from .exact import row_products, weighed
from .query import ready


@dataclass(frozen=True, eq=False)
class TermMatch:
    """Why one document has its score: every key that counts. All columns are parallel; keys rise within a query row."""

    score: float
    """The sum of the contributions, as float32: what `search_terms` gave, to the bit."""
    keys: np.ndarray
    """(n,) uint32."""
    query_weights: np.ndarray
    """(n,) float32."""
    document_weights: np.ndarray
    """(n,) float32."""
    contributions: np.ndarray
    """(n,) float64 products of the two weights."""
    query_rows: np.ndarray
    """(n,) int64: which row of the query; all 0 where a query is one row."""
    document_rows: np.ndarray
    """(n,) int64: the document's row that matched best; all 0 where a document is one row."""


@dataclass(frozen=True, eq=False)
class TermStatistics:
    """What BM25 and its kin need to know of a collection at query time."""

    frequencies: np.ndarray
    """(n,) int64: living documents that hold each key."""
    documents: int
    """Living documents."""
    weight: float
    """The sum of all weights of living documents; over `documents`, their mean length where weights count terms."""


def search_terms(
    parts: list[Part], field: str, queries: list[TermQuery], k: int, counts: Counts | None = None
) -> list[Hits]:
    """The k best documents of each query that share a key with it in a field. Segments are merged by exact scores."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    stores = [(p.terms[field], p.allowed) for p in parts]
    return [
        merge([store.search(query, k, allowed, counts) for store, allowed in steps(stores)], k) for query in queries
    ]


def ready_queries(parts: list[Part], field: str, queries: TermRows, params: TermParams) -> list[TermQuery]:
    """Each query as the parameters want it found, by what the living documents of all parts hold."""
    made = []
    for q in range(len(queries)):
        rows, idf = queries.take([q]), None
        if params.min_idf:
            known = term_statistics(parts, field, np.unique(rows.keys))
            idf = np.log(max(1, known.documents) / np.maximum(1, known.frequencies))
        made.append(ready(rows, params, idf))
    return made


def weigh_queries(parts: list[Part], field: str, queries: TermRows, bm25: Bm25) -> tuple[TermRows, Counts]:
    """Counts of query terms as BM25 weights, by what the living documents of all parts hold."""
    known = term_statistics(parts, field, queries.keys)
    weights = queries.weights * idf(known.documents, known.frequencies)
    average = known.weight / known.documents if known.weight else 1.0
    return replace(queries, weights=weights.astype(np.float32)), Counts(bm25, average)


def explain_terms(parts: list[Part], field: str, query: TermRows, doc: int, counts: Counts | None = None) -> TermMatch:
    """The keys of a field behind the score of document `doc` for one query.

    Where the document has several rows, each query row counts with the row that scores best, the first of equals.
    """
    part, position = locate(parts, doc)
    rows = part.segment.terms[field].take([position])
    return match_rows(query, rows if counts is None else weighed(rows, counts))


def match_rows(query: TermRows, rows: TermRows) -> TermMatch:
    """The keys behind the score of one document's rows for one query. Ties: `explain_terms`."""
    columns: list[tuple[np.ndarray, ...]] = [
        tuple(np.zeros(0, t) for t in (np.uint32, np.float32, np.float32, *[int] * 2))
    ]
    for line in range(len(query.offsets) - 1):
        products, owners = row_products(rows, query, line)
        if not len(products):
            continue
        top = int(np.argmax(np.bincount(owners, products, len(rows.offsets) - 1)))
        mine, theirs = _row(query, line), _row(rows, top)
        keys, at, other = np.intersect1d(query.keys[mine], rows.keys[theirs], assume_unique=True, return_indices=True)
        places = np.full(len(keys), line), np.full(len(keys), top)
        columns.append((keys, query.weights[mine][at], rows.weights[theirs][other], *places))
    keys, ours, theirs, query_rows, document_rows = (np.concatenate(c) for c in zip(*columns, strict=True))
    contributions = ours.astype(np.float64) * theirs
    score = float(sparse_maxsim(query, rows)[0][0])
    return TermMatch(score, keys, ours, theirs, contributions, query_rows, document_rows)


def term_statistics(parts: list[Part], field: str, keys: np.ndarray) -> TermStatistics:
    """Summed over segments, the dead left out."""
    wanted, back = np.unique(keys, return_inverse=True)
    frequencies, documents, weight = np.zeros(len(wanted), np.int64), 0, 0.0
    for part in steps(parts):
        documents += len(part.segment.documents) if part.allowed is None else int(part.allowed.sum())
        frequencies += part.terms[field].frequencies(wanted, part.allowed)
        weight += part.terms[field].weight(part.allowed)
    return TermStatistics(frequencies[back], documents, weight)


def count_weights(parts: list[Part], field: str) -> int:
    """How many weights of a field living documents hold."""
    lengths = [(np.diff(p.segment.terms[field].bounds), p.allowed) for p in parts]
    return sum(int((some if allowed is None else some[allowed]).sum()) for some, allowed in lengths)


def _row(rows: TermRows, row: int) -> slice:
    return slice(int(rows.offsets[row]), int(rows.offsets[row + 1]))
