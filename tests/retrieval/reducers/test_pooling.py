"""Pooling against the definition: a naive Ward, and every column recomputed row by row in float64.

Each row's span is its own number, so the members of a pooled row can be read back from its spans.
"""

from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.tokens import COLUMNS, Role, Tokens, check, concatenate, from_matrices
from plait.retrieval.reducers import pooling

METHODS = ("hierarchical", "kmeans", "sequential")
LINKAGES = ("euclidean", "cosine", "profile")
lengths = st.lists(st.integers(0, 14), max_size=5)
seeds = st.integers(0, 2**32 - 1)


def batch(lengths, dim, seed, dtype: Any = np.float32) -> Any:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    vectors = rng.standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Tokens(
        vectors.astype(dtype),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=rng.integers(0, 1000, n).astype(np.uint32),
        spans=np.stack([np.arange(n), np.arange(n) + 1], axis=1).astype(np.uint32).reshape(n, 2),
        weights=rng.random(n).astype(np.float32),
        roles=rng.choice([Role.WORD, Role.MARKER, Role.SEP], n, p=[0.8, 0.1, 0.1]).astype(np.uint8),
        globals_=rng.standard_normal((len(lengths), 3)).astype(np.float32),
    )


def pool(tokens, *arguments, **options) -> Any:
    return check(pooling.pool(tokens, *arguments, **options))


def members(pooled):
    """The row numbers that each pooled row came from, document by document."""
    return [
        [pooled.spans_of(row)[:, 0].tolist() for row in range(*pooled.rows(i).indices(len(pooled.vectors)))]
        for i in range(len(pooled))
    ]


def free_rows(tokens, document, protected):
    rows = range(int(tokens.offsets[document]), int(tokens.offsets[document + 1]))
    return [r for place, r in enumerate(rows) if place >= protected and tokens.roles[r] != Role.MARKER]


def distances(vectors, linkage):
    gaps = 1 - vectors @ vectors.T
    if linkage == "cosine":
        return gaps
    if linkage == "euclidean":
        return np.sqrt(np.maximum(2 * gaps, 0))
    return np.array([[np.linalg.norm(a - b) for b in gaps] for a in gaps])


def naive_ward(square, clusters):
    """Merges the closest pair until `clusters` are left; distances by Lance and Williams' formula for Ward."""
    groups = {i: [i] for i in range(len(square))}
    squared = {(i, j): square[i, j] ** 2 for i in groups for j in groups if i < j}
    while len(groups) > clusters:
        i, j = min(squared, key=squared.__getitem__)
        for k in groups.keys() - {i, j}:
            ik, jk = (min(i, k), max(i, k)), (min(j, k), max(j, k))
            a, b, c = len(groups[i]), len(groups[j]), len(groups[k])
            squared[ik] = ((a + c) * squared[ik] + (b + c) * squared[jk] - c * squared[i, j]) / (a + b + c)
        groups[i] = sorted(groups[i] + groups.pop(j))
        squared = {pair: d for pair, d in squared.items() if j not in pair}
    return sorted(groups.values())


def same(a, b):
    for name in COLUMNS:
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None), name
        if x is not None:
            assert x.dtype == y.dtype, name
            np.testing.assert_array_equal(x, y, err_msg=name)


