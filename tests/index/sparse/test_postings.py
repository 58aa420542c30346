"""Exact search over postings against a dense dot product, on every instruction set, and the bounds it rests on."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level
from plait.index.errors import InvalidArgument
from plait.index.hits import Hits
from plait.index.kernels import terms as term_kernels
from plait.index.params import TermParams
from plait.index.sparse import inverted, postings
from plait.index.sparse.inverted import Inverted
from scipy import sparse


def weights(rng: np.random.Generator, count: int, kind: str) -> np.ndarray:
    """Weights that are float16-exact: their products and small sums are exact in float64, so tests compare bits."""
    if kind == "coarse":
        return rng.integers(1, 4, count).astype(np.float32) / 2
    if kind == "ones":
        return np.ones(count, np.float32)
    if kind == "wild":
        return (2.0 ** rng.integers(-14, 15, count)).astype(np.float32)
    return rng.gamma(1.0, 0.5, count).clip(0.001, 8).astype(np.float16).astype(np.float32)


def sparse_rows(rng: np.random.Generator, documents: int, keys: int, density: float, kind: str, signed: bool) -> Any:
    """Rows of which some are empty, some keys in none, and some stored weights zero."""
    there = rng.random((documents, keys)) < density * rng.random(keys)
    rows = sparse.csr_array(there.astype(np.float32))
    rows.data = weights(rng, rows.nnz, kind)
    rows.data[rng.random(rows.nnz) < 0.05] = 0
    if signed:
        rows.data *= rng.choice([-1, 1], rows.nnz)
    return rows


def dense_search(rows: Any, keys: np.ndarray, query: np.ndarray, k: int, allowed: np.ndarray | None) -> Hits:
    """Every dot product, then a sort: by falling score, then rising number, of the documents that share a key."""
    dense = rows.toarray().astype(np.float64)
    inside = keys < dense.shape[1]
    columns = dense[:, keys[inside].astype(np.int64)]
    scores = (columns @ query[inside].astype(np.float64)).astype(np.float32)
    shares = ((columns != 0) & (query[inside] != 0)).any(axis=1)
    if allowed is not None:
        shares &= allowed
    docs = np.flatnonzero(shares)
    order = docs[np.lexsort((docs, -scores[docs]))][:k]
    return Hits(order, scores[order])


def same(got: Hits, wanted: Hits, message: str = "") -> None:
    np.testing.assert_array_equal(got.docs, wanted.docs, err_msg=message)
    np.testing.assert_array_equal(got.scores, wanted.scores, err_msg=message)
    assert got.docs.dtype == np.int64 and got.scores.dtype == np.float32


def some_query(rng: np.random.Generator, keys: int, terms: int, kind: str, signed: bool):
    chosen = rng.permutation(keys + 3)[:terms].astype(np.uint32)
    values = weights(rng, len(chosen), kind)
    values[rng.random(len(chosen)) < 0.1] = 0
    if signed:
        values *= rng.choice([-1, 1], len(values))
    return chosen, values


KINDS = st.sampled_from(["coarse", "ones", "fine", "wild"])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 90),
    st.sampled_from([1, 3, 12, 40]),
    st.sampled_from([1, 2, 7, 32, 64, 1000]),
    st.sampled_from([0.05, 0.5, 1.5]),
    KINDS,
    st.tuples(st.booleans(), st.booleans()),
    st.tuples(st.booleans(), st.booleans()),
    st.sampled_from([1, 2, 10, 200]),
    st.integers(0, 2**31),
)
def test_a_search_is_the_dot_product(
    documents: int,
    keys: int,
    window: int,
    density: float,
    kind: str,
    signed: tuple[bool, bool],
    stored: tuple[bool, bool],
    k: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    rows = sparse_rows(rng, documents, keys, density, kind, signed[0])
    some = inverted.build(rows, presence=stored[0], half=stored[1], window=window)
    query = some_query(rng, keys, int(rng.integers(0, keys + 3)), kind, signed[1])
    for allowed in (None, rng.random(documents) < 0.6, rng.random(documents) < 0.05):
        wanted = dense_search(rows, *query, k, allowed)
        for name in on_every_level():
            for threads in (1, 3):
                same(some.search(*query, k, allowed=allowed, threads=threads), wanted, name)


def zipf(rng: np.random.Generator, documents: int, keys: int = 600, length: int = 40) -> Any:
    """Rows with frequent and rare keys; weights with all their bits."""
    key = np.minimum(rng.zipf(1.3, (documents, length)) - 1, keys - 1)
    line = np.repeat(np.arange(documents), length)
    rows = sparse.csr_array((np.ones(key.size, np.float32), (line, key.ravel())), shape=(documents, keys))
    rows.sum_duplicates()
    rows.data = rng.gamma(1.0, 0.4, rows.nnz).astype(np.float32)
    return rows


@pytest.mark.parametrize("window", [256, 4096])
def test_pruning_leaves_the_answer_as_it_is(window: int) -> None:
    """Large enough that windows stop early; that they do is asserted."""
    rng = np.random.default_rng(5)
    rows = zipf(rng, 12_000)
    some = inverted.build(rows, window=window)
    frequencies = np.bincount(rows.indices, minlength=rows.shape[1])
    read = rescored = every = 0
    for _ in range(25):
        keys = np.unique(np.minimum(rng.zipf(1.3, 20) - 1, 599)).astype(np.uint32)
        query = keys, rng.gamma(0.5, 1.0, len(keys)).astype(np.float32)
        for k in (1, 10, 300):
            wanted = dense_search(rows, *query, k, None)
            for name in on_every_level():
                same(some.search(*query, k), wanted, name)
            same(some.search(*query, k, threads=2), wanted)
        work = some.work(*query, 10)
        read, rescored, every = read + work[0], rescored + work[1], every + int(frequencies[keys].sum())
    assert read < 0.9 * every
    assert rescored < 0.1 * 25 * len(rows.indptr)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 60),
    st.sampled_from([1, 5, 30]),
    st.sampled_from([1, 7, 64]),
    KINDS,
    st.booleans(),
    st.integers(0, 2**31),
)
def test_postings_are_the_rows_rounded_up(
    documents: int, keys: int, window: int, kind: str, signed: bool, seed: int
) -> None:
    rows = sparse_rows(np.random.default_rng(seed), documents, keys, 0.7, kind, signed)
    dense = rows.toarray()
    for presence in (False, True):
        p = postings.build(rows, presence=presence, window=window)
        assert p.starts[-1] == np.count_nonzero(dense) == len(p.offsets)
        np.testing.assert_array_equal(p.keys, np.flatnonzero(dense.any(axis=0)))
        seen = np.zeros(dense.shape, bool)
        for t, key in enumerate(p.keys):
            runs = np.arange(p.term_runs[t], p.term_runs[t + 1])
            assert (np.diff(p.windows[runs].astype(int)) > 0).all()
            assert p.lows[t] == min(dense[:, key].min(), 0)
            for r in runs:
                at = slice(p.starts[r], p.starts[r + 1])
                docs = int(p.windows[r]) * window + p.offsets[at].astype(int)
                impacts = np.ones(len(docs), int) if p.impacts is None else p.impacts[at].astype(int)
                assert len(docs) and (np.diff(docs) > 0).all() and p.maxima[r] == impacts.max()
                bound, weight = impacts * p.scales[t].astype(np.float64), dense[docs, key].astype(np.float64)
                assert (bound >= weight).all() and impacts.min() >= 1
                if not presence:
                    assert (bound - weight < p.scales[t])[weight > 0].all()
                seen[docs, key] = True
        np.testing.assert_array_equal(seen, dense != 0)


def test_bytes_per_posting() -> None:
    rows = zipf(np.random.default_rng(0), 20_000)
    with_impacts, alone = postings.build(rows), postings.build(rows, presence=True)
    assert with_impacts.nbytes <= 3.3 * rows.nnz
    assert alone.nbytes <= 2.3 * rows.nnz
    assert len(alone.offsets) == rows.nnz and alone.impacts is None


def test_rows_of_ones_keep_no_weights() -> None:
    rows = zipf(np.random.default_rng(0), 500)
    rows.data[:] = 1
    some = inverted.build(rows, presence=True, window=64)
    assert some.rows.values is None
    query = np.arange(40, dtype=np.uint32), np.linspace(0.1, 2, 40, dtype=np.float32)
    same(some.search(*query, 20), inverted.build(rows).search(*query, 20))


def test_keys_of_four_bytes() -> None:
    far = np.array([5, 70_000, 2**31, 2**32 - 1], np.int64)
    rows = sparse.csr_array((np.arange(1, 9, dtype=np.float32), np.tile(far, 2), np.array([0, 4, 8])), shape=(2, 2**32))
    some = inverted.build(rows, window=1)
    np.testing.assert_array_equal(some.postings.keys, far)
    hits = some.search(far[[3, 1]].astype(np.uint32), np.array([1, 10], np.float32), 5)
    np.testing.assert_array_equal(hits.docs, [1, 0])
    np.testing.assert_array_equal(hits.scores, [8 + 60, 4 + 20])
    assert not len(some.search(np.array([6], np.uint32), np.ones(1, np.float32), 5))


def test_queries_of_any_length() -> None:
    """Beyond what two bytes can sum, documents are scored one by one; long tables have keys that meet."""
    rng = np.random.default_rng(2)
    rows = sparse.csr_array(sparse.random_array((60, 9000), density=0.1, rng=rng, dtype=np.float32))
    rows.data = weights(rng, rows.nnz, "fine")
    some = inverted.build(rows, window=16)
    for terms in (700, 8192, 8193, 9000):
        query = rng.permutation(9000)[:terms].astype(np.uint32), weights(rng, terms, "fine")
        same(some.search(*query, 7), dense_search(rows, *query, 7, None))


def test_few_allowed_documents_are_scored_one_by_one() -> None:
    rng = np.random.default_rng(3)
    rows = zipf(rng, 3000)
    some, allowed = inverted.build(rows, window=512), np.zeros(3000, bool)
    allowed[[7, 1200, 2999]] = True
    query = np.arange(12, dtype=np.uint32), np.ones(12, np.float32)
    same(some.search(*query, 10, allowed=allowed), dense_search(rows, *query, 10, allowed))
    assert not len(some.search(*query, 10, allowed=np.zeros(3000, bool)))


def test_query_terms_find_and_the_whole_query_scores() -> None:
    rows = zipf(np.random.default_rng(4), 400)
    some = inverted.build(rows, window=64)
    keys, values = np.array([9, 2, 4, 1], np.uint32), np.array([0.5, -3, 1, 0.5], np.float32)
    whole = some.search(keys, values, 400)
    for terms, kept in ((2, [2, 4]), (3, [1, 2, 4])):
        found = some.search(keys, values, 400, params=TermParams(term_candidates=400, query_terms=terms))
        held = np.flatnonzero(np.asarray(rows[:, kept].sum(axis=1)).ravel())
        mine = np.isin(whole.docs, held)
        same(found, Hits(whole.docs[mine], whole.scores[mine]))


def test_candidates_are_those_of_the_greatest_sums() -> None:
    """A sum is above the score by less than an impact level of each key, and by what its own
    rounding adds: half as much."""
    rng = np.random.default_rng(11)
    rows = zipf(rng, 6000)
    some = inverted.build(rows, window=512)
    query = np.arange(40, dtype=np.uint32), rng.gamma(0.5, 1.0, 40).astype(np.float32)
    every = dense_search(rows, *query, 6000, None)
    slack = 2 * float(some.postings.scales[:40] @ query[1])
    for candidates in (20, 100):
        params = TermParams(term_candidates=candidates)
        found = some.search(*query, 20, params=params)
        assert some.work(*query, 20, params)[1] == candidates
        same(found, some.search(*query, 20, params=params, threads=3))
        floor = every.scores[candidates - 1] - slack
        assert (found.scores >= floor).all() and len(found) == 20
        sure = every.docs[:20][every.scores[:20] > every.scores[candidates] + slack]
        assert np.isin(sure, found.docs).all()


def test_alpha_reads_less_and_scores_what_it_finds_exactly() -> None:
    rng = np.random.default_rng(6)
    rows = zipf(rng, 8000)
    some = inverted.build(rows, window=1024)
    query = np.arange(2, 30, dtype=np.uint32), rng.gamma(0.5, 1.0, 28).astype(np.float32)
    every = dense_search(rows, *query, 8000, None)
    truth = dict(zip(every.docs.tolist(), every.scores.tolist(), strict=True))
    found = some.search(*query, 20, params=TermParams(alpha=0.5))
    assert all(truth[d] == s for d, s in zip(found.docs.tolist(), found.scores.tolist(), strict=True))
    assert some.work(*query, 20, TermParams(alpha=0.5))[0] < some.work(*query, 20)[0]


def test_arrays_are_searched_from_files(tmp_path: Path) -> None:
    rows = zipf(np.random.default_rng(7), 300)
    some = inverted.build(rows, half=True, window=64)

    def mapped(record):
        arrays = {}
        for field in dataclasses.fields(record):
            value = getattr(record, field.name)
            if isinstance(value, np.ndarray):
                file = tmp_path / f"{type(record).__name__}-{field.name}"
                value.tofile(file)
                value = np.memmap(file, value.dtype, "r")
            arrays[field.name] = value
        return type(record)(**arrays)

    query = np.arange(30, dtype=np.uint32), np.ones(30, np.float32)
    same(Inverted(mapped(some.postings), mapped(some.rows)).search(*query, 9), some.search(*query, 9))


def test_wrong_arguments_are_refused() -> None:
    rows = zipf(np.random.default_rng(8), 50)
    some, one, key = inverted.build(rows), np.ones(1, np.float32), np.zeros(1, np.uint32)
    wrong = [
        (key, one, {"k": 0}, "k is 0"),
        (key, one, {"k": 1, "threads": 0}, "threads 0"),
        (key, one * np.nan, {"k": 1}, "NaN"),
        (np.array([3, 3], np.uint32), np.ones(2, np.float32), {"k": 1}, "the key 3 twice"),
        (key, np.ones(2, np.float32), {"k": 1}, "one weight for each key"),
        (key, one, {"k": 1, "allowed": np.ones(9, bool)}, r"must be bool \(50,\)"),
        (key, np.array([3e38], np.float32) * 1, {"k": 1}, "range of float32"),
    ]
    for keys, values, options, message in wrong:
        with pytest.raises(InvalidArgument, match=message):
            some.search(keys, values, **options)
    for options, message in (
        ({"alpha": 1.5}, r"alpha 1\.5"),
        ({"term_candidates": 0}, "term_candidates is 0"),
        ({"term_candidates": 9, "min_idf": -1}, "min_idf is -1"),
        ({"query_terms": 3}, "with term_candidates"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            TermParams(**options)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="window is 65537"):
        postings.build(rows, window=65_537)
    broken = rows.copy()
    broken.data[3] = np.inf
    with pytest.raises(InvalidArgument, match="NaN or infinite"):
        postings.build(broken)
    broken.data[3] = 1e5
    with pytest.raises(InvalidArgument, match="beyond float16"):
        inverted.build(broken, half=True)


def test_the_kernel_refuses_arrays_that_do_not_fit() -> None:
    some = inverted.build(zipf(np.random.default_rng(9), 50))
    p, rows = some.postings, some.rows
    for change, message in [
        ({"starts": p.starts + 1}, "leave the rows"),
        ({"starts": p.starts[:-1]}, "wrong length"),
        ({"term_runs": p.term_runs[::-1].copy()}, "offsets"),
        ({"maxima": p.maxima[1:]}, "do not fit"),
        ({"keys": p.keys[::-1].copy()}, "keys do not rise"),
        ({"window": 65_537}, "do not fit"),
    ]:
        with pytest.raises(ValueError, match=message):
            term_kernels.posting_index(dataclasses.replace(p, **change), rows.bounds, rows.keys, rows.values)
    with pytest.raises(ValueError, match="leave the rows"):
        term_kernels.posting_index(p, rows.bounds, rows.keys[:-1], None)
