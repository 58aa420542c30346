"""COIL's lists and vectors in bytes: estimates lie within their bounds of the true
products, on every instruction set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level
from plait.index.codecs.byte_rows import byte_query, scale_of, to_bytes
from plait.index.coil import lists as coil_lists
from plait.index.errors import InvalidArgument
from plait.index.kernels import terms as term_kernels
from plait.index.kernels import vectors as kernels

DIMS = st.sampled_from([1, 3, 8, 17, 32, 130])


def by_loops(
    keys: np.ndarray, vectors: np.ndarray, offsets: np.ndarray, asked: np.ndarray, queries: np.ndarray
) -> np.ndarray:
    """Scores in float64; minus infinity where no key is shared."""
    out = np.full(len(offsets) - 1, -np.inf)
    for d in range(len(out)):
        mine = range(offsets[d], offsets[d + 1])
        for key, query in zip(asked, queries, strict=True):
            here = [float(query.astype(np.float64) @ vectors[j].astype(np.float64)) for j in mine if keys[j] == key]
            if here:
                out[d] = max(out[d], 0) + max([0.0, *here])
    return out


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=0, max_size=15),
    DIMS,
    st.integers(1, 9),
    st.sampled_from([np.float16, np.float32]),
    st.sampled_from([1e-6, 1.0, 60.0]),
    st.integers(0, 2**31),
)
def test_estimates_are_within_their_bounds(
    lengths: list[int], dim: int, vocabulary: int, dtype: type, size: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    keys = rng.integers(0, vocabulary, offsets[-1]).astype(np.uint32) * 400_000_003
    vectors = (size * rng.standard_normal((offsets[-1], dim))).astype(dtype)
    vectors[rng.random(len(vectors)) < 0.1] = 0
    lists = coil_lists.build(keys, vectors, offsets)
    q = int(rng.integers(0, 6))
    asked = rng.integers(0, vocabulary + 1, q).astype(np.uint32) * 400_000_003
    queries = rng.standard_normal((q, dim)).astype(np.float32)
    truth = by_loops(keys, vectors, offsets, asked, queries)
    found, wrong = [], 0.0
    for _ in on_every_level():
        for threads in (1, 2):
            estimates, wrong = lists.estimate(asked, queries, threads)
            np.testing.assert_array_equal(estimates > -np.inf, truth > -np.inf)
            seen = truth > -np.inf
            assert (np.abs(estimates[seen] - truth[seen]) <= wrong).all()
            found.append((estimates.tobytes(), wrong))
    assert len(set(found)) == 1, "instruction sets differ"
    if dim > 8 and len(keys):
        # The bound is of use: about half a step for each entry of the query.
        steps = sum(float(np.abs(queries[i]).sum()) for i in range(q))
        assert wrong <= steps * float(np.abs(vectors).max()) / 127


def test_windows_of_documents() -> None:
    """More documents than an offset of two bytes tells apart."""
    n = coil_lists.WINDOW + 70
    rng = np.random.default_rng(3)
    keys = rng.integers(0, 3, n).astype(np.uint32)
    keys[:50] = 9
    vectors = rng.standard_normal((n, 4)).astype(np.float32)
    lists = coil_lists.build(keys, vectors, np.arange(n + 1))
    assert lists.nbytes < 6.1 * n
    queries, asked = rng.standard_normal((3, 4)).astype(np.float32), np.array([1, 9, 7], np.uint32)
    truth = np.full(n, -np.inf)
    for key, query in zip(asked, queries, strict=True):
        mine = keys == key
        truth[mine] = np.maximum(truth[mine], 0) + np.maximum(vectors[mine] @ query, 0)
    for threads in (1, 3):
        estimates, wrong = lists.estimate(asked, queries, threads)
        np.testing.assert_array_equal(np.isinf(estimates), np.isinf(truth))
        seen = truth > -np.inf
        assert np.abs(estimates[seen] - truth[seen]).max() <= wrong < 0.5


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 40), st.sampled_from([1, 7, 32, 768, 4096]), st.booleans(), st.integers(0, 2**31))
def test_products_of_bytes_are_within_their_bounds(n: int, dim: int, extreme: bool, seed: int) -> None:
    """`extreme`: all entries as great as they may be, where sums might leave 32 bits."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, dim)).astype(np.float32)
    query = rng.standard_normal(dim).astype(np.float32)
    if extreme:
        rows, query = np.sign(rows) * np.abs(rows[:, :1]), np.ones(dim, np.float32) * query[0]
        rows[: n // 2] = np.abs(rows[: n // 2])
    scales = scale_of(np.abs(rows).max(axis=1, initial=0))
    codes, asked = to_bytes(rows, scales), byte_query(query[None])
    truth = rows.astype(np.float64) @ query.astype(np.float64)
    exact = asked.codes[0].astype(np.int64) @ codes.T.astype(np.int64)
    for _ in on_every_level():
        for threads in (1, 2):
            found = term_kernels.byte_products(codes, scales, asked.codes[0], asked.steps[0], threads=threads)
            np.testing.assert_allclose(found, exact * scales.astype(np.float64) * float(asked.steps[0]), rtol=1e-6)
            assert (np.abs(found - truth) <= asked.wrong[0] * scales).all()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 300), st.integers(1, 70), st.floats(0, 3), st.booleans(), st.integers(0, 2**31))
def test_nobody_among_the_best_is_left_out(n: int, k: int, most: float, one: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.round(rng.standard_normal(n), 1).astype(np.float32)
    slack = (most * (1 if one else rng.random(n)) * np.ones(n)).astype(np.float32)
    estimates = truth + (slack * rng.uniform(-0.999, 0.999, n)).astype(np.float32)
    estimates[rng.random(n) < 0.2] = -np.inf
    allowed = rng.random(n) < 0.7 if seed % 2 else None
    there = (estimates > -np.inf) & (True if allowed is None else allowed)
    chosen = kernels.among_best(estimates, most if one else slack, k, open=allowed)
    assert there[chosen].all() and (np.diff(chosen) > 0).all()
    if there.sum() > k:
        cut = np.sort(truth[there])[-k]
        assert set(np.flatnonzero(there & (truth >= cut))) <= set(chosen)
        assert (estimates[chosen] >= cut - 4 * most - 1e-3).all(), "more than the bounds ask for"
    else:
        assert chosen.tolist() == np.flatnonzero(there).tolist()


def test_wrong_arguments_are_refused() -> None:
    keys, vectors = np.array([1, 2], np.uint32), np.ones((2, 8), np.float32)
    with pytest.raises(InvalidArgument, match="as many as the offsets"):
        coil_lists.build(keys[:1], vectors, np.array([0, 2]))
    lists = coil_lists.build(keys, vectors, np.array([0, 2]))
    with pytest.raises(ValueError, match="shapes do not fit"):
        lists.estimate(keys, vectors[:, :4])
    index, two = lists._index, np.ones(2, np.float32)
    for terms in ([0, 2], [-1, 0]):
        with pytest.raises(ValueError, match="no such term"):
            term_kernels.coil_list_scores(index, np.array(terms), vectors.astype(np.int16), two, 1, 1)
