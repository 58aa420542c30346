"""Rows per token: sparse MaxSim and its search through postings against dense loops, and
the bounds that it rests on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level
from plait.index.hits import Hits
from plait.index.kernels import terms as term_kernels
from plait.index.kernels.term_query import TermQuery
from plait.index.params import TermParams
from plait.index.sparse import postings
from plait.index.sparse.inverted import Inverted, Rows
from plait.index.sparse.query import BETA, fused, ready
from plait.index.term_rows import TermRows

FAR = np.array([0, 3, 7, 100, 70_000, 2**31, 2**32 - 1, 12, 13, 14, 15, 16], np.uint32)


def drawn(rng: np.random.Generator, lengths: list[int], keys: int, signed: bool, density: float = 0.4) -> TermRows:
    """Rows per token, some empty; weights whose products and small sums are exact, few distinct, so that ties occur."""
    space = np.sort(FAR[:keys])
    rows = [np.flatnonzero(rng.random(keys) < density) for _ in range(sum(lengths))]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    held = space[np.concatenate([np.zeros(0, np.int64), *rows]).astype(np.int64)]
    weights = rng.integers(1, 9, len(held)).astype(np.float32) / 4
    if signed:
        weights *= rng.choice([-1, 1], len(held))
    return TermRows(offsets, held, weights, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def matrices(rows: TermRows) -> list[np.ndarray]:
    """Every document as (tokens, len(FAR)) float64."""
    assert rows.row_offsets is not None
    dense = np.zeros((len(rows.offsets) - 1, len(FAR)))
    for row in range(len(dense)):
        for entry in range(rows.offsets[row], rows.offsets[row + 1]):
            dense[row, FAR.tolist().index(int(rows.keys[entry]))] = rows.weights[entry]
    return np.split(dense, rows.row_offsets[1:-1])


def brute(query: np.ndarray, documents: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(documents,) float32 sum_i max_j q_i . d_j, 0 without rows; and which documents share a key."""
    scores = [
        sum(max(float(q @ d) for d in document) if len(document) else 0.0 for q in query) for document in documents
    ]
    asked = query.any(axis=0)
    return np.array(scores, np.float32), np.array([bool((asked & d.any(axis=0)).any()) for d in documents])


def ranked(scores: np.ndarray, found: np.ndarray, k: int) -> Hits:
    docs = np.flatnonzero(found)
    docs = docs[np.lexsort((docs, -scores[docs]))][:k]
    return Hits(docs, scores[docs])


def same(got: Hits, wanted: Hits, message: str = "") -> None:
    np.testing.assert_array_equal(got.docs, wanted.docs, err_msg=message)
    np.testing.assert_array_equal(got.scores, wanted.scores, err_msg=message)


def inverted(rows: TermRows, window: int) -> Inverted:
    own = Rows(rows.offsets, rows.keys, rows.weights, rows.row_offsets)
    return Inverted(postings.build_maxima(rows, window=window), own)


LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=40)
SIGNED = st.tuples(st.booleans(), st.booleans())


