"""A sparse query made ready: the rows that score documents, and the keys that find them.

The score sum_i max_j q_i . d_j is at most sum_t gain_t max(M_t, 0) + loss_t min(m_t, 0), where M_t and m_t are the
greatest and least weight of key t in the document, gain_t sums the query's positive
weights of t and loss_t its negative
ones: SLIM's upper bound (Li et al. 2023, arXiv 2302.06587, section 3.2), for weights of either sign. Postings of M_t
add it up; for one row on both sides it is the score itself.
"""

from __future__ import annotations

import numpy as np

from ..kernels.term_query import TermQuery
from ..params import TermParams
from ..term_rows import TermRows
from .postings import up

BETA = 0.01
"""Weight of SLIM's lower bound among what chooses candidates (section 3.3)."""


def ready(rows: TermRows, params: TermParams = TermParams(), idf: np.ndarray | None = None) -> TermQuery:
    """One query as the parameters want it found.

    Args:
        idf: (keys,) of the distinct keys of the rows, rising; needed for `min_idf` alone.
    """
    several, every = len(rows.offsets) != 2, params.query_terms is None and not params.min_idf
    if every and not several:
        return TermQuery(rows, candidates=params.term_candidates, alpha=params.alpha)
    keys, gains, losses = fused(rows, BETA if params.term_candidates and several else 0)
    if every:
        return TermQuery(rows, keys, gains, losses, params.term_candidates, params.alpha)
    kept = np.ones(len(keys), bool)
    if params.min_idf and idf is not None and (idf > params.min_idf).any():
        kept = idf > params.min_idf
    if params.query_terms is not None and kept.sum() > params.query_terms:
        heavy = np.argsort(np.where(kept, losses - gains, np.inf), kind="stable")[: params.query_terms]
        kept = np.zeros(len(keys), bool)
        kept[heavy] = True
    return TermQuery(rows, keys[kept], gains[kept], losses[kept], params.term_candidates, params.alpha)


def fused(query: TermRows, beta: float = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rising distinct keys of a query, what they may add to a score, and what they may add of negative weights.

    Args:
        beta: 0 to 1. 0: the upper bound. Above, all but the greatest weight of each row count 1 - beta of themselves:
            an estimate of the score between SLIM's bounds, with which 1 would be the lower.
    """
    weights = query.weights
    if beta:
        rows = np.repeat(np.arange(len(query.offsets) - 1), np.diff(query.offsets))
        order = np.lexsort((query.keys, -weights, rows))
        leads = np.append(True, np.diff(rows[order]) != 0)[: len(order)]
        weights = weights.astype(np.float64)
        weights[order[~leads]] *= 1 - beta
    if len(query.offsets) == 2:
        keys, gains, losses = query.keys, np.maximum(weights, 0), np.minimum(weights, 0)
    else:
        keys, at = np.unique(query.keys, return_inverse=True)
        gains = np.bincount(at, np.maximum(weights, 0), len(keys))
        losses = np.bincount(at, np.minimum(weights, 0), len(keys))
    return keys, up(gains), -up(-losses)
