"""Sparse scoring: what a term store is, and the exact one, which reads every key.

score(q, d) = sum_i max_j q_i . d_j over the rows of query and document: a dot product where each has one row (BM25,
SPLADE), SLIM's sparse MaxSim (arXiv 2302.06587) where rows are per token. A row without a common key counts 0; a
document without any is not found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels.term_query import TermQuery
from ..kernels.terms import sparse_maxsim
from ..params import Counts
from ..stopping import steps
from ..term_rows import TermRows

_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class ExactTerms:
    """Reads every key of the segment for every query row. The plan of fresh documents."""

    documents: np.ndarray
    """(documents,) int64 collection-wide numbers, rising."""
    rows: TermRows

    def search(self, query: TermQuery, k: int, allowed: np.ndarray | None = None, counts: Counts | None = None) -> Hits:
        scores, met = sparse_maxsim(query.rows, self.rows if counts is None else weighed(self.rows, counts))
        found = np.flatnonzero(met if allowed is None else met & allowed)
        return best(self.documents[found], scores[found], k)

    def frequencies(self, keys: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        entries, at = matches(self.rows, keys)
        owners = np.searchsorted(self.rows.bounds, entries, side="right") - 1
        pairs = np.unique(owners * len(keys) + at)  # a document counts once, in however many of its rows a key is
        if allowed is not None and len(pairs):
            pairs = pairs[allowed[pairs // len(keys)]]
        return np.bincount(pairs % max(1, len(keys)), minlength=len(keys))

    def weight(self, allowed: np.ndarray | None = None) -> float:
        return float(self._totals.sum() if allowed is None else self._totals[allowed].sum())

    @cached_property
    def _totals(self) -> np.ndarray:
        owners = np.repeat(np.arange(len(self.rows)), np.diff(self.rows.bounds))
        return np.bincount(owners, self.rows.weights, len(self.rows))


def weighed(rows: TermRows, counts: Counts) -> TermRows:
    """One row per document of term counts as what they weigh by BM25, in float64."""
    owners = np.repeat(np.arange(len(rows)), np.diff(rows.bounds))
    lengths = np.bincount(owners, rows.weights, len(rows))
    norms = counts.bm25.norms(lengths, counts.mean).astype(np.float64)
    values = rows.weights.astype(np.float64)
    return replace(rows, weights=values / (values + norms[owners]))


def row_products(rows: TermRows, query: TermRows, line: int) -> tuple[np.ndarray, np.ndarray]:
    """What the keys of one query row contribute: (n,) float64 products and (n,) int64
    rows, in the order of the entries."""
    mine = slice(int(query.offsets[line]), int(query.offsets[line + 1]))
    entries, at = matches(rows, query.keys[mine])
    products = rows.weights[entries].astype(np.float64) * query.weights[mine][at]
    return products, np.searchsorted(rows.offsets, entries, side="right") - 1


def matches(rows: TermRows, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where (n,) uint32 rising keys occur: rising (m,) int64 entries and (m,) int64 positions among the keys."""
    if (np.diff(keys.astype(np.int64)) <= 0).any():
        raise InvalidArgument("keys must rise, each of them once")
    entries, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in steps(range(0, len(rows.keys) if len(keys) else 0, _BLOCK)):
        block = rows.keys[start : start + _BLOCK]
        at = np.minimum(np.searchsorted(keys, block), len(keys) - 1)
        hit = np.flatnonzero(keys[at] == block)
        entries.append(hit + start)
        places.append(at[hit])
    return np.concatenate(entries), np.concatenate(places)
