"""Token pooling: fewer vectors per document, each the mean of similar ones.

Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token
Pooling" (arXiv 2409.14683). The same step applied to page patches is the merging of Light-ColPali
(arXiv 2506.04997), which finds that it belongs last: after the projection, as here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from ...index.errors import FailedPrecondition, InvalidArgument
from ...index.kernels import rows as row_kernels
from ...index.tokens import Role, Tokens, ragged_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Method = Literal["hierarchical", "kmeans", "sequential"]
Linkage = Literal["euclidean", "cosine", "profile"]
Partition = Callable[[np.ndarray, int], np.ndarray]
"""(m, dim) unit rows and the factor, m >= 2 * factor, to (m,) integer labels, at most m // factor different ones."""


def pool(
    tokens: Tokens,
    factor: int,
    method: Method = "hierarchical",
    protected: int = 1,
    renormalise: bool = True,
    linkage: Linkage = "euclidean",
    seed: int = 0,
) -> Tokens:
    """Clusters each document's m unprotected rows into at most max(1, m // factor) clusters and keeps the means.

    Rows follow their cluster's first member in the text. A pooled row carries all its members' spans in text order, the
    sum of their weights, role POOLED and the id of the member nearest to the mean (the first of several, hence of any
    pair). A row alone in its cluster stays as it is. Equal input gives equal output, whatever else is in the batch.

    Args:
        factor: larger: fewer vectors, hence smaller index and faster search; quality falls (about none lost at 2,
            1 % at 3, up to 5 % at 4: arXiv 2409.14683). 1 changes nothing.
        method: `hierarchical` is the best of the three; `kmeans` starts from k-means++; `sequential` averages windows
            of `factor` neighbours, the last one longer, and is the fastest.
        protected: rows at the head of each document that are never pooled (1: the CLS), besides every MARKER row.
            Larger: more vectors stay.
        renormalise: gives the means unit length, as the rows of a unit-length encoder have. Off: a mean of unlike
            rows is short and scores less.
        linkage: the distances that Ward's criterion is given; `hierarchical` only. `euclidean`: sqrt(2 (1 - cos)), the
            distance of unit rows, for which it is defined. `cosine`: 1 - cos, as PyLate and sentence-transformers.
            `profile`: between the rows of the square matrix of 1 - cos, as Stanford's ColBERT; time cubic in m.
        seed: of `kmeans` only.

    Raises:
        InvalidArgument: factor below 1, protected below 0, or an unknown method or linkage.
    """
    if factor < 1:
        raise InvalidArgument(f"pool factor is {factor}; it must be at least 1 (1 keeps every token)")
    if protected < 0:
        raise InvalidArgument(f"protected is {protected}; it must be at least 0 (1 protects the CLS token)")
    partition = _partition(method, linkage, seed)
    return tokens if factor == 1 else _merge(tokens, _leaders(tokens, factor, protected, partition), renormalise)


def pool_to_globals(tokens: Tokens) -> Tokens:
    """One row per document, even an empty one: its `globals_` vector at unit length. The single-vector baseline.

    The row carries all the document's spans, the sum of its weights, role POOLED, and no id.

    Raises:
        FailedPrecondition: the encoder gave no `globals_`.
    """
    if tokens.globals_ is None:
        raise FailedPrecondition(
            "these tokens have no globals_ vector; use an encoder that also trains a single vector, such as minilm"
        )
    documents = len(tokens)
    rows = np.arange(len(tokens.vectors), dtype=np.int64)
    spans, span_offsets = _gather_spans(tokens, rows, tokens.offsets)
    return Tokens(
        row_kernels.unit(tokens.globals_.astype(np.float32)).astype(tokens.vectors.dtype),
        np.arange(documents + 1, dtype=np.int64),
        None,
        spans,
        span_offsets,
        None if tokens.weights is None else _sums(rows, tokens.offsets) @ tokens.weights,
        np.full(documents, Role.POOLED, np.uint8),
        tokens.globals_,
    )


