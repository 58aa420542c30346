"""COIL's exact scores and products of halves: the compiled loops against loops, to the bit
alike on every instruction set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level
from plait.index.codecs.precisions import codec
from plait.index.kernels import terms as term_kernels

DIMS = st.sampled_from([1, 3, 8, 17, 32, 130])


def by_loops(
    floats: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    documents: np.ndarray,
    asked: np.ndarray,
    query: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores, minus infinity where no id is shared, and the best products of each query token, 0 without any."""
    scores, table = np.full(len(documents), -np.inf), np.zeros((len(documents), len(asked)))
    for c, d in enumerate(documents):
        mine = range(offsets[d], offsets[d + 1])
        for i, id in enumerate(asked):
            here = [float(floats[j].astype(np.float64) @ query[i].astype(np.float64)) for j in mine if ids[j] == id]
            if here:
                table[c, i] = max(here)
                scores[c] = max(scores[c], 0) + max(table[c, i], 0)
    return scores, table


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=40),
    DIMS,
    st.sampled_from(["float16", "int8", "float32"]),
    st.integers(0, 20),
    st.integers(1, 12),
    st.integers(0, 2**31),
)
def test_the_best_products_at_equal_ids(
    lengths: list[int], dim: int, kept: str, q: int, vocabulary: int, seed: int
) -> None:
    """Ids with the same lower bits among them, and one asked for again and again."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    vectors = rng.standard_normal((offsets[-1], dim)).astype(np.float32)
    known = np.concatenate([rng.integers(0, 1 << 32, vocabulary), 5 + (np.arange(3) << 12)]).astype(np.uint32)
    ids, asked = rng.choice(known, len(vectors)), rng.choice(known, q)
    query = rng.standard_normal((q, dim)).astype(np.float32)
    documents = rng.permutation(len(lengths))[: int(rng.integers(0, len(lengths) + 1))]
    codec_ = None if kept == "float32" else codec(kept, dim)
    rows = vectors if codec_ is None else codec_.encode(vectors)
    floats = vectors if codec_ is None else codec_.floats(rows)
    wanted, best = by_loops(floats, ids, offsets, documents, asked, query)
    found = set()
    for _ in on_every_level():
        products, tokens = np.empty((len(documents), q)), np.empty((len(documents), q), np.int64)
        scores = term_kernels.coil_scores(rows, ids, offsets, documents, asked, query, (products, tokens))
        np.testing.assert_allclose(scores, wanted, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(products, best, rtol=1e-12, atol=1e-12)
        for c, i in np.ndindex(tokens.shape):
            first, last = offsets[documents[c] : documents[c] + 2]
            if tokens[c, i] < 0:
                assert asked[i] not in ids[first:last]
            else:
                at = first + tokens[c, i]
                assert first <= at < last and ids[at] == asked[i]
                assert abs(floats[at].astype(np.float64) @ query[i].astype(np.float64) - best[c, i]) < 1e-12
        assert term_kernels.coil_scores(rows, ids, offsets, documents, asked, query).tobytes() == scores.tobytes()
        found.add((scores.tobytes(), products.tobytes(), tokens.tobytes()))
    assert len(found) == 1, "instruction sets differ"


def test_of_equal_products_the_first_token_is_named() -> None:
    rows, ids = np.ones((5, 8), np.float16), np.array([7, 9, 7, 9, 9], np.uint32)
    asked, table = np.array([9, 7, 3], np.uint32), (np.empty((1, 3)), np.empty((1, 3), np.int64))
    for sign in (1, -1):
        query = np.full((3, 8), sign, np.float32)
        for _ in on_every_level():
            (score,) = term_kernels.coil_scores(rows, ids, np.array([0, 5]), np.array([0]), asked, query, table)
            assert score == max(16 * sign, 0)
            assert table[0].tolist() == [[8 * sign, 8 * sign, 0]] and table[1].tolist() == [[1, 0, -1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.sampled_from([1, 7, 8, 33, 768]), st.integers(0, 2**31))
def test_products_of_halves(n: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, query = rng.standard_normal((n, dim)).astype(np.float16), rng.standard_normal(dim).astype(np.float32)
    places = rng.integers(0, n, 2 * n)
    found = set()
    for _ in on_every_level():
        out = term_kernels.half_products(rows, places, query)
        wanted = rows[places].astype(np.float64) @ query.astype(np.float64)
        np.testing.assert_allclose(out, wanted, rtol=1e-12, atol=1e-12)
        found.add(out.tobytes())
    assert len(found) == 1, "instruction sets differ"


def test_wrong_arguments_are_refused() -> None:
    rows, ids, query = np.ones((4, 8), np.float16), np.zeros(4, np.uint32), np.ones((1, 8), np.float32)
    asked, one, offsets = np.zeros(1, np.uint32), np.zeros(1, np.int64), np.array([0, 4])
    for changed, message in (
        ((rows[:3], ids, offsets, one), "shapes do not fit"),
        ((rows[:, :7].copy(), ids, offsets, one), "shapes do not fit"),
        ((rows, ids, offsets, one + 1), "no such document"),
        ((rows, ids, offsets, one - 1), "no such document"),
        ((rows, ids, offsets + 1, one), "leave the rows"),
        ((rows, ids, offsets[::-1].copy(), one), "leave the rows"),
    ):
        with pytest.raises(ValueError, match=message):
            term_kernels.coil_scores(*changed, asked, query)
    for places in ([4], [-1]):
        with pytest.raises(ValueError, match="no such row"):
            term_kernels.half_products(rows, np.array(places), query[0])
    with pytest.raises(ValueError, match="shapes do not fit"):
        term_kernels.half_products(rows, one, query[0, :7])