@pytest.mark.parametrize("linkage", LINKAGES)
@given(
    lengths=lengths, dim=st.sampled_from([3, 5, 8]), factor=st.integers(2, 5), protected=st.integers(0, 2), seed=seeds
)
@settings(max_examples=40, deadline=None)
def test_hierarchical_is_ward_on_the_named_distances(linkage, lengths, dim, factor, protected, seed):
    tokens = batch(lengths, dim, seed)
    got = members(pool(tokens, factor, linkage=linkage, protected=protected))
    for i in range(len(tokens)):
        free = free_rows(tokens, i, protected)
        square = distances(tokens.vectors[free].astype(np.float64), linkage)
        want = naive_ward(square, max(1, len(free) // factor)) if free else []
        alone = [[r] for r in range(*tokens.rows(i).indices(len(tokens.vectors))) if r not in free]
        assert got[i] == sorted(alone + [[free[m] for m in group] for group in want])


def test_the_three_linkages_differ():
    tokens = batch([60], 6, 0)
    results = [members(pool(tokens, 4, linkage=linkage)) for linkage in LINKAGES]
    assert results[0] != results[1] and results[1] != results[2] and results[0] != results[2]


@given(lengths=lengths, factor=st.integers(2, 5), protected=st.integers(0, 2), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_sequential_pools_windows_and_the_last_takes_the_rest(lengths, factor, protected, seed):
    tokens = batch(lengths, 3, seed)
    got = members(pool(tokens, factor, "sequential", protected=protected))
    for i in range(len(tokens)):
        free = free_rows(tokens, i, protected)
        windows = [free[s : s + factor] for s in range(0, len(free), factor)]
        if len(windows) > 1 and len(windows[-1]) < factor:
            windows[-2:] = [windows[-2] + windows[-1]]
        assert [g for g in got[i] if g[0] in free] == windows


@given(length=st.integers(4, 40), factor=st.integers(2, 5), seed=seeds)
@settings(max_examples=40, deadline=None)
def test_kmeans_ends_where_every_row_is_with_its_nearest_mean(length, factor, seed):
    tokens = batch([length], 5, seed)
    tokens.roles[:] = Role.WORD
    groups = members(pool(tokens, factor, "kmeans", protected=0))[0]
    assert len(groups) <= max(1, length // factor)
    vectors = tokens.vectors.astype(np.float64)
    means = np.array([vectors[group].mean(axis=0) for group in groups])
    for g, group in enumerate(groups):
        for row in group:
            gaps = np.linalg.norm(means - vectors[row], axis=1)
            assert gaps[g] <= gaps.min() + 1e-5


def test_kmeans_finds_clusters_that_lie_apart_whatever_the_seed():
    rng = np.random.default_rng(3)
    rows = np.repeat(np.eye(6, dtype=np.float32), 4, axis=0) + 0.01 * rng.standard_normal((24, 6)).astype(np.float32)
    tokens = from_matrices([rows])
    for seed in range(5):
        pooled = pool(tokens, 4, "kmeans", protected=0, seed=seed)
        np.testing.assert_allclose(pooled.vectors, np.eye(6), atol=0.03)
    tokens = batch([60], 4, 1)
    same(pool(tokens, 3, "kmeans", seed=7), pool(tokens, 3, "kmeans", seed=7))
    assert members(pool(tokens, 3, "kmeans", seed=7)) != members(pool(tokens, 3, "kmeans", seed=8))


@pytest.mark.parametrize("method", METHODS)
@given(
    lengths=lengths,
    dim=st.integers(1, 9),
    factor=st.integers(2, 6),
    protected=st.integers(0, 3),
    renormalise=st.booleans(),
    half=st.booleans(),
    seed=seeds,
)
@settings(max_examples=60, deadline=None)
def test_every_column_follows_the_partition(method, lengths, dim, factor, protected, renormalise, half, seed):
    tokens = batch(lengths, dim, seed, np.float16 if half else np.float32)
    pooled = pool(tokens, factor, method, protected=protected, renormalise=renormalise)
    assert pooled.vectors.dtype == tokens.vectors.dtype and pooled.globals_ is tokens.globals_
    groups = members(pooled)
    exact = tokens.vectors.astype(np.float64)
    for i, document in enumerate(groups):
        rows = list(range(int(tokens.offsets[i]), int(tokens.offsets[i + 1])))
        free = free_rows(tokens, i, protected)
        assert sorted(chain(*document)) == rows
        assert [g[0] for g in document] == sorted(g[0] for g in document)
        assert all([r] in document for r in rows if r not in free)
        if free:
            assert 1 <= len(document) - (len(rows) - len(free)) <= max(1, len(free) // factor)
    for row, group in enumerate(chain(*groups)):
        mean = exact[group].mean(axis=0)
        gaps = np.linalg.norm(exact[group] - mean, axis=1)
        allowed = (
            [group[0]]
            if len(group) <= 2
            else [r for r, gap in zip(group, gaps, strict=True) if gap <= gaps.min() + 1e-4]
        )
        assert pooled.ids[row] in tokens.ids[allowed]
        np.testing.assert_allclose(pooled.weights[row], sum(float(tokens.weights[r]) for r in group), rtol=1e-5)
        assert pooled.roles[row] == (tokens.roles[group[0]] if len(group) == 1 else Role.POOLED)
        if len(group) == 1:
            np.testing.assert_array_equal(pooled.vectors[row], tokens.vectors[group[0]])
        elif not renormalise:
            np.testing.assert_allclose(pooled.vectors[row], mean, atol=1e-3 if half else 1e-6)
        elif np.linalg.norm(mean) > 1e-2:
            np.testing.assert_allclose(pooled.vectors[row], mean / np.linalg.norm(mean), atol=1e-3 if half else 1e-4)


@pytest.mark.parametrize("method", METHODS)
@given(lengths=lengths, seed=seeds)
@settings(max_examples=20, deadline=None)
def test_a_document_pools_alike_in_any_batch_and_order(method, lengths, seed):
    tokens = batch(lengths, 5, seed)
    pooled = pool(tokens, 2, method)
    order = np.random.default_rng(seed).permutation(len(tokens))
    same(pool(tokens.take(order), 2, method), pooled.take(order))
    if lengths:
        single = concatenate([pool(tokens.take([i]), 2, method) for i in range(len(tokens))])
        np.testing.assert_array_equal(single.vectors, pooled.vectors)
        np.testing.assert_array_equal(single.offsets, pooled.offsets)
        assert members(single) == members(pooled)


@given(lengths=lengths, seed=seeds)
@settings(max_examples=20, deadline=None)
def test_pooling_twice_keeps_every_span_once_and_in_text_order(lengths, seed):
    tokens = batch(lengths, 4, seed)
    twice = pool(pool(tokens, 2), 2)
    for i, document in enumerate(members(twice)):
        assert sorted(chain(*document)) == list(range(int(tokens.offsets[i]), int(tokens.offsets[i + 1])))
        assert all(group == sorted(group) for group in document)


def test_factor_one_changes_nothing_and_columns_may_be_absent():
    tokens = batch([5, 0, 1], 3, 0)
    assert pooling.pool(tokens, 1) is tokens
    bare = pool(from_matrices([tokens.vectors[:5]]), 2)
    np.testing.assert_array_equal(bare.vectors, pool(batch([5], 3, 0), 2, protected=1).vectors)
    assert [name for name in COLUMNS if getattr(bare, name) is not None] == ["vectors", "offsets"]


def test_unlike_and_equal_rows():
    opposite = from_matrices([np.array([[1, 0], [0, 1], [0, -1]], np.float32)])
    np.testing.assert_array_equal(pool(opposite, 2).vectors, [[1, 0], [0, 0]])
    equal = from_matrices([np.full((9, 4), 0.5, np.float32)])
    for method in METHODS:
        pooled = pool(equal, 2, method)
        assert 2 <= len(pooled.vectors) <= 5
        np.testing.assert_allclose(pooled.vectors, 0.5, atol=1e-6)


def test_the_id_is_that_of_the_member_nearest_to_the_mean():
    rows = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    ids = np.array([7, 8, 9], np.uint32)
    tokens = Tokens(rows, np.array([0, 3]), ids)
    assert pool(tokens, 3, protected=0).ids.tolist() == [8]
    assert pool(tokens, 2, protected=1).ids.tolist() == [7, 8]


def test_markers_stay_wherever_they_are():
    tokens = batch([8], 3, 5)
    tokens.roles[:] = Role.WORD
    tokens.roles[4] = Role.MARKER
    pooled = pool(tokens, 7)
    assert members(pooled) == [[[0], [1, 2, 3, 5, 6, 7], [4]]]
    assert pooled.roles.tolist() == [Role.WORD, Role.POOLED, Role.MARKER]


def test_one_vector_per_document():
    tokens = batch([3, 0, 2], 4, 1)
    tokens.globals_[2] = 0
    single: Any = check(pooling.pool_to_globals(tokens))
    assert single.offsets.tolist() == [0, 1, 2, 3] and single.dim == 3 and single.ids is None
    for i in range(2):
        want = tokens.globals_[i].astype(np.float64)
        np.testing.assert_allclose(single.vectors[i], want / np.linalg.norm(want), atol=1e-6)
    np.testing.assert_array_equal(single.vectors[2], 0)
    assert members(single) == [[[0, 1, 2]], [[]], [[3, 4]]]
    w = tokens.weights
    np.testing.assert_allclose(single.weights, [w[:3].sum(), 0, w[3:].sum()], rtol=1e-6)
    assert single.roles.tolist() == [Role.POOLED] * 3
    pooled = pooling.pool_to_globals(pool(tokens, 2))
    assert members(pooled) == members(single)
    np.testing.assert_array_equal(pooled.vectors, single.vectors)


def test_errors_name_value_and_remedy():
    tokens = from_matrices([np.eye(3, dtype=np.float32)])
    with pytest.raises(InvalidArgument, match=r"factor is 0.*at least 1"):
        pool(tokens, 0)
    with pytest.raises(InvalidArgument, match="protected is -1"):
        pool(tokens, 2, protected=-1)
    with pytest.raises(InvalidArgument, match=r"'median'.*hierarchical, kmeans, sequential"):
        pool(tokens, 2, "median")
    with pytest.raises(InvalidArgument, match=r"'ward'.*euclidean, cosine, profile"):
        pool(tokens, 2, linkage="ward")
    with pytest.raises(FailedPrecondition, match="globals_"):
        pooling.pool_to_globals(tokens)
