"""On a CUDA device (`make test-gpu`): the kernels as compiled, against the oracle of every backend and at size."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest

pytest.importorskip("torch")

import torch
from plait.device import exact, reference
from plait.device.flat import DeviceFlat, document_scores
from plait.device.lists import DeviceLists, list_gains
from plait.device.maxsim import maxsim
from plait.device.placement import Placement
from plait.device.records import Records, greatest
from plait.index.codecs import pq4
from plait.index.codecs.precisions import codec
from plait.index.hits import Hits
from plait.index.tokens import from_matrices
from plait.retrieval.encoders.encoder import EncoderOptions
from plait.retrieval.encoders.load import load_checkpoint
from test_checkpoint import stanford  # noqa: F401
from test_device import collection, found, inverted, made
from test_device_exact import EXACTLY
from test_encoder_dtype import NEAR
from test_maxsim import EDGES, TYPES, case, same
from test_triton_kernels import coded, drawn

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
DEVICE = "cuda:0"


def on_device(arguments: Iterable[Any]) -> list[Any]:
    return [t.to(DEVICE) if isinstance(t, torch.Tensor) else t for t in arguments]


def near(got: list[Hits], wanted: list[Hits]) -> None:
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a.docs, b.docs)
        np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5)


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
@pytest.mark.parametrize("q", [1, 32, 33, 65])
def test_scans_of_codes_are_torchs(q: int, size: int) -> None:
    rng = np.random.default_rng(q)
    lengths = [*EDGES, *rng.integers(0, 12, 400).tolist()]
    book, asked = coded(rng, 128, size, q)
    words, bounds = drawn(rng, sum(lengths), 2 * size), torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]))
    owners = torch.from_numpy(rng.integers(0, 50, 8 * len(words)).astype(np.int32))
    probed = torch.from_numpy(rng.random((len(lengths), q)) < 0.1)
    atol = 2.0**-21 * 1279 * float(asked.rows.float().abs().sum(1).max()) * 32
    placed = [type(one)(*on_device(vars(one).values())) for one in (book, asked)]
    arguments: list[Any] = [*placed, *on_device((words, bounds))]
    wanted = reference.document_scores(book, asked, words, bounds)
    torch.testing.assert_close(document_scores(*arguments).cpu(), wanted, rtol=0, atol=atol)
    wanted = reference.list_gains(book, asked, words, bounds, owners, probed, 50)
    arguments += [*on_device((owners, probed)), int(probed.any(1).sum()), 50]
    got = list_gains(*arguments)
    torch.testing.assert_close(got.cpu(), wanted, rtol=0, atol=atol)


def test_plans_find_what_torch_finds() -> None:
    """Nearly: at the last candidate a difference in the last place decides."""
    rng = np.random.default_rng(0)
    flat = made(rng.integers(0, 200, 3000).tolist(), 128, 0)
    by_list = inverted(flat, 256)
    for share in (None, 0.02, 0.6):
        queries = oracle.normal(rng, [32, 5, 33, 64, 1], 128)
        allowed = None if share is None else rng.random(3000) < share
        for rows in (True, False):
            scanned = [DeviceFlat(flat, d, rows).search(queries, 10, 100, allowed=allowed) for d in (DEVICE, "cpu")]
            probed = [DeviceLists(by_list, d, rows).search(queries, 10, 100, allowed=allowed) for d in (DEVICE, "cpu")]
            for got, wanted in (scanned, probed):
                near(got, wanted)


def test_every_row_is_compared_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents and tokens, over many chunks. Halves: no sum is rounded, so that ties are where they are on the CPU."""
    monkeypatch.setattr(exact, "_PAIRS", 2000)
    monkeypatch.setattr(exact, "_FLOATS", 1 << 18)
    rng = np.random.default_rng(7)
    stored = [(rng.integers(-2, 3, (n, 64)) / 2).astype(np.float16) for n in rng.integers(0, 60, 900)]
    tokens, queries = from_matrices(stored), from_matrices([q[:8].astype(np.float32) for q in stored if len(q)][:5])
    on_gpu, on_cpu = (
        exact.DeviceExact(Records(codec("float16", 64), tokens.vectors, tokens.offsets, torch.device(d), True))
        for d in (DEVICE, "cpu")
    )
    for share in (None, 0.01, 0.6):
        allowed = None if share is None else rng.random(900) < share
        near(on_gpu.scan(queries, 10, allowed), on_cpu.scan(queries, 10, allowed))
        rows = None if allowed is None else np.repeat(allowed, tokens.lengths)
        for k_token in (1, 100, 6000):
            got, wanted = (d.search_tokens(queries.vectors, k_token, rows) for d in (on_gpu, on_cpu))
            np.testing.assert_array_equal(got[0], wanted[0])
            np.testing.assert_array_equal(got[1], wanted[1])


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8"])
def test_exact_and_token_searches_answer_alike_within_any_budget(tmp_path: Path, store: str) -> None:
    queries = collection(tmp_path, store)
    for how in EXACTLY:
        wanted = found(tmp_path, queries, None, **how)
        for memory in (None, 0, 4000, 12000):
            near(found(tmp_path, queries, Placement(DEVICE, memory), **how), wanted)


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
    rows, offsets = placed.records.rows, placed.records.offsets
    assert rows is not None
    wanted = [maxsim(q, rows, offsets, every) for q in queries]
    torch.cuda.synchronize()
    streams = [torch.cuda.Stream() for _ in queries]
    for _ in range(100):
        got = []
        for query, stream in zip(queries, streams, strict=True):
            with torch.cuda.stream(stream):
                got.append(maxsim(query, rows, offsets, every))
        torch.cuda.synchronize()
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


