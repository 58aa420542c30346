"""BM25 over postings of frequencies against its formula, before and after the collection's statistics change."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level, same_ranking
from plait.index.errors import InvalidArgument
from plait.index.params import Bm25
from plait.index.sparse import bm25
from scipy import sparse


def frequencies(rng: np.random.Generator, documents: int, keys: int, most: int) -> Any:
    rows = sparse.csr_array((rng.random((documents, keys)) < rng.random(keys)).astype(np.float32))
    rows.data = np.minimum(rng.zipf(1.4, rows.nnz), most).astype(np.float32)
    return rows


def formula(
    rows: Any, lengths: np.ndarray, keys: np.ndarray, weights: np.ndarray, average: float, k1: float, b: float
) -> dict[int, float]:
    """By loops over documents and query terms, without the documents that have none of them."""
    out = {}
    for d, line in enumerate(rows.toarray().astype(float)):
        norm = k1 * (1 - b + b * float(lengths[d]) / average)
        parts = [float(w) * line[key] / (line[key] + norm) for key, w in zip(keys, weights, strict=True) if line[key]]
        if parts:
            out[d] = sum(parts)
    return out


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 80),
    st.sampled_from([1, 4, 25]),
    st.sampled_from([1, 16, 4096]),
    st.sampled_from([1, 5, 300, 5000]),
    st.sampled_from([(1.2, 0.75), (0.9, 0.4), (0.0, 0.5), (2.0, 0.0), (1.5, 1.0)]),
    st.sampled_from([1, 5, 100]),
    st.integers(0, 2**31),
)
def test_scores_are_the_formula(
    documents: int, keys: int, window: int, most: int, parameters: tuple[float, float], k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = frequencies(rng, documents, keys, most)
    lengths = np.asarray(rows.sum(axis=1)).ravel() + rng.integers(0, 50, documents)
    stored = bm25.build(rows, lengths, window=window)
    asked = np.sort(rng.permutation(keys)[: rng.integers(1, keys + 1)]).astype(np.uint32)
    weights = rng.gamma(1.0, 2.0, len(asked)).astype(np.float32)
    k1, b = parameters
    for average in (float(lengths.mean()) + 0.1, 7.5):
        some = stored.scored(average, Bm25(k1, b))
        wanted = formula(rows, lengths, asked, weights, average, k1, b)
        for _ in on_every_level():
            same_ranking(some.search(asked, weights, k), wanted, k, 1e-5)


def test_many_lengths_share_codes_and_few_documents_are_scored() -> None:
    """A thousand lengths in 256 codes; sums are bounds, so the answer is that of every document scored."""
    rng = np.random.default_rng(1)
    rows = frequencies(rng, 4000, 60, 20)
    lengths = rng.integers(20, 5000, 4000)
    stored = bm25.build(rows, lengths, window=512)
    assert len(np.unique(lengths)) > 256 >= len(stored.edges)
    some = stored.scored(float(lengths.mean()))
    idf = bm25.idf(4000, np.bincount(rows.indices, minlength=60))
    for _ in range(10):
        asked = np.sort(rng.permutation(60)[:6]).astype(np.uint32)
        wanted = formula(rows, lengths, asked, idf[asked], float(lengths.mean()), 1.2, 0.75)
        same_ranking(some.search(asked, idf[asked], 10), wanted, 10, 1e-5)
        every = np.ones(4000, bool)
        one, two = some.search(asked, idf[asked], 10), some.search(asked, idf[asked], 10, allowed=every)
        np.testing.assert_array_equal(one.docs, two.docs)
        assert some.work(asked, idf[asked], 10)[1] < 2000


def test_statistics_change_without_a_build() -> None:
    """Two collections with the same segment: the same arrays, other scores."""
    rows = frequencies(np.random.default_rng(2), 50, 8, 9)
    stored = bm25.build(rows)
    one, two = stored.scored(5.0), stored.scored(50.0)
    assert one.postings is two.postings and one.rows is two.rows
    query = np.arange(8, dtype=np.uint32), np.ones(8, np.float32)
    assert (one.search(*query, 5).scores < two.search(*query, 5).scores).all()


def test_wrong_arguments_are_refused() -> None:
    rows = frequencies(np.random.default_rng(3), 9, 4, 3)
    with pytest.raises(InvalidArgument, match="average length is 0"):
        bm25.build(rows).scored(0)
    with pytest.raises(InvalidArgument, match=r"b is 1\.5"):
        bm25.build(rows).scored(3.0, Bm25(b=1.5))
    with pytest.raises(InvalidArgument, match="for each of 9 documents"):
        bm25.build(rows, np.ones(8))
    rows.data[0] = 1.5
    with pytest.raises(InvalidArgument, match=r"a frequency is 1\.5"):
        bm25.build(rows)
