"""Contextualised exact match against its definition by loops, on every instruction set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level, same_ranking
from plait.index import contextual
from plait.index.errors import InvalidArgument


def by_loops(
    keys: np.ndarray,
    vectors: np.ndarray,
    offsets: np.ndarray,
    asked: tuple[np.ndarray, np.ndarray],
    products: np.ndarray | None,
) -> dict[int, float]:
    """Scores of the documents that share a key; of all if there are products of global vectors."""
    out = {}
    for d in range(len(offsets) - 1):
        mine = range(offsets[d], offsets[d + 1])
        score, shares = 0.0 if products is None else float(products[d]), products is not None
        for key, query in zip(*asked, strict=True):
            here = [float(query.astype(np.float64) @ vectors[j]) for j in mine if keys[j] == key]
            shares = shares or bool(here)
            score += max([0.0, *here])
        if shares:
            out[d] = score
    return out


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 7), min_size=0, max_size=15),
    st.sampled_from([1, 8, 17, 32]),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1, 3, 40]),
    st.integers(0, 2**31),
)
def test_a_search_is_the_definition(
    lengths: list[int], dim: int, vocabulary: int, quantize: bool, whole: bool, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    keys = rng.integers(0, vocabulary, offsets[-1]).astype(np.uint32) * 1_000_003
    vectors = rng.standard_normal((offsets[-1], dim)).astype(np.float32)
    vectors[rng.random(len(vectors)) < 0.1] = 0
    global_ = rng.standard_normal((len(lengths), 5)).astype(np.float16) if whole else None
    some = contextual.build(keys, vectors, offsets, globals_=global_, quantize=quantize)
    order = np.lexsort((np.repeat(np.arange(len(lengths)), lengths), keys))
    stored = np.empty((len(keys), dim))
    stored[order] = some.vectors.astype(np.float64) * (1 if some.scales is None else some.scales[:, None])
    # A step of int8 is a 127th of the greatest entry, and half of one is lost at most.
    step = np.abs(vectors).max(axis=1, initial=0)[:, None] / (127 if quantize else 1000)
    assert (np.abs(stored - vectors) <= 0.51 * step).all()
    q = int(rng.integers(0, 6))
    asked = (rng.integers(0, vocabulary + 1, q).astype(np.uint32) * 1_000_003, rng.standard_normal((q, dim)))
    asked = asked[0], asked[1].astype(np.float32)
    one = rng.standard_normal(5).astype(np.float32) if whole else None
    products = None if global_ is None or one is None else global_.astype(np.float64) @ one
    wanted = by_loops(keys, stored, offsets, asked, products)
    allowed = rng.random(len(lengths)) < 0.6
    for _ in on_every_level():
        same_ranking(some.search(*asked, k, globals_=one), wanted, k, 1e-4)
        kept = {d: s for d, s in wanted.items() if allowed[d]}
        same_ranking(some.search(*asked, k, globals_=one, allowed=allowed, threads=2), kept, k, 1e-4)


def test_opposed_vectors_take_nothing_away() -> None:
    keys, offsets = np.array([4, 4, 9], np.uint32), np.array([0, 1, 3], np.int64)
    vectors = np.array([[-1, 0], [2, 0], [0, 1]], np.float32)
    some = contextual.build(keys, vectors, offsets, quantize=False)
    hits = some.search(np.array([4, 4, 9], np.uint32), np.array([[1, 0], [0.5, 0], [0, -3]], np.float32), 5)
    np.testing.assert_array_equal(hits.docs, [1, 0])
    np.testing.assert_array_equal(hits.scores, [3, 0])


def test_wrong_arguments_are_refused() -> None:
    keys, vectors, offsets = np.array([1, 2], np.uint32), np.ones((2, 8), np.float32), np.array([0, 2], np.int64)
    some = contextual.build(keys, vectors, offsets)
    for change, message in [
        ({"k": 0}, "k is 0"),
        ({"vectors": vectors[:, :4]}, r"need \(2, 8\)"),
        ({"vectors": vectors * np.nan}, "NaN"),
        ({"globals_": np.ones(3, np.float32)}, "the index has None"),
        ({"allowed": np.ones(2, bool)}, r"must be bool \(1,\)"),
    ]:
        with pytest.raises(InvalidArgument, match=message):
            some.search(**{"keys": keys, "vectors": vectors, "k": 1} | change)
    with pytest.raises(InvalidArgument, match="as many as the offsets"):
        contextual.build(keys[:1], vectors, offsets)
    with pytest.raises(InvalidArgument, match="one for each of 1 documents"):
        contextual.build(keys, vectors, offsets, globals_=vectors)
    with pytest.raises(InvalidArgument, match="beyond float16"):
        contextual.build(keys, vectors * 1e6, offsets, quantize=False)
