"""Every kernel on every instruction set equals NumPy."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import on_every_level
from plait.index.kernels import rows as row_kernels
from plait.index.kernels import vectors as kernels


@pytest.fixture(params=kernels.simd_levels())
def level(request: pytest.FixtureRequest):
    before = kernels.simd_level()
    kernels.use_simd(request.param)
    yield request.param
    kernels.use_simd(before)


def test_widen_is_exact_for_every_half(level: str) -> None:
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    got, wanted = kernels.widen(every), every.astype(np.float32)
    number = ~np.isnan(wanted)
    np.testing.assert_array_equal(got[number].view(np.uint32), wanted[number].view(np.uint32))
    assert np.isnan(got[~number]).all()


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 15, 16, 17, 33])
def test_widen_tails(level: str, n: int) -> None:
    half = np.linspace(-3, 3, 2 * n).astype(np.float16)[::2]
    np.testing.assert_array_equal(kernels.widen(half), half.astype(np.float32))


@given(st.lists(st.integers(0, 6), max_size=9), st.integers(1, 40), st.integers(0, 2**31))
def test_segmented_max(lengths: list[int], columns: int, seed: int) -> None:
    scores = np.random.default_rng(seed).standard_normal((sum(lengths), columns)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    wanted = np.full((len(lengths), columns), -np.inf, np.float32)
    for d, (a, b) in enumerate(itertools.pairwise(offsets)):
        for row in scores[a:b]:
            wanted[d] = np.maximum(wanted[d], row)
    before = kernels.simd_level()
    for name in kernels.simd_levels():
        kernels.use_simd(name)
        np.testing.assert_array_equal(kernels.segmented_max(scores, offsets), wanted)
    kernels.use_simd(before)


@pytest.mark.parametrize("offsets", [[0, 3, 2, 4], [0, 5], [-1, 4], []])
def test_offsets_that_leave_the_rows_are_refused(offsets: list[int]) -> None:
    with pytest.raises(ValueError):
        kernels.segmented_max(np.zeros((4, 2), np.float32), np.array(offsets, np.int64))


def test_unknown_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="mmx"):
        kernels.use_simd("mmx")
    forced = {**os.environ, "PLAIT_SIMD": "mmx"}
    run = [sys.executable, "-c", "import plait.index.kernels.vectors as k; k.simd_level()"]
    assert "mmx" in subprocess.run(run, env=forced, capture_output=True, text=True).stderr


def test_the_environment_forces_a_level() -> None:
    forced = {**os.environ, "PLAIT_SIMD": "scalar"}
    run = [sys.executable, "-c", "import plait.index.kernels.vectors as k; print(k.simd_level())"]
    assert subprocess.run(run, env=forced, capture_output=True, text=True, check=True).stdout == "scalar\n"


@given(st.integers(1, 9), st.integers(1, 40), st.integers(0, 100), st.integers(0, 2**31))
def test_multiply_is_a_matrix_product(rows: int, dim: int, columns: int, seed: int):
    rng = np.random.default_rng(seed)
    query = rng.standard_normal((rows, dim)).astype(np.float32)
    matrix = rng.standard_normal((dim, columns)).astype(np.float32)
    exact = query.astype(float) @ matrix.astype(float)
    for _ in on_every_level():
        found = row_kernels.multiply(query, row_kernels.panels(matrix), columns)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5 * dim)
