"""Records of token vectors: what they stand for, and scores of them where they lie, on every instruction set."""

from functools import cache

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import normal, on_every_level
from plait.index.codecs.codec import Codec, Decoded, score
from plait.index.codecs.half import Half
from plait.index.codecs.int8 import Bytes
from plait.index.codecs.precisions import codec
from plait.index.codecs.product import SIZES, Product
from plait.index.errors import InvalidArgument
from plait.index.kernels import rows as row_kernels
from plait.index.late import rerank as reranking
from plait.index.late.rerank import rerank
from plait.index.tokens import Tokens, from_matrices


def restored(records: np.ndarray, dim: int) -> np.ndarray:
    """What int8 records stand for, value by value."""
    out = np.zeros((len(records), dim))
    for row, record in zip(out, records, strict=True):
        scale = np.frombuffer(record[dim:].tobytes(), "<f4")[0]
        row[:] = [scale * (int(value) - 256 if value > 127 else int(value)) for value in record[:dim]]
    return out


@cache
def learned(dim: int) -> tuple[Product, ...]:
    """Either size, with what it learns from some vectors."""
    vectors = np.random.default_rng(2).standard_normal((500, dim)).astype(np.float32)
    both = tuple(Product(dim, size) for size in SIZES)
    for some in both:
        some.encode(vectors)
    return both


@pytest.mark.parametrize("dim", [1, 5, 64, 100, 130])
def test_product_codes_stand_for_their_codes(dim: int) -> None:
    vectors = np.random.default_rng(3).standard_normal((70, dim)).astype(np.float32)
    for some in learned(dim):
        records, book = some.encode(vectors), some.book
        for record, wide in zip(records, some.floats(records), strict=True):
            meant = np.concatenate([book.centroids[m, c] for m, c in enumerate(record.tolist())])
            np.testing.assert_allclose(wide, book.rotation @ meant, atol=1e-5)
        assert records.max() > 15 and records.shape == (70, some.size)


def test_the_directions_of_most_energy_have_a_byte_alone() -> None:
    rng = np.random.default_rng(8)
    turned, _ = np.linalg.qr(rng.standard_normal((100, 100)))
    sizes = np.concatenate([np.full(28, 3.0), np.full(72, 0.3)])
    vectors = (rng.standard_normal((5000, 100)) * sizes @ turned.T).astype(np.float32)
    some = Product(100, 64)
    off = (some.floats(some.encode(vectors)) - vectors) @ turned
    np.testing.assert_allclose(some.book.rotation @ some.book.rotation.T, np.eye(100), atol=1e-5)
    # What 256 centroids of a Gaussian leave over: about a hundredth of its size in one dimension, a tenth in two.
    assert off[:, :28].std() / 3 < 0.02 < 0.06 < off[:, 28:].std() / 0.3 < 0.15


@settings(max_examples=60, deadline=None)
@given(oracle.ragged(), st.floats(1e-30, 60_000))
def test_bytes_are_off_by_half_a_scale_and_then_never_again(tokens: Tokens, size: float) -> None:
    some, vectors = Bytes(tokens.dim), (tokens.vectors * np.float32(size / 4)).astype(np.float32)
    records = some.encode(vectors)
    wide, meant = some.floats(records), restored(records, tokens.dim)
    np.testing.assert_array_equal(wide, meant)
    # The scale is at most a 1024th above the largest value / 127.
    step = np.abs(vectors).max(axis=1, initial=0)[:, None] / 127 * (1 + 1 / 1024)
    assert (np.abs(meant - vectors) <= step / 2 * (1 + 1e-5)).all()
    np.testing.assert_array_equal(some.encode(wide), records)


