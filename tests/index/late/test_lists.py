"""The lists plan against an obvious version of its definition, and against exact MaxSim, on every instruction set."""

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import normal, on_every_level
from plait.index.codecs import kmeans as clustering
from plait.index.codecs import pq4
from plait.index.codecs.half import Half
from plait.index.errors import InvalidArgument
from plait.index.kernels import vectors as kernels
from plait.index.late import lists
from plait.index.late.flat import Flat
from plait.index.late.lists import Lists
from plait.index.tokens import Tokens

LENGTHS = st.lists(st.one_of(st.integers(0, 4), st.integers(28, 36), st.integers(60, 100)), min_size=1, max_size=12)


def plan(tokens: Tokens, count: int, size: int = 8) -> Lists:
    sample = tokens.vectors if len(tokens.vectors) else np.ones((1, tokens.dim), np.float32)
    codebook, centroids = pq4.fit(sample, size), clustering.fit(sample, count)
    postings = lists.build(codebook, centroids, tokens.vectors, tokens.offsets)
    half = Half(tokens.dim)
    return Lists(codebook, centroids, postings, tokens.offsets, half, half.encode(tokens.vectors))


def slow_gains(some: Lists, tokens: Tokens, query: np.ndarray, nprobe: int) -> np.ndarray:
    """The definition by loops over documents and query rows: no lists, no order, no blocks, no board."""
    table = pq4.table(some.codebook, query)
    numbers = pq4.unpack(pq4.encode(some.codebook, tokens.vectors))
    near = (query @ some.centroids.T).astype(np.float32)
    home = clustering.assign(some.centroids, tokens.vectors)
    gains = np.zeros(len(tokens), np.int64)
    for i, line in enumerate(near):
        last = np.sort(line)[::-1][min(nprobe, len(line)) - 1]
        floor = round(float((table.tops[i] - last) / np.float32(table.scale))) if nprobe < len(line) else 65535
        for d in range(len(tokens)):
            seen = [j for j in range(tokens.offsets[d], tokens.offsets[d + 1]) if line[home[j]] >= last]
            subs = np.arange(len(numbers))
            losses = [int(table.losses[i, subs, numbers[:, j]].astype(int).sum()) for j in seen]
            gains[d] += max(0, min(max(floor, 0), 65535) - min(losses, default=65535))
    return gains


@settings(max_examples=40, deadline=None)
@given(
    LENGTHS,
    st.sampled_from(pq4.BYTES),
    st.sampled_from([1, 5, 48, 130]),
    st.integers(1, 9),
    st.integers(1, 12),
    st.integers(1, 13),
    st.integers(0, 2**31),
)
def test_gains_are_their_definition(
    lengths: list[int], size: int, dim: int, q: int, count: int, nprobe: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    tokens = normal(rng, lengths, dim)
    some = plan(tokens, count, size)
    query = rng.standard_normal((q, dim)).astype(np.float32)
    wanted = slow_gains(some, tokens, query, nprobe)
    allowed = rng.random(len(lengths)) < 0.5
    for name in on_every_level():
        np.testing.assert_array_equal(some.gains(query, nprobe), wanted, err_msg=name)
        got = some.gains(query, nprobe, allowed=allowed)
        np.testing.assert_array_equal(got, np.where(allowed, wanted, 0), err_msg=name)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5), st.integers(1, 6), st.sampled_from([1, 7, 40, 9000]), st.integers(0, 2**31))