@settings(max_examples=120, deadline=None)
@given(LENGTHS, st.integers(0, 6), st.sampled_from([1, 4, 12]), SIGNED, st.integers(0, 2**31))
def test_the_kernel_is_two_loops(
    lengths: list[int], tokens: int, keys: int, signed: tuple[bool, bool], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, query = drawn(rng, lengths, keys, signed[0]), drawn(rng, [tokens], keys, signed[1])
    scores, found = brute(matrices(query)[0], matrices(rows))
    wide = TermRows(rows.offsets, rows.keys, rows.weights.astype(np.float64), rows.row_offsets)
    for given_rows in (rows, wide):
        got, met = term_kernels.sparse_maxsim(query, given_rows)
        np.testing.assert_array_equal(got, scores)
        np.testing.assert_array_equal(met, found)


@settings(max_examples=150, deadline=None)
@given(
    LENGTHS,
    st.integers(0, 6),
    st.sampled_from([1, 4, 12]),
    SIGNED,
    st.sampled_from([1, 3, 16, 1000]),
    st.sampled_from([1, 2, 10, 99]),
    st.integers(0, 2**31),
)
def test_a_search_is_brute_force(
    lengths: list[int], tokens: int, keys: int, signed: tuple[bool, bool], window: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, query = drawn(rng, lengths, keys, signed[0]), drawn(rng, [tokens], keys, signed[1])
    scores, found = brute(matrices(query)[0], matrices(rows))
    some = inverted(rows, window)
    every = TermParams(term_candidates=len(lengths))
    for allowed in (None, rng.random(len(lengths)) < 0.6, rng.random(len(lengths)) < 0.05):
        wanted = ranked(scores, found if allowed is None else found & allowed, k)
        for name in on_every_level():
            for threads in (1, 3):
                same(some.find(ready(query), k, allowed=allowed, threads=threads), wanted, name)
        same(some.find(ready(query, every), k, allowed=allowed), wanted, "all are candidates")


@settings(max_examples=150, deadline=None)
@given(LENGTHS, st.integers(0, 6), st.sampled_from([1, 4, 12]), SIGNED, st.integers(0, 2**31))
def test_scores_lie_within_the_bounds(
    lengths: list[int], tokens: int, keys: int, signed: tuple[bool, bool], seed: int
) -> None:
    """s_l <= s <= s_h, and what chooses candidates between; of weights of either sign the upper bound holds."""
    rng = np.random.default_rng(seed)
    rows, query = drawn(rng, lengths, keys, signed[0]), drawn(rng, [tokens], keys, signed[1])
    exact, _ = term_kernels.sparse_maxsim(query, rows)
    documents = matrices(rows)
    greatest = np.array([d.max(axis=0, initial=0) for d in documents])
    least = np.array([d.min(axis=0, initial=0) for d in documents])

    def bound(beta: float) -> np.ndarray:
        asked, gains, losses = fused(query, beta)
        at = [FAR.tolist().index(int(key)) for key in asked]
        return greatest[:, at] @ gains.astype(float) + least[:, at] @ losses.astype(float)

    upper = bound(0)
    assert (exact <= upper + 1e-9).all()
    if not any(signed):
        lower = bound(1)
        assert (lower <= exact + 1e-9).all()
        np.testing.assert_allclose(bound(BETA), (1 - BETA) * upper + BETA * lower, rtol=1e-6)


def test_what_finds_candidates_is_never_empty() -> None:
    rng = np.random.default_rng(1)
    query = drawn(rng, [4], 12, False)
    keys = np.unique(query.keys)

    def finding(idf: list[float], **options: float) -> np.ndarray:
        return ready(query, TermParams(term_candidates=9, **options), np.array(idf)).keys  # type: ignore[arg-type]

    rare = [float(i % 3) for i in range(len(keys))]
    np.testing.assert_array_equal(finding(rare, min_idf=1.5), keys[2::3])
    np.testing.assert_array_equal(finding([1.0] * len(keys), min_idf=1.5), keys)
    heavy = keys[np.argsort(-fused(query, BETA)[1], kind="stable")[:2]]
    np.testing.assert_array_equal(finding(rare, query_terms=2), np.sort(heavy))
    assert np.isin(finding(rare, min_idf=0.5, query_terms=2), keys[np.array(rare) > 0.5]).all()


def topical(rng: np.random.Generator, documents: int) -> tuple[TermRows, list[TermRows]]:
    """Documents of 8 tokens over topics of keys, as token rows of an encoder are; queries of 3 tokens of such."""

    def rows(count: int, tokens: int) -> TermRows:
        topic = rng.integers(0, 60, count)
        keys = [np.unique(rng.integers(0, 40, 12) + 25 * topic[d]) for d in range(count) for _ in range(tokens)]
        offsets = np.concatenate([[0], np.cumsum([len(k) for k in keys])]).astype(np.int64)
        weights = rng.gamma(1, 0.5, offsets[-1]).astype(np.float32)
        return TermRows(offsets, np.concatenate(keys).astype(np.uint32), weights, np.arange(count + 1) * tokens)

    queries = rows(20, 3)
    return rows(documents, 8), [queries.take([q]) for q in range(20)]


def test_bounds_leave_out_most_documents_and_nothing_of_the_answer() -> None:
    stored, queries = topical(np.random.default_rng(2), 4000)
    some, read, every = inverted(stored, 512), 0, 0
    for query in queries:
        scores, met = term_kernels.sparse_maxsim(query, stored)
        for k in (1, 10, 300):
            same(some.find(ready(query), k), ranked(scores, met, k))
        *_, work = term_kernels.posting_search(some._index, ready(query), 10, allowed=None, threads=1)
        read, every = read + work[1], every + int(met.sum())
    assert read < 0.5 * every


@pytest.mark.parametrize("candidates", [10, 60])
def test_a_cut_keeps_exact_scores_and_finds_most(candidates: int) -> None:
    stored, queries = topical(np.random.default_rng(3), 4000)
    some, found = inverted(stored, 512), []
    for query in queries:
        scores, met = term_kernels.sparse_maxsim(query, stored)
        prepared = ready(query, TermParams(term_candidates=candidates))
        hits = some.find(prepared, 10)
        same(hits, some.find(prepared, 10, threads=3))
        np.testing.assert_array_equal(hits.scores, scores[hits.docs])
        *_, work = term_kernels.posting_search(some._index, prepared, 10, allowed=None, threads=1)
        assert work[1] == candidates
        found.append(np.isin(ranked(scores, met, 10).docs, hits.docs).mean())
    assert np.mean(found) > (0.3 if candidates == 10 else 0.7)


def test_the_kernel_refuses_rows_that_do_not_fit() -> None:
    stored, (query, *_) = topical(np.random.default_rng(4), 9)
    for change in (
        {"weights": stored.weights[1:]},
        {"offsets": stored.offsets[::-1].copy()},
    ):
        with pytest.raises(ValueError, match=r"offsets|fit"):
            term_kernels.sparse_maxsim(query, TermRows(**{**vars(stored), **change}))
    made = postings.build_maxima(stored)
    with pytest.raises(ValueError, match="float32 weights"):
        term_kernels.posting_index(made, stored.offsets, stored.keys, None, stored.row_offsets)
    one = term_kernels.posting_index(made, np.arange(10), stored.keys[:9].copy(), None)
    several = TermQuery(query, *fused(query))
    with pytest.raises(ValueError, match="several rows"):
        term_kernels.posting_search(one, several, 1, allowed=None, threads=1)
