"""Choosing the greatest of many values, against a full sort."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.index.kernels import vectors as kernels


@given(st.integers(0, 40), st.integers(0, 45), st.integers(1, 6), st.booleans(), st.integers(0, 2**31))
def test_greatest_is_the_head_of_a_stable_sort(n: int, k: int, values: int, masked: bool, seed: int):
    rng = np.random.default_rng(seed)
    given_values = rng.integers(0, values, n).astype(np.uint32)
    open_ = rng.random(n) < 0.5 if masked else None
    order = np.argsort(-given_values.astype(int), kind="stable")
    if open_ is not None:
        order = order[open_[order]]
    assert kernels.greatest(given_values, k, open=open_).tolist() == sorted(order[:k].tolist())


@given(st.integers(0, 5), st.integers(1, 30), st.data())
def test_probes_are_the_best_lists_of_every_row(rows: int, lists: int, data: st.DataObject):
    k = data.draw(st.integers(1, lists))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    scores = rng.integers(-3, 3, (rows, lists)).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    pairs = sorted((int(place), r) for r in range(rows) for place in order[r])
    chosen, rows_of, least = kernels.probes(scores, k)
    assert list(zip(chosen.tolist(), rows_of.tolist(), strict=True)) == pairs
    assert least.tolist() == [scores[r, order[r, -1]] for r in range(rows)]


def test_more_lists_than_there_are_is_refused():
    with pytest.raises(ValueError, match="probes"):
        kernels.probes(np.zeros((1, 3), np.float32), 4)
