"""Sparse representations against dense arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.index.errors import InvalidArgument
from plait.index.terms import Terms, check
from scipy import sparse


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(1, 7), st.integers(0, 99), st.booleans(), st.data()
)
def test_take_is_dense_indexing(lengths: list[int], keys: int, seed: int, per_token: bool, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    rows = sum(lengths) if per_token else len(lengths)
    dense = (rng.random((rows, keys)) * (rng.random((rows, keys)) < 0.4)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64) if per_token else None
    terms = check(Terms(sparse.csr_array(dense), offsets))
    assert len(terms) == len(lengths) and terms.keys == keys
    documents = np.split(dense, np.cumsum(lengths)[:-1]) if per_token else list(dense[:, None])
    some = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=5))
    np.testing.assert_array_equal(terms.take(some).rows.toarray(), np.concatenate([documents[d] for d in some]))
    if per_token:
        taken = terms.take(some).offsets
        assert taken is not None and np.diff(taken).tolist() == [lengths[d] for d in some]


def test_check_sorts_keys_and_leaves_the_argument_alone() -> None:
    given = sparse.csr_array((np.array([2.0, 1.0]), np.array([3, 0]), np.array([0, 2])), shape=(1, 4))
    rows = check(Terms(given)).rows
    assert rows.indices.tolist() == [0, 3] and rows.data.tolist() == [1, 2] and rows.dtype == np.float32
    assert given.indices.tolist() == [3, 0]


def test_check_names_what_is_wrong() -> None:
    good = sparse.csr_array(np.eye(3, dtype=np.float32))
    twice = sparse.csr_array((np.ones(2), np.array([1, 1]), np.array([0, 0, 2])), shape=(2, 4))
    for bad, message in (
        (Terms(twice), "row 1 has the key 1 twice"),
        (Terms(good * np.float32("nan")), "row 0 has NaN"),
        (Terms(good, np.array([0, 2])), "from 0 to 3"),
        (Terms(good, np.array([0, 2, 1, 3])), "fall at document 1"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            check(bad)
