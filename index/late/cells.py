"""Cells of query rows and documents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Cells:
    """The best retrieved match of every (document, query token) pair that has one; the rest is imputed."""

    docs: np.ndarray
    """(documents,) int64 rising document numbers: every document that owns a retrieved token."""
    similarities: np.ndarray
    """(documents, q) float32; minus infinity where nothing was retrieved."""
    rows: np.ndarray
    """(documents, q) int64: which token matched, as a row of its segment; -1 where nothing was retrieved."""
    missing: np.ndarray
    """(q,) float32 m_i by the k'-th score."""


def cells(scores: np.ndarray, docs: np.ndarray, rows: np.ndarray) -> Cells:
    """Arranges retrieved tokens by document. All arguments (q, k'), best first; document -1 marks padding."""
    q = len(scores)
    kept = docs >= 0
    found = np.unique(docs[kept])
    similarities = np.full((len(found), q), -np.inf, np.float32)
    matched = np.full((len(found), q), -1, np.int64)
    token, rank = np.nonzero(kept)
    # Written from the worst to the best: of several tokens in one cell the last one written, the best, stays.
    token, rank = token[::-1], rank[::-1]
    position = np.searchsorted(found, docs[token, rank])
    similarities[position, token] = scores[token, rank]
    matched[position, token] = rows[token, rank]
    last = kept.sum(axis=1) - 1
    kth = np.where(last >= 0, scores[np.arange(q), np.maximum(last, 0)] if scores.shape[1] else 0, 0)
    return Cells(found, similarities, matched, kth.astype(np.float32))


def contributions(table: Cells, missing: str | float) -> np.ndarray:
    """(documents, q) float32: what each query token adds to each document's score under a policy."""
    seen = np.isfinite(table.similarities)
    if missing == "none":
        share = seen.shape[1] / np.maximum(seen.sum(axis=1, keepdims=True), 1)
        return np.where(seen, table.similarities, 0).astype(np.float32) * share.astype(np.float32)
    fill = table.missing if missing == "kth" else np.float32(0 if missing == "zero" else missing)
    return np.where(seen, table.similarities, fill).astype(np.float32)