@settings(max_examples=40, deadline=None)
@given(oracle.ragged(), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_scores_are_maxsim_of_what_records_stand_for(tokens: Tokens, q: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = (rng.standard_normal((q, tokens.dim)) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
    positions = rng.permutation(len(tokens))[: rng.integers(0, len(tokens) + 1)]
    size = np.abs(query).sum()
    for name in on_every_level():
        for some in (Half(tokens.dim), Bytes(tokens.dim), *learned(tokens.dim)):
            records = some.encode(tokens.vectors)
            wide = some.floats(records)
            wanted = np.array([oracle.maxsim(query, wide[tokens.rows(p)]) for p in positions])
            got = score(some, records, tokens.offsets, positions, query, 1)
            np.testing.assert_allclose(got, wanted, atol=1e-5 * size, rtol=1e-5, err_msg=name)
            found = rerank(some, records, tokens.offsets, positions, query, k)
            scores = dict(zip(positions.tolist(), wanted.tolist(), strict=True))
            oracle.same_ranking(found, scores, k, 1e-5 * size + 1e-5)


@settings(max_examples=60, deadline=None)
@given(oracle.ragged(), st.integers(1, 40), st.integers(0, 2**31))
def test_estimates_err_no_more_than_they_say(tokens: Tokens, q: int, seed: int) -> None:
    rng, some = np.random.default_rng(seed), Bytes(tokens.dim)
    query = (rng.standard_normal((q, tokens.dim)) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
    records, every = some.encode(tokens.vectors), np.arange(len(tokens))
    for _ in on_every_level():
        scores = score(some, records, tokens.offsets, every, query, 1)
        estimates, errors = row_kernels.row_estimates(some.rows(records), tokens.offsets, every, query)
        full = np.diff(tokens.offsets) > 0
        assert (np.abs(scores[full] - estimates[full]) <= errors[full]).all()
        # Useful too: half a step in every dimension is a 254th of what the query could score at all.
        reach = np.abs(query).max(axis=1).sum() * np.abs(tokens.vectors).max(initial=0) * tokens.dim
        assert (errors <= reach / 250 + 1e-30).all()
        assert (estimates[~full] == -np.inf).all() and not errors[~full].any()


@pytest.mark.parametrize("dim", [48, 128, 516, 517, 1024, 4096])
def test_products_of_extreme_records_stay_within_32_bits(dim: int) -> None:
    some, query = Bytes(dim), np.ones((17, dim), np.float32)
    records = some.encode(np.concatenate([np.ones((3, dim)), -np.ones((1, dim))]).astype(np.float32))
    meant = some.floats(records)[2:4, 0]
    for _ in on_every_level():
        scores, errors = row_kernels.row_estimates(some.rows(records), np.array([0, 3, 4]), np.array([0, 1]), query)
        assert (np.abs(scores - 17 * dim * meant) <= errors).all()
        assert (errors < 17 * dim / 100).all()


def test_only_those_with_a_chance_are_scored_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    tokens, query = normal(rng, [7] * 200, 32), rng.standard_normal((5, 32)).astype(np.float32)
    some, asked = Bytes(32), []

    def counted(one: Codec, records: np.ndarray, offsets: np.ndarray, positions: np.ndarray, *rest: object) -> object:
        asked.append(len(positions))
        return score(one, records, offsets, positions, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(reranking, "score", counted)
    found = rerank(some, some.encode(tokens.vectors), tokens.offsets, np.arange(200), query, 10)
    assert len(found) == 10 and 10 <= asked[0] < 20


def test_records_decode_in_blocks() -> None:
    tokens = normal(np.random.default_rng(1), [9, 4], 12)
    for some in (Half(12), Bytes(12), *learned(12)):
        records = some.encode(tokens.vectors)
        view = Decoded(some, records)
        assert (len(view), view.shape) == (13, (13, 12))
        np.testing.assert_array_equal(view[2:5], some.floats(records)[2:5])
        np.testing.assert_array_equal(view[np.array([7, 1])], some.floats(records)[[7, 1]])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(
        InvalidArgument, match="precision is 'int4'; it must be one of float16, int8, pq:32, pq:64, pq:72, residual:1"
    ):
        codec("int4", 8)
    tokens, half = from_matrices([np.ones((4, 8))]), Half(8)
    rows, query = half.encode(tokens.vectors), np.ones((2, 8), np.float32)
    with pytest.raises(InvalidArgument, match="threads is 0"):
        rerank(half, rows, tokens.offsets, np.array([0]), query, 1, threads=0)
    with pytest.raises(ValueError, match="no such document"):
        score(half, rows, tokens.offsets, np.array([1]), query, 1)
    some = Bytes(8)
    for records, wide in ((some.encode(tokens.vectors)[:, :4], query), (some.encode(tokens.vectors), query[:, :7])):
        with pytest.raises(ValueError, match=r"shapes do not fit|another number of dimensions"):
            score(some, np.ascontiguousarray(records), tokens.offsets, np.array([0]), np.ascontiguousarray(wide), 1)
