"""The Triton kernels in their interpreter, against the same two loops as every backend, over ragged edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from plait.device import code_kernel, reference, row_kernel
from plait.index import pq4
from test_maxsim import EDGES, TYPES, Case, case, cases, same

pytestmark = pytest.mark.skipif(not row_kernel.INTERPRETED, reason="TRITON_INTERPRET=0: see tests marked gpu")


@pytest.mark.parametrize("rows", TYPES, ids=str)
def test_rows_at_the_edges_of_tiles(rows: torch.dtype) -> None:
    made = case(EDGES, [(33, [*range(len(EDGES))]), (0, [3, 0]), (32, [5]), (1, [0, 0, 8])], 20, rows, torch.float32, 1)
    same(made, row_kernel.maxsim(*made.arguments, made.width), 20)


def test_dimensions_beyond_one_step() -> None:
    made = case([1, 70], [(2, [0, 1, 0])], 300, torch.float16, torch.float32, 1)
    same(made, row_kernel.maxsim(*made.arguments, made.width), 300)


def test_of_equal_tokens_the_first_is_met() -> None:
    """Also where the equals lie in different tiles."""
    rows = torch.ones(150, 16, dtype=torch.float16)
    rows[:3] = rows[70] = 0
    offsets, one = torch.tensor([0, 150]), torch.zeros(1, dtype=torch.int64)
    ends = torch.tensor([0, 2]), torch.tensor([0, 1])
    query = torch.stack([torch.ones(16), -torch.ones(16)])
    for run in (row_kernel.maxsim, reference.maxsim, torch.ops.plait.maxsim):
        scores, matches = run(query, ends[0], rows, None, offsets, one, ends[1], 2)
        assert (scores.tolist(), matches.tolist()) == ([16.0], [[3, 0]])


@settings(max_examples=12, deadline=None)
@given(cases(3, (1, 16, 48)))
def test_rows_equal_two_loops(drawn: tuple[Case, int]) -> None:
    made, dim = drawn
    same(made, row_kernel.maxsim(*made.arguments, made.width), dim)
    same(made, row_kernel.maxsim(*made.arguments), dim)


def losses_by_loops(losses: np.ndarray, numbers: np.ndarray, lengths: list[int]) -> np.ndarray:
    """sum_i min_j sum_m losses[i, m, code], token by token; 0 without tokens."""
    sums = losses[:, np.arange(len(numbers))[:, None], numbers].astype(int).sum(axis=1)
    ends = np.cumsum(lengths)
    return np.array(
        [sums[:, end - n : end].min(axis=1).sum() if n else 0 for n, end in zip(lengths, ends, strict=True)]
    )


def extreme(rng: np.random.Generator, q: int, subs: int) -> np.ndarray:
    """Tables that go to the limit of what a byte may sum to: 255 over four sub-spaces."""
    losses = rng.choice([0, 1, 63], (q, subs, 16)).astype(np.uint8)
    losses[:, ::4] = np.where(losses[:, ::4] == 63, 66, losses[:, ::4])
    return losses


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, 40)), min_size=1, max_size=20),
    st.sampled_from([(1, 8), (5, 16), (32, 8), (33, 8), (2, 64)]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_the_scan_of_codes_is_its_definition(
    lengths: list[int], kind: tuple[int, int], masked: bool, seed: int
) -> None:
    rng, (q, size) = np.random.default_rng(seed), kind
    numbers = rng.integers(0, 16, (2 * size, sum(lengths))).astype(np.uint8)
    offsets, losses = np.concatenate([[0], np.cumsum(lengths)]), extreme(rng, q, 2 * size)
    allowed = rng.random(len(lengths)) < 0.3 if masked else np.ones(len(lengths), bool)
    wanted, full = losses_by_loops(losses, numbers, lengths), np.array(lengths) > 0
    arguments = torch.from_numpy(pq4.pack(numbers)), torch.from_numpy(offsets), torch.from_numpy(losses)
    np.testing.assert_array_equal(reference.code_losses(*arguments), wanted)
    got = code_kernel.code_losses(*arguments, torch.from_numpy(allowed) if masked else None).numpy()
    np.testing.assert_array_equal(got[full & allowed], wanted[full & allowed])
