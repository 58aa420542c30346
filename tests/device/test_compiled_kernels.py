"""What the kernels become for A100, H100 and B200, cross-compiled, and what follows
from it beside the memory roofline."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("triton")

import torch
from plait.device import code_kernel, codes, row_kernel, traffic
from plait.device.compiled import ARCHITECTURES, Compiled, loops, variants
from plait.device.traffic import A100, H100
from test_maxsim import case
from test_triton_kernels import coded, drawn

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
@pytest.mark.parametrize("name", variants(90))
def test_kernels_compile_to_what_the_design_counts_on(
    compiled: dict[tuple[str, int], Compiled], name: str, architecture: int
) -> None:
    made = compiled[name, architecture]
    assert made.spilled == 0
    assert 0 < made.shared <= SHARED[architecture]
    # At least three programs to a multiprocessor, or memory waits are not hidden.
    warps = variants(architecture)[name][3].warps
    assert made.registers <= 65536 // (3 * 32 * warps)
    if name.startswith(("codes", "lists")):
        # Bytes are multiplied; B200's own instruction takes none from Triton.
        assert made.matrix.startswith("wgmma" if architecture == 90 else "mma.sync")
        assert made.matrix.endswith("s32.s8.s8" if architecture == 90 else "s32.s8.s8.s32")
        # Words are looked up in registers: none of them goes to shared memory before it is decoded.
        assert made.copies == 0
    else:
        assert made.matrix.startswith(MATRIX[architecture])
        # Every tile of 64 rows comes by asynchronous copies of 16 bytes a thread.
        assert made.copies * 128 * 16 >= 64 * 128 * (1 if name.startswith("int8") else 2)


@pytest.mark.parametrize("machine", [H100, A100], ids=lambda m: m.name)
def test_the_share_of_the_roofline_that_can_be_hoped_for(
    compiled: dict[tuple[str, int], Compiled], machine: traffic.Machine
) -> None:
    """32 x 128 queries, documents of 120 tokens: half of it and more where a dimension has 4 bits or more
    (`docs/measurements/gpu.md`)."""
    tiles = code_kernel.tiles_for(machine.architecture)
    work = {
        "float16 x1": (traffic.rows_work(DOCUMENTS, 32, 128, 2), row_kernel.ROWS.warps),
        "float16 x2": (traffic.rows_work(DOCUMENTS, 32, 128, 2, 2), row_kernel.ROWS.warps),
        "bfloat16 x1": (traffic.rows_work(DOCUMENTS, 32, 128, 2), row_kernel.ROWS.warps),
        "int8 x2": (traffic.rows_work(DOCUMENTS, 32, 128, 1, 2, scaled=True), row_kernel.ROWS.warps),
        "codes 64": (traffic.codes_work(DOCUMENTS, 32, 128, 64, tiles), tiles.warps),
    }
    for name, (one, warps) in work.items():
        share, limit = traffic.share(one, compiled[name, machine.architecture], machine, warps)
        assert share >= 0.5, f"{name}: {share:.2f}, by {limit}"
    # A bit a dimension is decoded to as many values as four: three times as many tokens as memory could deliver float16
    # rows of.
    scan = traffic.codes_work(DOCUMENTS, 32, 128, 16, tiles)
    found = traffic.rates(scan, compiled["codes 16", machine.architecture], machine, tiles.warps)
    assert min(found.values()) > 3 * traffic.roofline(work["float16 x1"][0], machine)


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
            at = np.broadcast_to(pointers.data, mask.data.shape)[mask.data.astype(bool)]
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


@pytest.mark.parametrize(("query", "masked"), [(5, False), (65, True)])
def test_codes_are_loaded_as_often_as_the_model_says(monkeypatch: pytest.MonkeyPatch, query: int, masked: bool) -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 140, 20).tolist()
    first, _, ends = codes.by_document(np.concatenate([[0], np.cumsum(lengths)]))
    book, asked = coded(rng, 20, 8, query)
    tiles = code_kernel.tiles_for(90, -(-query // codes.GROUP))
    rows, bias = code_kernel._parts(asked, tiles.groups)
    monkeypatch.setattr(code_kernel, "_parts", lambda *_: (rows, bias))
    words, bounds, allowed = drawn(rng, len(first), 16), torch.from_numpy(ends), torch.ones(20, dtype=torch.bool)
    named = {"words": words, "entries": book.entries, "query": rows, "bounds": bounds, "allowed": allowed}
    counted = Counted(monkeypatch, **named)
    code_kernel.document_scores(book, asked, words, bounds, allowed if masked else None)
    assert counted.bytes == traffic.codes_work(lengths, query, 32, 8, tiles, masked).loads
