"""The 4-bit scan and the rerank against obvious versions of both, on every instruction set."""

import itertools

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import normal, on_every_level
from plait.index.codecs import pq4
from plait.index.codecs.codec import score
from plait.index.codecs.half import Half
from plait.index.errors import DataLoss, InvalidArgument
from plait.index.kernels import vectors as kernels
from plait.index.late.flat import Flat
from plait.index.tokens import Tokens, from_matrices


def slow_scores(t: pq4.Table, numbers: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The scan's definition: sums of table entries, least per document, summed over the query, in integers."""
    subs = np.arange(len(numbers))
    scores = []
    for a, b in itertools.pairwise(offsets):
        if a == b:
            scores.append(-np.inf)
            continue
        losses = [min(int(row[subs, numbers[:, j]].astype(int).sum()) for j in range(a, b)) for row in t.losses]
        scores.append(t.tops.sum() - t.scale * sum(losses))
    return np.array(scores, np.float32)


def flat_plan(codebook: pq4.Codebook, tokens: Tokens) -> Flat:
    half = Half(tokens.dim)
    return Flat(codebook, pq4.encode(codebook, tokens.vectors), tokens.offsets, half, half.encode(tokens.vectors))


LENGTHS = st.lists(st.one_of(st.integers(0, 4), st.integers(28, 36), st.integers(60, 100)), min_size=1, max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    LENGTHS, st.sampled_from(pq4.BYTES), st.sampled_from([1, 5, 48, 96, 130]), st.integers(0, 9), st.integers(0, 2**31)
)
def test_the_scan_is_its_definition(lengths: list[int], size: int, dim: int, q: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # The bytes need not come from `fit`: extreme tables and codes are the hard case for sums in bytes.
    numbers = rng.integers(0, 16, (2 * size, sum(lengths))).astype(np.uint8)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    losses = rng.choice([0, 1, 63], (q, 2 * size, 16)).astype(np.uint8)
    losses[:, ::4] = np.where(losses[:, ::4] == 63, 66, losses[:, ::4])
    t = pq4.Table(losses, rng.standard_normal(q).astype(np.float32), 0.01)
    wanted = slow_scores(t, numbers, offsets)
    allowed = rng.random(len(lengths)) < 0.7
    for name in on_every_level():
        for mask in (None, allowed):
            got = pq4.scan(pq4.pack(numbers), offsets, t, allowed=mask)
            expected = wanted if mask is None else np.where(mask, wanted, -np.inf)
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-5, err_msg=name)


@settings(max_examples=25, deadline=None)
@given(
    LENGTHS,
    st.sampled_from(pq4.BYTES),
    st.sampled_from([1, 3, 48, 100, 128]),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
def test_scores_stay_within_the_bound(lengths: list[int], size: int, dim: int, q: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = normal(rng, [*lengths, 20], dim)
    codebook = pq4.fit(tokens.vectors, size, seed)
    codes = pq4.encode(codebook, tokens.vectors)
    query = rng.standard_normal((q, dim)).astype(np.float32)
    decoded = pq4.decode(codebook, codes, len(tokens.vectors))
    t = pq4.table(codebook, query)
    groups = t.losses.reshape(q, -1, 4, 16).max(axis=3).astype(int).sum(axis=2)
    assert groups.max() <= 255
    got = pq4.scan(codes, tokens.offsets, pq4.table(codebook, query))
    for d, found in enumerate(got):
        wanted = oracle.maxsim(query, decoded[tokens.rows(d)])
        assert found == wanted or abs(found - wanted) <= t.bound + 1e-5 * q * dim


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9), st.sampled_from([16, 64]), st.sampled_from([0.0, 1e-35, 1e-20, 1.0, 1e20]), st.integers(0, 2**31)
)
def test_a_table_is_losses_against_the_best_entry(q: int, subs: int, size: float, seed: int) -> None:
    products = (np.random.default_rng(seed).standard_normal((q, 16, subs)) * size).astype(np.float32)
    losses, tops, unit = kernels.pq4_table(products)
    best = products.max(axis=1)
    np.testing.assert_allclose(tops, best.sum(axis=1), rtol=1e-5)
    lost = (best[:, None] - products).transpose(0, 2, 1)
    assert np.abs(losses * np.float64(unit) - lost).max() <= unit * (0.5 + 1e-3)
    # As fine as bytes allow: four roundings may have taken 2 of 255 away, or given them.
    if size > 1e-30:
        assert losses.reshape(q, -1, 4, 16).max(axis=3).astype(int).sum(axis=2).max() >= 251


def test_the_table_is_fine_enough_to_rank() -> None:
    """The bound is what can happen; what does is far less: under a tenth of how documents' scores differ."""
    rng = np.random.default_rng(3)
    tokens = normal(rng, [30] * 60, 64)
    codebook = pq4.fit(tokens.vectors, 16)
    codes = pq4.encode(codebook, tokens.vectors)
    query = rng.standard_normal((12, 64)).astype(np.float32)
    decoded = pq4.decode(codebook, codes, len(tokens.vectors))
    exact = np.array([oracle.maxsim(query, decoded[tokens.rows(d)]) for d in range(60)])
    error = pq4.scan(codes, tokens.offsets, pq4.table(codebook, query)) - exact
    assert np.sqrt((error**2).mean()) < 0.1 * exact.std()


def test_a_long_query_and_a_long_document() -> None:
    rng = np.random.default_rng(0)
    tokens = normal(rng, [10_000, 0, 1, 3_000, 31], 48)
    codebook = pq4.fit(tokens.vectors[:2000], 64)
    codes = pq4.encode(codebook, tokens.vectors)
    query = rng.standard_normal((512, 48)).astype(np.float32)
    decoded = pq4.decode(codebook, codes, len(tokens.vectors))
    got = pq4.scan(codes, tokens.offsets, pq4.table(codebook, query))
    similarity = decoded @ query.T
    bound = pq4.table(codebook, query).bound
    assert got[1] == -np.inf
    for d in (0, 2, 3, 4):
        assert abs(got[d] - similarity[tokens.rows(d)].max(axis=0).sum()) <= bound


def test_threads_and_levels_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(1)
    tokens = normal(rng, rng.integers(0, 400, 200).tolist(), 96)
    codebook = pq4.fit(tokens.vectors[:5000], 8)
    query = rng.standard_normal((17, 96)).astype(np.float32)
    codes, scores, ranked = [], [], []
    positions, half, table = np.array([150, 3, 3, 70]), Half(96), pq4.table(codebook, query)
    for _ in on_every_level():
        codes.append(pq4.encode(codebook, tokens.vectors[:3000]))
        full = pq4.encode(codebook, tokens.vectors)
        for threads in (1, 2, 5):
            scores.append(pq4.scan(full, tokens.offsets, table, threads=threads))
        rows = half.encode(tokens.vectors)
        one, two = (score(half, rows, tokens.offsets, positions, query, threads) for threads in (1, 2))
        np.testing.assert_array_equal(one, two)
        ranked.append(one)
    for other in codes[1:]:
        np.testing.assert_array_equal(other, codes[0])
    for other in scores[1:]:
        np.testing.assert_array_equal(other, scores[0])
    for other in ranked[1:]:
        np.testing.assert_array_equal(other, ranked[0])


@pytest.mark.parametrize("dim", [1, 5, 48, 129])
def test_encoding_descends_the_anisotropic_loss(dim: int) -> None:
    """Every single code is the best one given the others, or the descent has not
    ended: no worse than nearest centroids."""
    rng = np.random.default_rng(dim)
    vectors = rng.standard_normal((300, dim)).astype(np.float32)
    codebook = pq4.fit(vectors, 8)
    y = np.ascontiguousarray(codebook.rotation.T @ vectors.T)

    def loss(numbers: np.ndarray) -> np.ndarray:
        left = vectors - pq4.decode(codebook, pq4.pack(numbers), len(vectors))
        along = (left * vectors).sum(axis=1) ** 2 / (vectors**2).sum(axis=1)
        return (left**2).sum(axis=1) + 4 * along

    nearest = kernels.pq4_assign(y, codebook.centroids)
    parts = y.reshape(len(codebook.centroids), -1, len(vectors))
    distances = ((parts[:, None] - codebook.centroids[:, :, :, None]) ** 2).sum(axis=2)
    chosen = np.take_along_axis(distances, nearest[:, None].astype(int), 1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(axis=1), atol=1e-5)
    settled = kernels.pq4_assign(y, codebook.centroids, pull=4, passes=30)
    assert (loss(settled) <= loss(nearest) + 1e-4).all()
    for m in range(len(settled)):
        for other in range(16):
            changed = settled.copy()
            changed[m] = other
            assert (loss(settled) <= loss(changed) + 1e-3).all(), f"sub-space {m} prefers centroid {other}"


@given(st.sampled_from(pq4.BYTES), st.integers(0, 100), st.integers(0, 2**31))
def test_pack_and_unpack(size: int, n: int, seed: int) -> None:
    numbers = np.random.default_rng(seed).integers(0, 16, (2 * size, n)).astype(np.uint8)
    codes = pq4.pack(numbers)
    assert codes.shape == (-(-n // 32), size, 32)
    np.testing.assert_array_equal(pq4.unpack(codes)[:, :n], numbers)
    assert not pq4.unpack(codes)[:, n:].any()


def test_a_codebook_is_reproducible_and_survives_bytes() -> None:
    vectors = np.random.default_rng(2).standard_normal((500, 50)).astype(np.float16)
    one, two, other = pq4.fit(vectors, 16, seed=7), pq4.fit(vectors, 16, seed=7), pq4.fit(vectors, 16, seed=8)
    np.testing.assert_array_equal(one.centroids, two.centroids)
    assert not np.array_equal(one.rotation, other.rotation)
    again = pq4.Codebook.from_bytes(one.to_bytes())
    np.testing.assert_array_equal(again.rotation, one.rotation)
    np.testing.assert_array_equal(again.centroids, one.centroids)
    # A rotation keeps lengths and angles, whatever columns of zeros it carries.
    np.testing.assert_allclose(one.rotation @ one.rotation.T, np.eye(50), atol=1e-5)
    for damage in (b"", b"PK", one.to_bytes()[:-30], one.to_bytes()[:200]):
        with pytest.raises(DataLoss):
            pq4.Codebook.from_bytes(damage)


@settings(max_examples=20, deadline=None)
@given(oracle.ragged(dim=17), st.integers(1, 5), st.integers(0, 2**31))
def test_search_with_every_candidate_is_exact(tokens: Tokens, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((4, 17)).astype(np.float32)
    codebook = pq4.fit(tokens.vectors if len(tokens.vectors) else np.ones((1, 17), np.float32), 8)
    flat = flat_plan(codebook, tokens)
    allowed = rng.random(len(tokens)) < 0.7
    found = flat.search(query, k, candidates=len(tokens) + k, allowed=allowed)
    scores = {d: oracle.maxsim(query, tokens.vectors[tokens.rows(d)]) for d in np.flatnonzero(allowed).tolist()}
    oracle.same_ranking(found, scores, k, 1e-4)


def test_a_search_reranks_the_scan_s_best() -> None:
    rng = np.random.default_rng(5)
    tokens = normal(rng, [12] * 300, 64)
    codebook = pq4.fit(tokens.vectors, 16)
    flat = flat_plan(codebook, tokens)
    query = rng.standard_normal((6, 64)).astype(np.float32)
    approximate = pq4.scan(flat.codes, flat.offsets, pq4.table(codebook, query))
    chosen = np.argsort(-approximate, kind="stable")[:25]
    exact = {d: oracle.maxsim(query, flat.records[tokens.rows(d)].astype(np.float64)) for d in chosen.tolist()}
    oracle.same_ranking(flat.search(query, 10, candidates=25), exact, 10, 1e-3)


def test_only_leaders_by_the_rarest_third_are_scanned_in_full() -> None:
    """Query rows 0 to 3 match every document equally well, so rows 4 and 5 (a third,
    the rarest) must choose leaders."""
    rng = np.random.default_rng(6)
    common, rare = np.eye(16, dtype=np.float32)[:4], np.eye(16, dtype=np.float32)[4:6]
    documents = [np.concatenate([common, rng.random((8, 16)).astype(np.float32) * 0.1]) for _ in range(400)]
    for d in range(30):
        documents[10 * d][-1] = rare[d % 2]
        documents[10 * d][-2] = rare[(d + 1) % 2] * (d % 3) / 2
    tokens = from_matrices(documents, 16)
    codebook = pq4.fit(tokens.vectors, 16)
    flat = flat_plan(codebook, tokens)
    query = np.concatenate([common, rare])
    assert set(flat.search(query, 30, 30, leaders=30).docs.tolist()) == set(range(0, 300, 10))
    # Only one in three of those is best on both rare rows; a full scan agrees.
    np.testing.assert_array_equal(
        flat.search(query, 10, 30, leaders=30).docs, flat.search(query, 10, 30, leaders=400).docs
    )


def test_wrong_arguments_are_refused() -> None:
    vectors = np.ones((40, 8), np.float32)
    codebook = pq4.fit(vectors, 8)
    codes, offsets, query = pq4.encode(codebook, vectors), np.array([0, 40]), vectors[:2]
    flat, table = Flat(codebook, codes, offsets, Half(8), vectors.astype(np.float16)), pq4.table(codebook, query)
    with pytest.raises(InvalidArgument, match="bytes_per_token is 12"):
        pq4.fit(vectors, 12)
    with pytest.raises(InvalidArgument, match="no vectors"):
        pq4.fit(vectors[:0], 8)
    with pytest.raises(InvalidArgument, match=r"\(n, 8\)"):
        pq4.encode(codebook, vectors[:, :5])
    with pytest.raises(InvalidArgument, match=r"\(q, 8\)"):
        pq4.table(codebook, query[:, :5])
    with pytest.raises(InvalidArgument, match="threads is 0"):
        pq4.scan(codes, offsets, table, threads=0)
    with pytest.raises(InvalidArgument, match="k is 5, candidates 4"):
        flat.search(query, 5, candidates=4)
    with pytest.raises(ValueError, match="offsets leave the rows"):
        pq4.scan(codes, np.array([0, 65]), table)
    with pytest.raises(ValueError, match="shapes do not fit"):
        pq4.scan(codes, offsets, table, allowed=np.ones(3, bool))
