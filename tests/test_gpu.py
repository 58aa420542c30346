"""On a CUDA device (`make test-gpu`): the kernels as compiled, against the oracle of every backend and at size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from plait.device import reference
from plait.device.flat import DeviceFlat, code_losses, least
from plait.device.maxsim import maxsim
from plait.device.placement import Placement
from plait.index import pq4
from test_device import collection, found, made
from test_maxsim import EDGES, TYPES, case, same
from test_triton_kernels import extreme, losses_by_loops

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
DEVICE = "cuda:0"


def on_device(arguments: tuple) -> list[Any]:
    return [None if t is None else t.to(DEVICE) for t in arguments]


@pytest.mark.parametrize("rows", TYPES, ids=str)
@pytest.mark.parametrize("query", TYPES[:3], ids=str)
@pytest.mark.parametrize("dim", [16, 48, 96, 128, 300])
def test_the_operation_equals_two_loops(rows: torch.dtype, query: torch.dtype, dim: int) -> None:
    asked = [(33, [*range(len(EDGES))]), (0, [3, 0]), (32, [5]), (1, [0, 0, 8])]
    wanted = case(EDGES, asked, dim, rows, query, 1)
    scores, matches = torch.ops.plait.maxsim(*on_device(wanted.arguments), wanted.width)
    # Matches of near ties may differ from float64: here none are near.
    same(wanted, (scores.cpu(), matches.cpu()), dim)


def test_the_operation_passes_opcheck() -> None:
    wanted = case([3, 0, 5], [(2, [0, 1, 2]), (3, [2, 0])], 16, torch.float16, torch.float32, 2)
    arguments = [torch.nan_to_num(t, 1.0) if t is not None else None for t in on_device(wanted.arguments)]
    found = torch.library.opcheck(torch.ops.plait.maxsim.default, (*arguments, wanted.width))
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize("size", pq4.BYTES)
@pytest.mark.parametrize("q", [1, 32, 33])
def test_the_scan_of_codes_is_its_definition(q: int, size: int) -> None:
    rng = np.random.default_rng(q)
    lengths = [*EDGES, *rng.integers(0, 90, 40).tolist()]
    numbers, losses = rng.integers(0, 16, (2 * size, sum(lengths))).astype(np.uint8), extreme(rng, q, 2 * size)
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    arguments = on_device((torch.from_numpy(pq4.pack(numbers)), offsets, torch.from_numpy(losses)))
    full = np.array(lengths) > 0
    got = code_losses(*arguments).cpu().numpy()
    np.testing.assert_array_equal(got[full], losses_by_loops(losses, numbers, lengths)[full])


def test_the_plan_finds_what_the_cpu_finds() -> None:
    rng = np.random.default_rng(0)
    flat = made(rng.integers(0, 200, 3000).tolist(), 128, 0)
    placed = DeviceFlat(flat, DEVICE), DeviceFlat(flat, DEVICE, rows=False)
    for share in (None, 0.02, 0.6):
        query = rng.standard_normal((32, 128)).astype(np.float32)
        allowed = None if share is None else rng.random(3000) < share
        wanted = flat.search(query, 10, 100, leaders=3000, allowed=allowed)
        for one in placed:
            hits = one.search(query, 10, 100, allowed=allowed)
            np.testing.assert_array_equal(hits.docs, wanted.docs)
            np.testing.assert_allclose(hits.scores, wanted.scores, rtol=1e-5)


def test_rows_beyond_32_bit_offsets() -> None:
    """2^31 values and more before the last document: 17 M rows of 128 in int8."""
    rows = torch.zeros(17_000_000, 128, dtype=torch.int8, device=DEVICE)
    rows[-3:] = torch.tensor([[1], [2], [-1]], dtype=torch.int8, device=DEVICE)
    scales = torch.ones(len(rows), device=DEVICE)
    offsets = torch.tensor([0, 5, len(rows) - 3, len(rows)], device=DEVICE)
    query = torch.ones(2, 128, device=DEVICE)
    got = maxsim(query, rows, offsets, torch.tensor([2, 0], device=DEVICE), scales=scales)
    assert got.tolist() == [512.0, 0.0]


def test_streams_do_not_meet() -> None:
    """Eight streams at once, a hundred times: the answers of one at a time."""
    rng = np.random.default_rng(3)
    flat = made(rng.integers(1, 150, 2000).tolist(), 128, 3)
    placed = DeviceFlat(flat, DEVICE)
    queries = [torch.from_numpy(rng.standard_normal((32, 128)).astype(np.float32)).to(DEVICE) for _ in range(8)]
    every = torch.arange(2000, device=DEVICE)
    assert placed.rows is not None
    wanted = [maxsim(q, placed.rows, placed.offsets, every) for q in queries]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in queries]
    for _ in range(100):
        got = []
        for query, stream in zip(queries, streams, strict=True):
            with torch.cuda.stream(stream):
                got.append(maxsim(query, placed.rows, placed.offsets, every))
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_a_long_run_leaves_no_memory_behind() -> None:
    rng = np.random.default_rng(4)
    flat = made(rng.integers(1, 150, 2000).tolist(), 128, 4)
    placed = DeviceFlat(flat, DEVICE)
    used = []
    for turn in range(2000):
        placed.search(rng.standard_normal((int(rng.integers(1, 65)), 128)).astype(np.float32), 10)
        if turn % 500 == 499:
            torch.cuda.synchronize()
            used.append(torch.cuda.memory_allocated())
    assert used[-1] <= used[0]


def test_collections_answer_alike_within_any_budget(tmp_path: Path) -> None:
    queries = collection(tmp_path, "flat:8")
    wanted = found(tmp_path, queries, None)
    for memory in (None, 0, 2000, 12000):
        for a, b in zip(found(tmp_path, queries, Placement(DEVICE, memory)), wanted, strict=True):
            np.testing.assert_array_equal(a.docs, b.docs)
            np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5)


def test_a_full_device_leaves_segments_to_the_cpu(tmp_path: Path) -> None:
    queries = collection(tmp_path, "flat:8")
    wanted = found(tmp_path, queries, None)
    free = torch.cuda.mem_get_info(DEVICE)[0]
    torch.cuda.set_per_process_memory_fraction(1e-9)
    try:
        place = Placement(DEVICE, free)
        for a, b in zip(found(tmp_path, queries, place), wanted, strict=True):
            np.testing.assert_array_equal(a.docs, b.docs)
        assert place.used == 0
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_least_agrees_with_the_cpu_at_size() -> None:
    losses = torch.randint(0, 1 << 16, (2_000_000,))
    open_ = torch.rand(len(losses)) < 0.5
    wanted, got = least(losses, open_, 1000), least(losses.to(DEVICE), open_.to(DEVICE), 1000)
    assert torch.equal(wanted[0], got[0].cpu()) and torch.equal(wanted[1], got[1].cpu())


def test_torch_alone_gives_the_same_on_the_device() -> None:
    wanted = case(EDGES, [(5, [*range(len(EDGES))])], 48, torch.float16, torch.float32, 6)
    scores, matches = reference.maxsim(*on_device(wanted.arguments), width=wanted.width)
    same(wanted, (scores.cpu(), matches.cpu()), 48)
