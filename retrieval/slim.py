"""SLIM's two views of token rows (Li et al. 2023, arXiv 2302.06587, section 3): postings, and the query's fused vector.

A token's row is φ(x_i) = log(1 + relu(logits_i)), its 20 largest entries. The exact score is Σ_i max_j φ(q_i)·φ(d_j).
With m = max_j φ(d_j) it lies between Σ_i e_i·m, where e_i is the largest entry of φ(q_i), and Σ_i φ(q_i)·m.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from ..index.errors import InvalidArgument
from ..index.terms import Terms

BETA = 0.01
"""Weight of the lower bound in the first stage (section 3.3)."""


def impacts(documents: Terms) -> Terms:
    """max_j φ(d_j): one row per document, what the inverted lists hold. `documents`: rows per token, with offsets."""
    offsets, rows = _tokens(documents)
    keys = rows.shape[1]
    cells = _owners(offsets, rows) * keys + rows.indices
    order = np.lexsort((rows.data, cells))
    last = np.append(np.diff(cells[order]) != 0, True)[: len(order)]
    cells, values = cells[order][last], rows.data[order][last]
    return Terms(sparse.csr_array((values, (cells // keys, cells % keys)), shape=(len(documents), keys)))


def fused(queries: Terms, beta: float = BETA) -> Terms:
    """(1 - beta) Σ_i φ(q_i) + beta Σ_i e_i: one row per query, for the first stage. Of equal entries the lowest key leads.

    Args:
        beta: 0 to 1. 0 ranks by the upper bound, 1 by the lower.
    """
    if not 0 <= beta <= 1:
        raise InvalidArgument(f"beta is {beta}; it must lie between 0 and 1")
    offsets, rows = _tokens(queries)
    token = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    order = np.lexsort((rows.indices, -rows.data, token))
    leads = np.zeros(rows.nnz, np.float32)
    leads[order[np.append(True, np.diff(token[order]) != 0)[: len(order)]]] = 1
    weights = rows.data * np.where(leads, np.float32(1), np.float32(1 - beta))
    shape = (len(queries), rows.shape[1])
    # Coordinates given twice are summed.
    merged = sparse.coo_array((weights, (_owners(offsets, rows), rows.indices)), shape=shape)
    return Terms(sparse.csr_array(merged, dtype=np.float32))


def maxsim(query: Terms, documents: Terms) -> np.ndarray:
    """(documents,) float32: the exact score Σ_i max_j φ(q_i)·φ(d_j) of one query; 0 for a document without rows."""
    offsets, rows = _tokens(documents)
    products = (query.rows @ rows.T).toarray()
    filled = np.flatnonzero(np.diff(offsets))
    scores = np.zeros(len(documents), np.float32)
    if len(filled) and len(products):
        scores[filled] = np.maximum.reduceat(products, offsets[:-1][filled], axis=1).sum(axis=0)
    return scores


def _tokens(terms: Terms) -> tuple[np.ndarray, Any]:
    if terms.offsets is None:
        raise InvalidArgument("these terms have one row per text; SLIM needs a row per token (offsets)")
    return terms.offsets, terms.rows


def _owners(offsets: np.ndarray, rows: Any) -> np.ndarray:
    """(nnz,) int64: the text of each entry."""
    return np.repeat(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), np.diff(rows.indptr))
