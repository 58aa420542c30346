"""Exact scores of given documents: candidates that another source found, straight into the rerank."""

from __future__ import annotations

import numpy as np

from ..kernels.terms import sparse_maxsim
from ..params import Counts
from ..search.part import Part
from ..search.spread import spread
from ..sparse.exact import weighed
from ..term_rows import TermRows
from ..vector import search as vector_search


def vector_scores(parts: list[Part], query: np.ndarray, docs: np.ndarray) -> np.ndarray:
    """(docs,) float32 products of one query (width,) float32 with the global vectors of documents by number."""
    scores = np.zeros(len(docs), np.float32)
    for part, places, positions in spread(parts, docs):
        scores[places] = vector_search.products(part.segment.tokens.globals_, positions, query)
    return scores


def term_scores(
    parts: list[Part], field: str, query: TermRows, docs: np.ndarray, counts: Counts | None = None
) -> np.ndarray:
    """(docs,) float32 scores of one query with documents by number; 0 for one that shares no key in the field."""
    scores = np.zeros(len(docs), np.float32)
    for part, places, positions in spread(parts, docs):
        rows = part.segment.terms[field].take(positions)
        scores[places] = sparse_maxsim(query, rows if counts is None else weighed(rows, counts))[0]
    return scores
