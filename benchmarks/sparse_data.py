"""Synthetic sparse vectors shaped like the output of learned sparse encoders, and the exact answers to queries.

Keys follow a Zipf law; a document mixes one main topic, one side topic and background; few weights are large. A query
takes strong terms of one document and weaker terms of its topic. Weights of real encoders are distributed otherwise:
figures on this data compare engines, they do not say what a real collection costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

KEYS = 30_000
TOPICS = 2_000
TOPIC_KEYS = 180
CHUNK = 100_000
"""Documents that are drawn at a time."""


class Mixture:
    """Draws documents and queries of one generator."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        background = 1.0 / (np.arange(KEYS) + 25.0)
        self._background = _cumulated(background)
        self._topic = self._draw(_cumulated(background**0.72), (TOPICS, TOPIC_KEYS))
        self._strength = self.rng.gamma(1.2, 0.55, (TOPICS, TOPIC_KEYS))
        self._slots = _cumulated(1.0 / (np.arange(TOPIC_KEYS) + 6.0))
        self._popular = _cumulated(1.0 / (np.arange(TOPICS) + 40.0))

    def documents(self, count: int, length: float = 150) -> tuple[Any, np.ndarray]:
        """CSR rows of about 117 entries each, and every document's main topic."""
        parts = [self._chunk(min(CHUNK, count - start), length) for start in range(0, count, CHUNK)]
        return sparse.vstack([rows for rows, _ in parts], format="csr"), np.concatenate([topics for _, topics in parts])

    def _chunk(self, count: int, length: float) -> tuple[Any, np.ndarray]:
        rng = self.rng
        lengths = np.clip(rng.lognormal(np.log(length), 0.35, count), 20, 400).astype(int)
        topics = self._draw(self._popular, (2, count))
        line = np.repeat(np.arange(count), lengths)
        source, slot = rng.random(len(line)), self._draw(self._slots, len(line))
        keys, values = self._draw(self._background, len(line)), rng.gamma(1.0, 0.16, len(line))
        for topic, chosen, factor in ((0, source < 0.58, 1.0), (1, (source >= 0.58) & (source < 0.75), 0.6)):
            of, at = topics[topic, line[chosen]], slot[chosen]
            keys[chosen] = self._topic[of, at]
            values[chosen] = factor * self._strength[of, at] * rng.gamma(3.0, 0.33, len(at))
        return _rows(line, keys, np.clip(values, 0.01, 3.2), count), topics[0]

    def queries(self, count: int, documents: Any, topics: np.ndarray, terms: int) -> Any:
        """CSR rows of at most `terms` entries and a few more."""
        rng = self.rng
        parts = []
        for q, d in enumerate(rng.choice(len(topics), count, replace=False)):
            row = slice(documents.indptr[d], documents.indptr[d + 1])
            weights = documents.data[row].astype(np.float64)
            core = min(max(3, terms // 3), len(weights))
            picked = rng.choice(len(weights), core, replace=False, p=weights / weights.sum())
            slot = self._draw(self._slots, int(1.25 * (terms - core)))
            keys = np.concatenate([documents.indices[row][picked], self._topic[topics[d], slot]])
            more = 0.35 * self._strength[topics[d], slot] * rng.gamma(2.0, 0.4, len(slot))
            values = np.concatenate([weights[picked] * rng.gamma(6.0, 0.2, core), more])
            parts.append((np.full(len(keys), q), keys, np.clip(values, 0.01, 3.2)))
        lines, keys, values = (np.concatenate(column) for column in zip(*parts, strict=True))
        return _rows(lines, keys, values, count)

    def _draw(self, cumulated: np.ndarray, shape: Any) -> np.ndarray:
        return np.searchsorted(cumulated, self.rng.random(shape)).clip(0, len(cumulated) - 1)


def exact(documents: Any, queries: Any, k: int) -> np.ndarray:
    """(queries, k) the best float64 scores, falling."""
    by_key = sparse.csc_array(documents, dtype=np.float64)
    out = np.empty((queries.shape[0], k))
    for q in range(queries.shape[0]):
        row = slice(queries.indptr[q], queries.indptr[q + 1])
        scores = by_key[:, queries.indices[row]] @ queries.data[row].astype(np.float64)
        out[q] = np.sort(np.partition(scores, len(scores) - k)[-k:])[::-1]
    return out


def score_recall(found: list[np.ndarray], best: np.ndarray, documents: Any, queries: Any) -> float:
    """The share of the found documents whose exact score reaches the k-th best, so that ties are fair."""
    hits = 0
    for q, docs in enumerate(found):
        scores = (documents[docs] @ queries[[q]].T.toarray().astype(np.float64)).ravel()
        hits += int((scores >= best[q, -1] * (1 - 1e-6)).sum())
    return hits / best.size


def _cumulated(weights: np.ndarray) -> np.ndarray:
    return np.cumsum(weights / weights.sum())


def _rows(lines: np.ndarray, keys: np.ndarray, values: np.ndarray, count: int) -> Any:
    """Of a key drawn twice in a row the greatest value stays."""
    order = np.lexsort((-values, keys, lines))
    lines, keys, values = lines[order], keys[order], values[order]
    first = np.ones(len(lines), bool)
    first[1:] = (np.diff(lines) != 0) | (np.diff(keys) != 0)
    bounds = np.searchsorted(lines[first], np.arange(count + 1))
    return sparse.csr_array((values[first].astype(np.float32), keys[first].astype(np.int32), bounds), (count, KEYS))