def _partition(method: Method, linkage: Linkage, seed: int) -> Partition:
    if linkage not in get_args(Linkage):
        raise InvalidArgument(f"unknown linkage {linkage!r}; use one of {', '.join(get_args(Linkage))}")
    match method:
        case "hierarchical":
            return partial(_ward, linkage)
        case "kmeans":
            return partial(_kmeans, seed)
        case "sequential":
            return lambda unit, factor: np.minimum(np.arange(len(unit)) // factor, len(unit) // factor - 1)
        case _:
            raise InvalidArgument(f"unknown pooling method {method!r}; use one of {', '.join(get_args(Method))}")


def _ward(linkage: Linkage, unit: np.ndarray, factor: int) -> np.ndarray:
    """Ward's minimum variance clustering (Murtagh and Legendre 2014), cut into at most m // factor clusters."""
    from scipy.cluster import hierarchy  # here, to keep the command line's start light
    from scipy.spatial.distance import pdist, squareform

    gaps = np.clip(1 - row_kernels.product(unit, unit.T).astype(np.float64), 0, 2)
    match linkage:
        case "euclidean":
            distances = np.sqrt(2 * squareform(gaps, checks=False))
        case "cosine":
            distances = squareform(gaps, checks=False)
        case "profile":
            distances = pdist(gaps)
    return hierarchy.fcluster(hierarchy.linkage(distances, "ward"), len(unit) // factor, "maxclust")


def _kmeans(seed: int, unit: np.ndarray, factor: int, rounds: int = 20) -> np.ndarray:
    """Lloyd's algorithm from k-means++. A cluster that loses its last member is gone."""
    centres = unit[_spread(unit, len(unit) // factor, np.random.default_rng(seed))]
    labels = np.full(len(unit), -1)
    for _ in range(rounds):
        near = row_kernels.product(unit, centres.T) - (row_kernels.dots(centres, centres) / 2).astype(np.float32)
        nearest = np.unique(np.argmax(near, axis=1), return_inverse=True)[1]
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        members = (labels == np.arange(labels.max() + 1)[:, None]).astype(np.float32)
        centres = row_kernels.product(members, unit) / members.sum(1, keepdims=True)
    return labels


def _spread(unit: np.ndarray, clusters: int, rng: np.random.Generator) -> list[int]:
    """k-means++ (Arthur and Vassilvitskii 2007): each next row is drawn by its squared distance to those drawn."""
    chosen = [int(rng.integers(len(unit)))]
    gaps = np.full(len(unit), np.inf)
    while len(chosen) < clusters:
        near = row_kernels.product(unit, unit[chosen[-1]][:, None])[:, 0]
        gaps = np.minimum(gaps, np.clip(1 - near, 0, 2))
        mass = np.cumsum(gaps, dtype=np.float64)
        if mass[-1] <= 0:
            break
        chosen.append(int(np.searchsorted(mass, rng.random() * mass[-1], side="right")))
    return chosen


def _leaders(tokens: Tokens, factor: int, protected: int, partition: Partition) -> np.ndarray:
    """(n,) int64: the first row of each row's cluster; a row that nothing joins leads itself."""
    leaders = np.arange(len(tokens.vectors), dtype=np.int64)
    fixed = leaders - tokens.offsets[tokens.owners] < protected
    if tokens.roles is not None:
        fixed |= tokens.roles == Role.MARKER
    free = np.flatnonzero(~fixed)
    for start, end in pairwise(np.searchsorted(free, tokens.offsets).tolist()):
        rows = free[start:end]
        if len(rows) < 2 * factor:
            leaders[rows] = rows[:1]
            continue
        labels = partition(row_kernels.unit(tokens.vectors[rows].astype(np.float32)), factor)
        _, first, member = np.unique(labels, return_index=True, return_inverse=True)
        leaders[rows] = rows[first[member]]
    return leaders


def _merge(tokens: Tokens, leaders: np.ndarray, renormalise: bool) -> Tokens:
    """One row for all rows with the same leader, ordered by leader."""
    firsts, group, sizes = np.unique(leaders, return_inverse=True, return_counts=True)
    members = np.argsort(group, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    sums, merged = _sums(members, bounds), sizes > 1
    vectors = tokens.vectors.astype(np.float32, copy=False)
    means = (sums @ vectors) / sizes[:, None].astype(np.float32)
    ids = None if tokens.ids is None else tokens.ids[_nearest(vectors, means, group, members)]
    if renormalise:
        means[merged] = row_kernels.unit(means[merged])
    spans, span_offsets = _gather_spans(tokens, members, bounds)
    return replace(
        tokens,
        vectors=means.astype(tokens.vectors.dtype, copy=False),
        offsets=np.searchsorted(firsts, tokens.offsets).astype(np.int64),
        ids=ids,
        spans=spans,
        span_offsets=span_offsets,
        weights=None if tokens.weights is None else sums @ tokens.weights,
        roles=None if tokens.roles is None else np.where(merged, np.uint8(Role.POOLED), tokens.roles[firsts]),
    )


def _sums(members: np.ndarray, bounds: np.ndarray) -> csr_array:
    """The (groups, n) matrix whose product with a column adds up the rows of each group."""
    from scipy.sparse import csr_array  # here, to keep the command line's start light

    return csr_array((np.ones(len(members), np.float32), members, bounds), shape=(len(bounds) - 1, len(members)))


def _nearest(vectors: np.ndarray, means: np.ndarray, group: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(groups,) the first row among those nearest to its group's mean; the two of a pair are always equally near."""
    gap = means[group]
    gap -= vectors
    distance = row_kernels.lengths(gap).astype(np.float32)
    least = np.full(len(means), np.inf, np.float32)
    np.minimum.at(least, group, distance)
    near = members[np.isclose(distance, least[group], atol=1e-6)[members]]
    return near[np.unique(group[near], return_index=True)[1]]


def _gather_spans(
    tokens: Tokens, members: np.ndarray, bounds: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The spans of rows `members[bounds[g]:bounds[g + 1]]` for each group g, in text order, and their offsets."""
    if tokens.spans is None:
        return None, None
    chosen, taken = members, np.arange(len(members) + 1, dtype=np.int64)
    if tokens.span_offsets is not None:
        chosen, taken = ragged_rows(tokens.span_offsets, members)
    spans, offsets = tokens.spans[chosen], taken[bounds]
    owners = np.repeat(np.arange(len(bounds) - 1), np.diff(offsets))
    return spans[np.lexsort((spans[:, 1], spans[:, 0], owners))], offsets
