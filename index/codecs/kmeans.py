"""Clusters of token vectors: spherical k-means, and the assignment of any number of vectors to its centroids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidArgument
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels

if TYPE_CHECKING:
    from .codec import Vectors

_ROUNDS = 5
"""Rounds of k-means. Of 5 and 20 the recall is the same."""
_PRODUCTS = 1 << 22
"""Products of tokens and centroids that are held at a time (16 MiB)."""
_BY_ID = 1024
"""Centroids beyond which a token looks at those of its vocabulary id, where there are ids."""
_SEEN, _NEAR = 32, 32
"""Tokens for each centroid that say where those of an id lie, and centroids nearest to their
mean that are looked at too."""
_ROWS = 1 << 18
"""Tokens that are sorted by id at a time."""
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
    centroids = row_kernels.unit(points[np.sort(rng.choice(len(points), lists, replace=len(points) < lists))])
    for _ in range(_ROUNDS):
        nearest = assign(centroids, points)
        order = np.argsort(nearest, kind="stable")
        used, starts = np.unique(nearest[order], return_index=True)
        centroids[used] = row_kernels.unit(np.add.reduceat(points[order], starts, axis=0))
        # A centroid without members moves to where a random token is.
        empty = np.setdiff1d(np.arange(lists), used)
        centroids[empty] = row_kernels.unit(points[rng.choice(len(points), len(empty))])
    return centroids * np.float32(row_kernels.dots(points, centroids[assign(centroids, points)]).mean())


def assign(centroids: np.ndarray, vectors: Vectors, ids: np.ndarray | None = None) -> np.ndarray:
    """(n,) int64: the list of every vector (n, dim), whose centroid has the largest product with it.

    Of many centroids only some are looked at, so that a token's work barely grows with their number; the product found
    is then the largest nearly always, and close to it otherwise. With vocabulary ids (n,), of more than 1,024 centroids
    those where tokens of the same id were seen: on real embeddings 0.96 of 4,096 are the nearest, for a quarter of the
    work. Without, of more than 2,048 those of the 8 nearest groups.
    """
    if ids is not None and len(centroids) > _BY_ID:
        return _assign_by_ids(centroids, vectors, ids)
    if len(centroids) > _TWO_LEVEL:
        return _assign_by_groups(centroids, vectors)
    return _nearest(centroids, vectors)


def _nearest(centroids: np.ndarray, vectors: Vectors) -> np.ndarray:
    out = np.empty(len(vectors), np.int64)
    step, columns = max(1, _PRODUCTS // len(centroids)), row_kernels.panels(centroids.T)
    for start in range(0, len(vectors), step):
        products = row_kernels.multiply(
            kernels.widen(vectors[start : start + step]), columns, len(centroids), threads=None
        )
        out[start : start + step] = products.argmax(axis=1)
    return out


def _assign_by_ids(centroids: np.ndarray, vectors: Vectors, ids: np.ndarray) -> np.ndarray:
    """As `assign`, among the centroids that a sample's tokens of the same id have and those nearest to their mean."""
    size = min(len(vectors), _SEEN * len(centroids))
    rows = np.sort(np.random.default_rng(0).choice(len(vectors), size, replace=False))
    known = _centroids_of_ids(centroids, kernels.widen(vectors[rows]), ids[rows])
    out = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), _ROWS):
        some = kernels.widen(vectors[start : start + _ROWS])
        for one, mine in _by_id(ids[start : start + _ROWS]):
            inside = known.get(one)
            if inside is None:
                out[start + mine] = _nearest(centroids, some[mine])
            else:
                out[start + mine] = inside[_nearest(centroids[inside], some[mine])]
    return out


def _centroids_of_ids(centroids: np.ndarray, sample: np.ndarray, ids: np.ndarray) -> dict[int, np.ndarray]:
    own, known = _nearest(centroids, sample), {}
    for one, mine in _by_id(ids):
        products = row_kernels.product(centroids, sample[mine].mean(axis=0)[:, None])[:, 0]
        near = np.argpartition(products, -_NEAR)[-_NEAR:]
        known[one] = np.union1d(own[mine], near)
    return known


def _by_id(ids: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Every id, and the places where it is."""
    order = np.argsort(ids, kind="stable")
    kinds, starts = np.unique(ids[order], return_index=True)
    return zip(kinds.tolist(), np.split(order, starts[1:]), strict=True)


def _assign_by_groups(centroids: np.ndarray, vectors: Vectors) -> np.ndarray:
    """As `assign`, within the groups whose own centroids are nearest to a vector."""
    size = round(len(centroids) ** 0.5)
    tops = fit(centroids, size)
    group = assign(tops, centroids)
    members = [np.flatnonzero(group == g) for g in range(size)]
    columns = [row_kernels.panels(centroids[inside].T) for inside in members]
    out = np.empty(len(vectors), np.int64)
    step, last = max(1, _PRODUCTS // size), max(0, size - _GROUPS)
    for start in range(0, len(vectors), step):
        some = kernels.widen(vectors[start : start + step])
        products = row_kernels.product(some, tops.T)
        cut = np.partition(products, last, axis=1)[:, last]
        most, nearest = np.full(len(some), -np.inf, np.float32), np.zeros(len(some), np.int64)
        for g, inside in enumerate(members):
            rows = np.flatnonzero(products[:, g] >= cut)
            if not len(rows) or not len(inside):
                continue
            found = row_kernels.multiply(some[rows], columns[g], len(inside))
            column = found.argmax(axis=1)
            value = found[np.arange(len(rows)), column]
            better = value > most[rows]
            most[rows[better]] = value[better]
            nearest[rows[better]] = inside[column[better]]
        out[start : start + step] = nearest
    return out
