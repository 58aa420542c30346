"""What the kernels become for A100, H100 and B200, cross-compiled, and what follows from it beside the memory roofline."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from plait.device import code_kernel, row_kernel, traffic
from plait.device.compiled import ARCHITECTURES, Compiled, loops, variants
from plait.device.traffic import A100, H100
from plait.index import pq4
from test_maxsim import case

SHARED = {80: 163 << 10, 90: 227 << 10, 100: 227 << 10}
"""Bytes that a program may have."""
MATRIX = {80: "mma.sync", 90: "wgmma.mma_async", 100: "tcgen05.mma"}
DOCUMENTS = [120] * 1600


@pytest.fixture(scope="module")
def compiled() -> dict[tuple[str, int], Compiled]:
    """Compiled in a process of its own, since kernels are interpreted in this one."""
    child = subprocess.run(
        [sys.executable, "-m", "plait.device.compiled"],
        env={**os.environ, "TRITON_INTERPRET": "0"},
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    found = [Compiled(**{**one, "loops": tuple(one["loops"])}) for one in json.loads(child.stdout)]
    return {(one.kernel, one.architecture): one for one in found}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", variants())
def test_kernels_compile_to_what_the_design_counts_on(
    compiled: dict[tuple[str, int], Compiled], name: str, architecture: int
) -> None:
    made = compiled[name, architecture]
    assert made.spilled == 0
    assert 0 < made.shared <= SHARED[architecture]
    # At least three programs to a multiprocessor, or memory waits are not hidden.
    assert made.registers <= 65536 // (3 * 128)
    if name.startswith("codes"):
        assert (made.matrix, made.copies) == ("", 0)
    else:
        assert made.matrix == MATRIX[architecture]
        # Every tile of 64 rows comes by asynchronous copies of 16 bytes a thread.
        assert made.copies * 128 * 16 >= 64 * 128 * (1 if name.startswith("int8") else 2)


@pytest.mark.parametrize("machine", [H100, A100], ids=lambda m: m.name)
def test_the_share_of_the_roofline_that_can_be_hoped_for(
    compiled: dict[tuple[str, int], Compiled], machine: traffic.Machine
) -> None:
    """32 x 128 queries, documents of 120 tokens: rows reach half of it and more, codes do not (`docs/gpu.md`)."""
    work = {
        "float16 x1": traffic.rows_work(DOCUMENTS, 32, 128, 2),
        "float16 x2": traffic.rows_work(DOCUMENTS, 32, 128, 2, 2),
        "bfloat16 x1": traffic.rows_work(DOCUMENTS, 32, 128, 2),
        "int8 x2": traffic.rows_work(DOCUMENTS, 32, 128, 1, 2, scaled=True),
    }
    for name, one in work.items():
        share, limit = traffic.share(one, compiled[name, machine.architecture], machine, row_kernel.ROWS.warps)
        assert share >= 0.5, f"{name}: {share:.2f}, by {limit}"
    scan = traffic.codes_work(DOCUMENTS, 32, 16)
    found = traffic.rates(scan, compiled["codes 16", machine.architecture], machine, code_kernel.CODES.warps)
    rows = traffic.roofline(work["float16 x1"], machine)
    # Bound by instructions and look-ups: about as many tokens as memory could deliver float16 rows of.
    assert 0.04 < min(found.values()) / traffic.roofline(scan, machine) < 0.5
    assert min(found.values()) > 0.8 * rows


def test_loops_are_read_from_machine_code() -> None:
    code = """
.L_x_1:
        /*0010*/ LDG ;
.L_x_0:
        /*0020*/ IADD ;
        /*0030*/ IADD ;
        /*0040*/ @P0 BRA `(.L_x_0) ;
        /*0050*/ @P1 BRA `(.L_x_1) ;
        /*0060*/ EXIT ;
.L_x_2:
        /*0070*/ BRA `(.L_x_2);
"""
    assert loops(code) == (3, 2)
    assert loops("        /*0010*/ EXIT ;") == ()


class Counted:
    """Bytes that interpreted kernels load, by the tensor they come from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **tensors: torch.Tensor | None):
        from triton.runtime.interpreter import InterpreterBuilder

        self.spans = {n: (t.data_ptr(), t.data_ptr() + t.nbytes) for n, t in tensors.items() if t is not None}
        self.bytes = dict.fromkeys(tensors, 0)
        load = InterpreterBuilder.create_masked_load

        def counting(builder, pointers, mask, *rest):
            at = np.broadcast_to(pointers.data, mask.data.shape)[mask.data]
            size = pointers.get_element_ty().primitive_bitwidth // 8
            for name, (start, end) in self.spans.items():
                self.bytes[name] += size * int(((at >= start) & (at < end)).sum())
            return load(builder, pointers, mask, *rest)

        monkeypatch.setattr(InterpreterBuilder, "create_masked_load", counting)


@pytest.mark.parametrize(
    ("rows", "bytes", "parts"), [(torch.float16, 2, 2), (torch.int8, 1, 2), (torch.bfloat16, 2, 3)]
)
def test_rows_are_loaded_as_often_as_the_model_says(
    monkeypatch: pytest.MonkeyPatch, rows: torch.dtype, bytes: int, parts: int
) -> None:
    lengths, query = [120, 1, 64, 65, 0, 16, 33, 7, 3, 70, 5], 40
    made = case(lengths, [(query, [*range(len(lengths))])], 16, rows, torch.float32, 3)
    split = row_kernel.split(made.arguments[0], rows)
    monkeypatch.setattr(row_kernel, "split", lambda *_: split)
    named = dict(zip(("rows", "scales", "offsets", "candidates"), made.arguments[2:6], strict=True))
    counted = Counted(monkeypatch, query=split, **named)
    row_kernel.maxsim(*made.arguments)
    work = traffic.rows_work(lengths, query, 16, bytes, parts, scaled=rows == torch.int8)
    assert counted.bytes == work.loads


@pytest.mark.parametrize("query", [5, 33])
def test_codes_are_loaded_as_often_as_the_model_says(monkeypatch: pytest.MonkeyPatch, query: int) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 40, 37).tolist()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    codes = torch.from_numpy(pq4.pack(rng.integers(0, 16, (16, sum(lengths))).astype(np.uint8)))
    words = code_kernel.words_of(torch.zeros(query, 16, 16, dtype=torch.uint8), 32)
    monkeypatch.setattr(code_kernel, "words_of", lambda *_: words)
    bounds = torch.from_numpy(offsets)
    counted = Counted(monkeypatch, codes=codes, table=words, offsets=bounds)
    code_kernel.code_losses(codes, bounds, torch.zeros(query, 16, 16, dtype=torch.uint8))
    assert counted.bytes == traffic.codes_work(lengths, query, 8).loads


@pytest.mark.parametrize("row", [32, 64, 128])
def test_conflicts_are_those_of_drawn_codes(row: int) -> None:
    """Against a simulation: rows of a table in a line's banks, one address at a time in each."""
    rng, together = np.random.default_rng(1), 128 // row
    drawn = rng.integers(0, 16, (20000, together))
    cycles = [max(len({c for c in line if c % together == b}) for b in range(together)) for line in drawn.tolist()]
    assert traffic.conflicts(row) == pytest.approx(np.mean(cycles), rel=0.02)
