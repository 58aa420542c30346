"""Ragged matrices: cutting, choosing, joining and checking."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.index.errors import InvalidArgument
from plait.index.tokens import Role, Tokens, check, concatenate, from_matrices


def decorated(tokens: Tokens, seed: int, ragged_spans: bool) -> Tokens:
    """The tokens with every optional column filled."""
    rng, n = np.random.default_rng(seed), len(tokens.vectors)
    counts = rng.integers(1, 4, n) if ragged_spans else np.ones(n, int)
    return replace(
        tokens,
        ids=np.arange(n, dtype=np.uint32),
        spans=rng.integers(0, 99, (int(counts.sum()), 2)).astype(np.uint32),
        span_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64) if ragged_spans else None,
        weights=rng.random(n).astype(np.float32),
        roles=rng.integers(0, len(Role), n).astype(np.uint8),
        globals_=rng.random((len(tokens), 2)).astype(np.float32),
    )


def unpacked(tokens: Tokens) -> list[list[tuple]]:
    """Every document as a list of plain rows: what the packed form must always mean."""
    assert tokens.ids is not None and tokens.weights is not None and tokens.roles is not None
    rows = [
        (v.tolist(), int(i), tokens.spans_of(r).tolist(), float(w), int(role))
        for r, (v, i, w, role) in enumerate(zip(tokens.vectors, tokens.ids, tokens.weights, tokens.roles, strict=True))
    ]
    return [rows[tokens.rows(d)] for d in range(len(tokens))]


@given(oracle.ragged(), st.integers(0, 999), st.booleans(), st.data())
def test_select_and_take_keep_rows_whole(plain: Tokens, seed: int, spans: bool, data: st.DataObject) -> None:
    tokens = decorated(plain, seed, spans)
    before = unpacked(tokens)
    mask = np.random.default_rng(seed).random(len(tokens.vectors)) < 0.6
    flat = iter(mask)
    assert unpacked(tokens.select(mask)) == [[row for row in document if next(flat)] for document in before]
    some = data.draw(st.lists(st.integers(0, len(tokens) - 1), max_size=6))
    taken = tokens.take(some)
    assert unpacked(taken) == [before[d] for d in some]
    assert tokens.globals_ is not None and taken.globals_ is not None
    np.testing.assert_array_equal(taken.globals_, tokens.globals_[some])


@given(st.lists(st.tuples(oracle.ragged(dim=3), st.integers(0, 99), st.booleans()), min_size=1, max_size=4))
def test_concatenate_is_the_lists_joined(parts: list[tuple[Tokens, int, bool]]) -> None:
    batches = [decorated(*p) for p in parts]
    assert unpacked(concatenate(batches)) == [document for b in batches for document in unpacked(b)]


@given(oracle.ragged())
def test_matrices_round_trip(tokens: Tokens) -> None:
    again = from_matrices([tokens.vectors[tokens.rows(i)] for i in range(len(tokens))], tokens.dim)
    np.testing.assert_array_equal(again.vectors, tokens.vectors)
    np.testing.assert_array_equal(again.offsets, tokens.offsets)


def test_check_names_what_is_wrong() -> None:
    good = from_matrices([np.ones((2, 3), np.float32), np.ones((1, 3), np.float32)])
    assert check(good, 3).vectors is good.vectors
    nan = good.vectors.copy()
    nan[2, 1] = np.nan
    for bad, message in (
        (good.with_vectors(nan), "document 1 has NaN or infinity in token 0"),
        (good.with_vectors(good.vectors * 1e6), "65504"),
        (good.with_vectors(good.vectors.astype(np.float64)), "float64"),
        (replace(good, offsets=np.array([0, 3, 2, 3])), "fall at document 1"),
        (replace(good, offsets=np.array([0, 2])), "from 0 to 3"),
        (replace(good, ids=np.zeros(2, np.uint32)), "ids has 2 entries for 3"),
        (replace(good, spans=np.zeros((4, 2), np.uint32)), "spans"),
        (replace(good, globals_=np.zeros((3, 2), np.float32)), "globals_ has 3 rows for 2"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            check(bad, 3)
    with pytest.raises(InvalidArgument, match="3 dimensions, this collection has 5"):
        check(good, 5)


def test_from_matrices_refuses_mixed_shapes() -> None:
    with pytest.raises(InvalidArgument, match=r"different dimensions \[2, 3\]"):
        from_matrices([np.zeros((1, 2)), np.zeros((1, 3))])
    with pytest.raises(InvalidArgument, match="document 1"):
        from_matrices([np.zeros((1, 2)), np.zeros(2)])
    with pytest.raises(InvalidArgument, match="different dimensions"):
        concatenate([from_matrices([np.zeros((1, 2))]), from_matrices([np.zeros((1, 3))])])
