"""Principal directions and random rotations: what they are, on any shape. That they
are the same everywhere: test_same_bits.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.codecs.axes import principal, rotation
from plait.index.errors import InvalidArgument


@settings(max_examples=60)
@given(st.integers(0, 60), st.integers(1, 40), st.sampled_from([0, 1, 5]), st.integers(-20, 10), st.integers(0, 2**31))
def test_directions_are_those_of_most_energy(n: int, dim: int, ranks: int, size: int, seed: int) -> None:
    """Of any rank and any size of the vectors; where energies are equal, any directions of theirs."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim))
    if ranks:
        vectors = rng.integers(-2, 3, (n, ranks)) @ rng.integers(-2, 3, (ranks, dim)).astype(float)
    vectors = (vectors * 2.0**size).astype(np.float32)
    found = principal(vectors)
    np.testing.assert_allclose(found.T @ found, np.eye(dim), atol=1e-12)
    wide = vectors.astype(np.float64)
    moment = wide.T @ wide
    wanted, largest = np.linalg.eigvalsh(moment)[::-1], max(np.abs(moment).max(), 1e-300)
    turned = found.T @ moment @ found
    np.testing.assert_allclose(np.diag(turned) / largest, wanted / largest, atol=2e-4)
    np.testing.assert_allclose((turned - np.diag(np.diag(turned))) / largest, 0, atol=2e-4)
    assert (found[np.abs(found).argmax(axis=0), np.arange(dim)] > 0).all()


def test_few_vectors_of_many_dimensions_have_axes() -> None:
    """Most energies are 0 then, and what is computed of them is noise, which must not keep
    the iteration from its end."""
    vectors = np.random.default_rng(3).standard_normal((35, 384)).astype(np.float16)
    found = principal(vectors)
    np.testing.assert_allclose(found.T @ found, np.eye(384), atol=1e-12)
    np.testing.assert_allclose(vectors.astype(np.float64) @ found[:, 35:], 0, atol=1e-3)


@pytest.mark.parametrize("dim", [1, 2, 3, 17, 128])
def test_a_rotation_is_orthonormal_and_random(dim: int) -> None:
    one, two = (rotation(dim, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_allclose(one @ one.T, np.eye(dim), atol=1e-13)
    np.testing.assert_array_equal(one, rotation(dim, np.random.default_rng(1)))
    if dim > 3:
        # Entries of random unit vectors: mean 0, variance 1 / dim, and no two rotations alike.
        assert abs(one.mean()) < 3 / dim and np.abs(one - two).max() > 1 / dim
        assert np.abs(one).max(axis=0).min() < 1 and np.abs(one).max() < 1


def test_what_is_no_number_has_no_axes() -> None:
    with pytest.raises(InvalidArgument, match="NaN or infinite"):
        principal(np.array([[1, np.nan], [0, 1]], np.float32))
    with pytest.raises(InvalidArgument, match="131073 vectors; 131072 at most"):
        principal(np.zeros((131073, 1), np.float16))