def test_the_kernel_takes_any_bytes(blocks: int, q: int, count: int, seed: int) -> None:
    """Extreme tables and floors, documents out of order and out of range: what a sane build does not make."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 16, (16, blocks * 32)).astype(np.uint8)
    # A large count: most documents are never seen. Few of those that are seen: they are seen again and again.
    documents = rng.choice(rng.integers(0, count + 5, 30), blocks * 32).astype(np.uint32)
    documents[rng.random(len(documents)) < 0.1] = 2**32 - 1
    bounds = np.sort(np.concatenate([[0, blocks], rng.integers(0, blocks + 1, 3)])).astype(np.int64)
    table = rng.choice([0, 1, 63], (q, 16, 16)).astype(np.uint8)
    floors = rng.choice([0, 1, 200, 1100, 32767, 32768, 65535], q).astype(np.uint16)
    probed = rng.random((4, q)) < 0.6
    allowed = rng.random(count) < 0.5
    wanted = np.zeros(count, np.int64)
    for i in range(q):
        best = np.zeros(count, np.int64)
        for at in np.flatnonzero(np.repeat(probed[:, i], np.diff(bounds) * 32)):
            loss = int(table[i, np.arange(16), numbers[:, at]].astype(int).sum())
            if documents[at] < count:
                best[documents[at]] = max(best[documents[at]], int(floors[i]) - loss)
        wanted += best
    which, rows = np.nonzero(probed)
    codes = pq4.pack(numbers) if blocks else np.zeros((0, 8, 32), np.uint8)
    for name in on_every_level():
        for mask in (None, allowed):
            got = kernels.list_gains(
                codes, documents, bounds, table, floors, which, rows, count, allowed=mask, threads=1
            )
            expected = wanted if mask is None else np.where(mask, wanted, 0)
            np.testing.assert_array_equal(got, expected, err_msg=name)


@settings(max_examples=30, deadline=None)
@given(oracle.ragged(dim=17), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_search_with_every_candidate_is_exact(tokens: Tokens, k: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((4, 17)).astype(np.float32)
    some, allowed = plan(tokens, count), rng.random(len(tokens)) < 0.7
    for mask in (None, allowed):
        kept = np.flatnonzero(np.ones(len(tokens)) if mask is None else mask).tolist()
        scores = {d: oracle.maxsim(query, tokens.vectors[tokens.rows(d)]) for d in kept}
        found = some.search(query, k, candidates=len(tokens) + k, nprobe=count, allowed=mask)
        oracle.same_ranking(found, scores, k, 1e-4)


@settings(max_examples=25, deadline=None)
@given(LENGTHS, st.integers(1, 9), st.integers(1, 8), st.integers(0, 2**31))
def test_all_lists_rank_as_the_flat_plan(lengths: list[int], count: int, q: int, seed: int) -> None:
    """Nothing is imputed then: gains are the flat scan's scores, to the bit of its integers."""
    rng = np.random.default_rng(seed)
    tokens = normal(rng, lengths, 40)
    some, query = plan(tokens, count), rng.standard_normal((q, 40)).astype(np.float32)
    table = pq4.table(some.codebook, query)
    codes = pq4.encode(some.codebook, tokens.vectors)
    flat = pq4.scan(codes, tokens.offsets, table)
    gains = some.gains(query, count).astype(np.float64)
    filled = np.diff(tokens.offsets) > 0
    losses = np.rint((table.tops.sum(dtype=np.float64) - flat[filled]) / table.scale)
    np.testing.assert_array_equal(65535.0 * q - gains[filled], losses)
    assert not gains[~filled].any()
    candidates = max(1, len(lengths) // 2)
    one = some.search(query, 1, candidates, nprobe=count)
    two = Flat(some.codebook, codes, tokens.offsets, some.codec, some.records)
    np.testing.assert_array_equal(one.docs, two.search(query, 1, candidates, leaders=len(lengths)).docs)


@settings(max_examples=30, deadline=None)
@given(LENGTHS, st.integers(2, 9), st.integers(1, 3), st.integers(1, 6), st.integers(0, 2**31))
def test_a_search_reranks_those_that_gain_most(lengths: list[int], count: int, nprobe: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    tokens = normal(rng, lengths, 20)
    some, query = plan(tokens, count), rng.standard_normal((5, 20)).astype(np.float32)
    allowed, candidates = rng.random(len(lengths)) < 0.8, k + 1
    gains = slow_gains(some, tokens, query, nprobe)
    filled = [d for d in range(len(lengths)) if allowed[d] and lengths[d]]
    chosen = sorted(filled, key=lambda d: (-gains[d], d))[:candidates]
    rows = some.records.astype(np.float64)
    scores = {d: oracle.maxsim(query, rows[tokens.rows(d)]) for d in chosen}
    oracle.same_ranking(some.search(query, k, candidates, nprobe=nprobe, allowed=allowed), scores, k, 1e-3)


def test_threads_do_not_change_a_bit() -> None:
    rng = np.random.default_rng(1)
    tokens = normal(rng, rng.integers(0, 400, 300).tolist(), 32)
    some = plan(tokens, 16)
    query, allowed = rng.standard_normal((29, 32)).astype(np.float32), rng.random(300) < 0.3
    # Enough for three threads: a task has at least 2^13 blocks times query rows.
    assert len(query) * len(some.postings.codes) * 12 / 16 > 3 << 13
    for mask in (None, allowed):
        one = some.gains(query, 12, allowed=mask)
        assert one.any()
        for threads in (2, 3, 64):
            np.testing.assert_array_equal(some.gains(query, 12, allowed=mask, threads=threads), one)
        first, second = (some.search(query, 10, 50, nprobe=12, allowed=mask, threads=n) for n in (1, 3))
        np.testing.assert_array_equal(first.docs, second.docs)
        np.testing.assert_array_equal(first.scores, second.scores)


@settings(max_examples=40, deadline=None)
@given(oracle.ragged(), st.integers(1, 20), st.integers(0, 2**31))
def test_every_token_stands_once_in_the_list_of_its_centroid(tokens: Tokens, count: int, seed: int) -> None:
    sample = tokens.vectors if len(tokens.vectors) else np.ones((1, tokens.dim), np.float32)
    codebook, centroids = pq4.fit(sample, 8, seed), clustering.fit(sample, count, seed)
    p = lists.build(codebook, centroids, tokens.vectors, tokens.offsets)
    assert p.documents.dtype == np.uint32 and len(p.documents) == 32 * len(p.codes) == 32 * p.bounds[-1]
    home = clustering.assign(centroids, tokens.vectors)
    near = tokens.vectors.astype(np.float64) @ centroids.T
    np.testing.assert_allclose(near[np.arange(len(home)), home], near.max(axis=1), atol=1e-5)
    owner = np.repeat(np.arange(len(tokens)), np.diff(tokens.offsets))
    coded = pq4.unpack(pq4.encode(codebook, tokens.vectors))
    stored = pq4.unpack(p.codes)
    for number in range(count):
        places = np.arange(32 * p.bounds[number], 32 * p.bounds[number + 1])
        mine = np.flatnonzero(home == number)
        assert len(places) == -(-len(mine) // 32) * 32
        np.testing.assert_array_equal(p.documents[places[: len(mine)]], owner[mine])
        np.testing.assert_array_equal(stored[:, places[: len(mine)]], coded[:, mine])
        assert (p.documents[places[len(mine) :]] == len(tokens)).all()


def test_centroids_are_reproducible_and_find_clusters() -> None:
    rng = np.random.default_rng(3)
    truth = np.linalg.qr(rng.standard_normal((32, 32)))[0][:8].astype(np.float32)
    points = np.repeat(truth, 50, axis=0) + 0.02 * rng.standard_normal((400, 32)).astype(np.float32)
    one = clustering.fit(points, 24, seed=5)
    np.testing.assert_array_equal(one, clustering.fit(points, 24, seed=5))
    nearest = clustering.assign(one, points)
    # All are as long as a token is along the direction of its centroid, on average.
    lengths = np.linalg.norm(one, axis=1)
    along = (one[nearest] * points).sum(axis=1) / lengths[nearest]
    np.testing.assert_allclose(lengths, along.mean(), rtol=1e-5)
    for cluster in range(8):
        others = np.delete(nearest, slice(50 * cluster, 50 * cluster + 50))
        assert not np.isin(nearest[50 * cluster : 50 * cluster + 50], others).any()
    coarse = clustering.fit(points, 1)
    assert lengths[0] > 0.98 and np.linalg.norm(coarse) < 0.5


@pytest.mark.parametrize(("tokens", "wanted"), [(0, 1), (1, 1), (100, 8), (571_171, 1024), (10**8, 8192)])
def test_lists_grow_with_the_root_of_the_tokens(tokens: int, wanted: int) -> None:
    assert lists.count(tokens) == wanted


def test_wrong_arguments_are_refused() -> None:
    tokens = normal(np.random.default_rng(0), [40, 40], 8)
    some, query = plan(tokens, 2), np.ones((2, 8), np.float32)
    with pytest.raises(InvalidArgument, match="k is 5, candidates 4"):
        some.search(query, 5, 4)
    with pytest.raises(InvalidArgument, match="nprobe is 0"):
        some.search(query, 1, nprobe=0)
    with pytest.raises(InvalidArgument, match="threads 0"):
        some.search(query, 1, threads=0)
    with pytest.raises(InvalidArgument, match="3 lists cannot be learned from 0 vectors"):
        clustering.fit(np.zeros((0, 8), np.float32), 3)
    p, losses = some.postings, np.zeros((2, 16, 16), np.uint8)
    floors, zero = np.zeros(2, np.uint16), np.zeros(1, np.int64)
    twice = np.zeros(2, np.int64)
    wrong_pairs = [
        (zero + 2, zero, "no such list"),
        (zero, zero + 2, "no such list"),
        (zero, zero[:0], "fit"),
        (twice, twice, "do not rise"),
    ]
    for which, rows, wrong in wrong_pairs:
        with pytest.raises(ValueError, match=wrong):
            kernels.list_gains(p.codes, p.documents, p.bounds, losses, floors, which, rows, 2, allowed=None, threads=1)
    with pytest.raises(ValueError, match="offsets leave the rows"):
        kernels.list_gains(p.codes, p.documents, p.bounds + 1, losses, floors, zero, zero, 2, allowed=None, threads=1)


def test_assignment_by_groups_is_nearly_always_the_nearest(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(4)
    points = rng.standard_normal((3000, 12)).astype(np.float32)
    centroids = clustering.fit(points, 400)
    exact, products = clustering.assign(centroids, points), points @ centroids.T
    monkeypatch.setattr(clustering, "_TWO_LEVEL", 300)
    grouped = clustering.assign(centroids, points)
    assert 0.9 < (grouped == exact).mean() < 1, "all groups were looked into, or too few"
    found = products[np.arange(len(points)), grouped]
    assert np.quantile(products.max(axis=1) - found, 0.99) < 0.1 * products.max(axis=1).mean()
    monkeypatch.setattr(clustering, "_GROUPS", 20)
    np.testing.assert_array_equal(clustering.assign(centroids, points), exact)


def test_assignment_by_ids_is_nearly_always_the_nearest(monkeypatch: pytest.MonkeyPatch):
    """Tokens of an id lie around a few places, as a word's do that has a few meanings."""
    rng = np.random.default_rng(5)
    places = rng.standard_normal((60, 3, 12)).astype(np.float32)
    ids = rng.integers(0, 60, 9000).astype(np.uint32)
    points = places[ids, rng.integers(0, 3, 9000)] + 0.5 * rng.standard_normal((9000, 12)).astype(np.float32)
    centroids = clustering.fit(points, 200)
    exact, products = clustering.assign(centroids, points, ids), points @ centroids.T
    np.testing.assert_array_equal(exact, products.argmax(axis=1))
    monkeypatch.setattr(clustering, "_BY_ID", 100)
    monkeypatch.setattr(clustering, "_NEAR", 4)
    monkeypatch.setattr(clustering, "_SEEN", 8)
    monkeypatch.setattr(clustering, "_ROWS", 1000)
    found = clustering.assign(centroids, points, ids)
    assert 0.9 < (found == exact).mean() < 1, "all centroids were looked at, or too few"
    lost = products.max(axis=1) - products[np.arange(len(points)), found]
    assert lost.mean() < 0.01 * products.max(axis=1).mean()
    # Every token of the sample is at its nearest centroid; ids that the sample lacks are looked up among all.
    monkeypatch.setattr(clustering, "_SEEN", 1000)
    np.testing.assert_array_equal(clustering.assign(centroids, points, ids), exact)
    monkeypatch.setattr(clustering, "_SEEN", 1)
    monkeypatch.setattr(clustering, "_NEAR", 200)
    np.testing.assert_array_equal(clustering.assign(centroids, points, np.arange(9000, dtype=np.uint32)), exact)
