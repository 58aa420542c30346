"""Sums of a sparse and a dense score (DupMAE, arXiv 2305.02564, section 3.3), exact without
scoring every document twice.

    score(q, d) = sum_i q_i . d_i over sparse rows  +  global_q . global_d

The threshold algorithm of Fagin, Lotem and Naor (PODS 2001): both rankings are read to some depth, everything seen gets
both scores, and what was not seen can have no more than the last of one ranking plus the last of the other. Until the
k-th best sum reaches that, the depth grows. Without a common key the sparse score is 0.
"""

from __future__ import annotations

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits, best
from ..search.part import Part
from ..sparse.query import ready
from ..sparse.search import search_terms
from ..stopping import steps
from ..term_rows import TermRows
from ..vector import search as vector_search
from .candidates import term_scores, vector_scores

_FIRST, _GROWTH = 100, 4


def search(parts: list[Part], field: str, terms: TermRows, vectors: np.ndarray, k: int) -> list[Hits]:
    """The k best documents of each query: one row of a field's terms and one of vectors (q, width) float32 each."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    if len(terms) != len(vectors):
        raise InvalidArgument(f"{len(terms)} queries of terms and {len(vectors)} of vectors; the counts must agree")
    return [_one(parts, field, terms.take([q]), vector, k) for q, vector in steps(enumerate(vectors))]


def score(parts: list[Part], field: str, terms: TermRows, vector: np.ndarray, docs: np.ndarray) -> np.ndarray:
    """(docs,) float32 sums for documents by number."""
    return term_scores(parts, field, terms, docs) + vector_scores(parts, vector, docs)


def _one(parts: list[Part], field: str, terms: TermRows, vector: np.ndarray, k: int) -> Hits:
    depth = max(_FIRST, _GROWTH * k)
    while True:
        (by_terms,), (by_vector,) = (
            search_terms(parts, field, [ready(terms)], depth),
            vector_search.search(parts, vector[None], depth),
        )
        docs = np.union1d(by_terms.docs, by_vector.docs)
        hits = best(docs, score(parts, field, terms, vector, docs), k)
        # A ranking that ends before the depth has shown all there is. Every document is in the one by vector.
        if len(by_vector) < depth:
            return hits
        unseen = float(by_vector.scores[-1]) + (max(0.0, float(by_terms.scores[-1])) if len(by_terms) == depth else 0.0)
        if hits.scores[-1] > np.float32(unseen):
            return hits
        depth *= _GROWTH
