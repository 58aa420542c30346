"""Clusters of token vectors: spherical k-means, and the assignment of any number of vectors to its centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import kernels
from .errors import InvalidArgument

if TYPE_CHECKING:
    from .codecs import Vectors

_ROUNDS = 5
"""Rounds of k-means. Of 5 and 20 the recall is the same."""
_PRODUCTS = 1 << 22
"""Products of tokens and centroids that are held at a time (16 MiB)."""
_TWO_LEVEL = 2048
"""Centroids beyond which they are looked up by groups."""
_GROUPS = 8
"""Groups that a vector looks into."""


def fit(sample: np.ndarray, lists: int, seed: int = 0) -> np.ndarray:
    """(lists, dim) float32 centroids by spherical k-means; the same arguments give the same centroids.

    They all have the same length, such that a centroid's product with a query is that of an average token near it: the
    mean product of the sample's tokens with their centroid's direction.

    Args:
        sample: (n, dim) float32 or float16 token vectors, at least one. 32 for each list suffice.
        lists: more make each shorter: a probe reads less and finds less, choosing the probes and learning cost more.

    Raises:
        InvalidArgument: no rows or no lists.
    """
    if not len(sample) or lists < 1:
        raise InvalidArgument(f"{lists} lists cannot be learned from {len(sample)} vectors; both must be at least 1")
    rng = np.random.default_rng(seed)
    points = kernels.widen(sample)
    centroids = _unit(points[np.sort(rng.choice(len(points), lists, replace=len(points) < lists))])
    for _ in range(_ROUNDS):
        nearest = assign(centroids, points)
        order = np.argsort(nearest, kind="stable")
        used, starts = np.unique(nearest[order], return_index=True)
        centroids[used] = _unit(np.add.reduceat(points[order], starts, axis=0))
        # A centroid without members moves to where a random token is.
        empty = np.setdiff1d(np.arange(lists), used)
        centroids[empty] = _unit(points[rng.choice(len(points), len(empty))])
    return centroids * (points * centroids[assign(centroids, points)]).sum(axis=1).mean()


def assign(centroids: np.ndarray, vectors: Vectors) -> np.ndarray:
    """(n,) int64: the list of every vector (n, dim), whose centroid has the largest product with it.

    Of more than 2,048 centroids only those of the 8 nearest groups are looked at, so that the work grows with the square
    root of their number; the product found is then the largest nearly always, and close to it otherwise.
    """
    if len(centroids) > _TWO_LEVEL:
        return _assign_by_groups(centroids, vectors)
    out = np.empty(len(vectors), np.int64)
    step = max(1, _PRODUCTS // len(centroids))
    for start in range(0, len(vectors), step):
        products = kernels.widen(vectors[start : start + step]) @ centroids.T
        out[start : start + step] = products.argmax(axis=1)
    return out


def _assign_by_groups(centroids: np.ndarray, vectors: Vectors) -> np.ndarray:
    """As `assign`, within the groups whose own centroids are nearest to a vector."""
    size = round(len(centroids) ** 0.5)
    tops = fit(centroids, size)
    group = assign(tops, centroids)
    members = [np.flatnonzero(group == g) for g in range(size)]
    out = np.empty(len(vectors), np.int64)
    step, last = max(1, _PRODUCTS // size), max(0, size - _GROUPS)
    for start in range(0, len(vectors), step):
        some = kernels.widen(vectors[start : start + step])
        products = some @ tops.T
        cut = np.partition(products, last, axis=1)[:, last]
        most, nearest = np.full(len(some), -np.inf, np.float32), np.zeros(len(some), np.int64)
        for g, inside in enumerate(members):
            rows = np.flatnonzero(products[:, g] >= cut)
            if not len(rows) or not len(inside):
                continue
            found = some[rows] @ centroids[inside].T
            column = found.argmax(axis=1)
            value = found[np.arange(len(rows)), column]
            better = value > most[rows]
            most[rows[better]] = value[better]
            nearest[rows[better]] = inside[column[better]]
        out[start : start + step] = nearest
    return out


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)
