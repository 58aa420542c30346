"""`plait::maxsim`: every backend against two loops over ragged shapes, and as an operation of torch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from plait.device import reference
from plait.device.maxsim import align, maxsim
from plait.index.errors import InvalidArgument

POISON = 1 << 10
EDGES = [0, 1, 15, 16, 17, 63, 64, 65, 130]
"""Around the tiles of the kernels: 64 tokens, 32 query rows."""
TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.int8]


@dataclass
class Case:
    """Queries and documents with something worse than padding around every one, and the scores by two loops."""

    arguments: tuple[Any, Any, Any, Any, Any, Any, Any] = field(repr=False)
    scores: np.ndarray
    matches: np.ndarray
    width: int


def case(
    lengths: list[int], asked: list[tuple[int, list[int]]], dim: int, rows: torch.dtype, query: torch.dtype, seed: int
) -> Case:
    """Documents of `lengths` tokens; for each query its length and its candidates. What no
    document owns is NaN, or huge."""
    rng = np.random.default_rng(seed)
    documents = [rng.standard_normal((n, dim)).astype(np.float32) for n in lengths]
    queries = [rng.standard_normal((n, dim)).astype(np.float32) for n, _ in asked]
    bad = np.full((3, dim), np.nan, np.float32)
    packed = torch.from_numpy(np.concatenate([bad, *documents, bad]))
    scales, stored = None, packed.to(rows)
    if rows == torch.int8:
        stored = torch.from_numpy(np.nan_to_num(rng.integers(-127, 128, packed.shape)).astype(np.int8))
        scales = torch.from_numpy(rng.uniform(0.001, 0.02, len(packed)).astype(np.float32))
        scales[:3] = scales[-3:] = torch.nan
    questions = torch.from_numpy(np.concatenate([bad, *queries, bad])).to(query)
    offsets = 3 + torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    query_offsets = 3 + torch.from_numpy(np.concatenate([[0], np.cumsum([n for n, _ in asked])]).astype(np.int64))
    candidates = torch.tensor([d for _, some in asked for d in some], dtype=torch.int64)
    candidate_offsets = torch.from_numpy(np.concatenate([[0], np.cumsum([len(c) for _, c in asked])]).astype(np.int64))
    real = stored.double().numpy() if scales is None else stored.double().numpy() * scales.double().numpy()[:, None]
    width = max([n for n, _ in asked], default=0) + 1
    scores, matches = [], []
    for q, (_, some) in enumerate(asked):
        one = questions[query_offsets[q] : query_offsets[q + 1]].double().numpy()
        for d in some:
            own = real[offsets[d] : offsets[d + 1]]
            scores.append(oracle.maxsim(one, own))
            met = (own @ one.T).argmax(0) if len(own) else np.full(len(one), -1)
            matches.append(np.concatenate([met, np.full(width - len(one), -1)]))
    arguments = questions, query_offsets, stored, scales, offsets, candidates, candidate_offsets
    return Case(arguments, np.array(scores), np.array(matches).reshape(len(scores), width), width)


def same(made: Case, got: tuple, dim: int) -> None:
    """Float32 sums of products of the values as given: nothing else may differ from float64."""
    longest = max(made.width, 1) * dim
    # Every addition rounds by half a unit of what was summed up to then.
    np.testing.assert_allclose(got[0].numpy(), made.scores, rtol=2.0**-24 * longest, atol=3e-7 * longest)
    if got[1].numel():
        np.testing.assert_array_equal(got[1].numpy(), made.matches)


@st.composite
def cases(draw: st.DrawFn, most: int, dims: tuple[int, ...]) -> tuple[Case, int]:
    lengths = draw(st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, 70)), min_size=1, max_size=most))
    chosen = st.lists(st.integers(0, len(lengths) - 1), max_size=most + 8)
    asked = draw(st.lists(st.tuples(st.sampled_from([0, 1, 5, 31, 32, 33]), chosen), min_size=1, max_size=3))
    dim = draw(st.sampled_from(dims))
    types = draw(st.sampled_from(TYPES)), draw(st.sampled_from(TYPES[:3]))
    return case(lengths, asked, dim, *types, draw(st.integers(0, 2**31))), dim


@settings(max_examples=60, deadline=None)
@given(cases(8, (1, 3, 16, 48, 130)))
def test_torch_and_the_cpu_equal_two_loops(drawn: tuple[Case, int]) -> None:
    made, dim = drawn
    same(made, reference.maxsim(*made.arguments, made.width), dim)
    same(made, torch.ops.plait.maxsim(*made.arguments, made.width), dim)
    same(made, torch.ops.plait.maxsim(*made.arguments), dim)


def test_one_query_and_documents_in_their_order() -> None:
    rng = np.random.default_rng(1)
    documents = [rng.standard_normal((n, 8)).astype(np.float16) for n in (3, 0, 2)]
    query = rng.standard_normal((4, 8)).astype(np.float32)
    rows, offsets = torch.from_numpy(np.concatenate(documents)), torch.tensor([0, 3, 3, 5])
    order = torch.tensor([2, 1, 0])
    scores, matches = align(torch.from_numpy(query), rows, offsets, order, 4)
    wanted = [oracle.maxsim(query, documents[d]) for d in order.tolist()]
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)
    np.testing.assert_allclose(maxsim(torch.from_numpy(query), rows, offsets, order), wanted, rtol=1e-6)
    assert matches.tolist() == [
        (documents[2].astype(float) @ query.T).argmax(0).tolist(),
        [-1] * 4,
        (documents[0].astype(float) @ query.T).argmax(0).tolist(),
    ]


@pytest.mark.parametrize("rows", TYPES, ids=str)
def test_torch_takes_it_as_an_operation(rows: torch.dtype) -> None:
    """Schema, fake tensors, autograd registration and tracing with dynamic shapes."""
    made = case([3, 0, 5], [(2, [0, 1, 2]), (3, [2, 0])], 8, rows, torch.float32, 2)
    arguments = [torch.nan_to_num(t, 1.0) if t is not None and t.is_floating_point() else t for t in made.arguments]
    found = torch.library.opcheck(torch.ops.plait.maxsim.default, (*arguments, made.width))
    assert set(found.values()) == {"SUCCESS"}


def test_fake_tensors_have_the_shapes_of_real_ones() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    made = case([3, 0, 5], [(2, [0, 1, 2]), (3, [2, 0])], 8, torch.float16, torch.float16, 2)
    real = torch.ops.plait.maxsim(*made.arguments, made.width)
    with FakeTensorMode() as mode:
        fake = [None if t is None else mode.from_tensor(t) for t in made.arguments]
        shapes = torch.ops.plait.maxsim(*fake, made.width)
    assert [(t.shape, t.dtype) for t in shapes] == [(t.shape, t.dtype) for t in real]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, torch.zeros(4, 7), r"query is \(4, 7\), rows \(8, 8\)"),
        (0, torch.zeros(4, 8, dtype=torch.float64), "query is torch.float64"),
        (2, torch.zeros(8, 8, dtype=torch.int8), "int8 rows need scales"),
        (3, torch.ones(8), "others have none"),
        (4, torch.tensor([0, 3], dtype=torch.int32), "offsets is .* must be .* int64"),
        (6, torch.tensor([0, 1]), "query_offsets has 3 entries, candidate_offsets 2"),
        (7, -1, "width is -1"),
    ],
)
def test_what_does_not_fit_is_refused(place: int, value: object, message: str) -> None:
    made = case([3, 0, 5], [(2, [0]), (2, [2])], 8, torch.float16, torch.float16, 2)
    arguments = [*made.arguments, 0]
    arguments[2] = arguments[2][:8]
    arguments[place] = value
    with pytest.raises(InvalidArgument, match=message):
        torch.ops.plait.maxsim(*arguments)