def test_a_long_run_leaves_no_memory_behind() -> None:
    rng = np.random.default_rng(4)
    flat = made(rng.integers(1, 150, 2000).tolist(), 128, 4)
    placed = DeviceFlat(flat, DEVICE)
    used = []
    for turn in range(2000):
        placed.search(oracle.normal(rng, [int(rng.integers(1, 65))], 128), 10)
        if turn % 500 == 499:
            torch.cuda.synchronize()
            used.append(torch.cuda.memory_allocated())
    assert used[-1] <= used[0]


def test_collections_answer_alike_within_any_budget(tmp_path: Path) -> None:
    queries = collection(tmp_path, "flat:8")
    wanted = found(tmp_path, queries, None)
    for memory in (None, 0, 2000, 12000):
        near(found(tmp_path, queries, Placement(DEVICE, memory)), wanted)


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


def test_the_greatest_agree_with_the_cpu_at_size() -> None:
    scores = torch.randint(0, 1 << 16, (10, 2_000_000)).float()
    open_ = torch.rand(2_000_000) < 0.5
    wanted, got = greatest(scores, open_, 1000), greatest(scores.to(DEVICE), open_.to(DEVICE), 1000)
    assert torch.equal(wanted[0], got[0].cpu()) and torch.equal(wanted[1], got[1].cpu())


def test_torch_alone_gives_the_same_on_the_device() -> None:
    wanted = case(EDGES, [(5, [*range(len(EDGES))])], 48, torch.float16, torch.float32, 6)
    scores, matches = reference.maxsim(*on_device(wanted.arguments), width=wanted.width)
    same(wanted, (scores.cpu(), matches.cpu()), 48)


@pytest.mark.parametrize("dtype", [None, "float32", "bfloat16"])
def test_encoders_give_nearly_the_cpus_vectors(dtype: str | None, request: pytest.FixtureRequest) -> None:
    """None: float16 here."""
    folder = str(request.getfixturevalue("stanford").folder)
    texts = ["the cat sat", "on the mat", "a much longer text about nothing at all " * 3] * 9
    whole, half = (
        load_checkpoint(folder, EncoderOptions(dtype=dtype if device == DEVICE else None), device=device)
        for device in ("cpu", DEVICE)
    )
    a, b = whole.encode_documents(texts), half.encode_documents(texts)
    np.testing.assert_array_equal(a.ids, b.ids)
    apart = np.linalg.norm(a.vectors - b.vectors, axis=1)
    assert np.sqrt((apart**2).mean()) < NEAR.get(dtype or "float16", 1e-4)
