"""What the kernels become for a GPU, found by cross-compiling: no GPU is needed. `python -m plait.device.compiled`
prints it.

Triton compiles to PTX and ptxas to machine code for any architecture; the wheel brings ptxas and the disassembler.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from ..index.errors import FailedPrecondition
from . import code_kernel, row_kernel

ARCHITECTURES = {80: "A100", 90: "H100", 100: "B200"}
DIM = 128
_ROWS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
_SHORT = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.int8: "i8"}


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture."""

    kernel: str
    architecture: int
    registers: int
    """Per thread."""
    spilled: int
    """Bytes per thread of local memory."""
    shared: int
    """Bytes per program, with what the driver reserves."""
    matrix: str
    """The matrix instruction in use, with its types; empty: none."""
    copies: int
    """Asynchronous copies from global to shared memory in the code."""
    loops: tuple[int, ...]
    """Instructions of a warp in one turn of each loop of the deepest nest, innermost first, without loops inside it."""


def variants(architecture: int) -> dict[str, tuple[Any, dict[str, str], dict[str, Any], Any]]:
    """Kernels by name: function, types of its arguments, constants, tiles. `x2`: a float32 query in two parts; `codes
    16`: codes of 16 bytes, `long`: with a query of more than 32 rows, `lists 16`: by list.
    """
    rows = {"query_offsets": "*i64", "scales": "*fp32", "offsets": "*i64", "candidates": "*i64"}
    rows |= {"candidate_offsets": "*i64", "scores": "*fp32", "matches": "*i32"}
    rows |= {"queries": "i32", "part": "i64", "width": "i32"}
    found: dict[str, tuple[Any, dict[str, str], dict[str, Any], Any]] = {}
    for name, parts, matches in (
        ("float16", 1, False),
        ("float16", 2, False),
        ("float16", 2, True),
        ("bfloat16", 1, False),
        ("int8", 2, False),
    ):
        kind = _ROWS[name]
        types = {"query": "*" + _SHORT[torch.float16 if name == "int8" else kind], "rows": "*" + _SHORT[kind], **rows}
        constants = row_kernel.constants(DIM, kind, parts, matches) | {"INTERPRETED": False}
        label = f"{name} x{parts}{' matches' if matches else ''}"
        found[label] = row_kernel.rows_kernel, types, constants, row_kernel.ROWS
    tiles = code_kernel.tiles_for(architecture)
    shared = {"query": "*i8", "bias": "*fp32", "words": "*i32", "bounds": "*i64"}
    whole = {"allowed": "*u8", "entries": "*i32", "scores": "*fp32", "documents": "i32", "groups": "i32"}
    lists = {"owners": "*i32", "probed": "*u8", "order": "*i64", "entries": "*i32", "board": "*i32", "length": "i32"}
    for size in (16, 64):
        for label, by in ((f"codes {size}", tiles), (f"codes {size} long", code_kernel.tiles_for(architecture, 2))):
            documents = code_kernel.of_documents(2 * size, DIM, by, masked=True) | {"INTERPRETED": False}
            found[label] = code_kernel.documents_kernel, shared | whole, documents, by
        probed = code_kernel.of_lists(2 * size, DIM, tiles) | {"INTERPRETED": False}
        found[f"lists {size}"] = code_kernel.lists_kernel, shared | lists, probed, tiles
    return found


def compile_for(name: str, architecture: int) -> Compiled:
    """Compiles one of the variants. FailedPrecondition: this process runs kernels in the interpreter."""
    if row_kernel.INTERPRETED:
        raise FailedPrecondition("kernels are interpreted in this process; unset TRITON_INTERPRET to compile them")
    function, types, constants, tiles = variants(architecture)[name]
    names = function.arg_names
    # torch aligns what it allocates; every pointer is to the beginning of a tensor, and parts are whole rows.
    aligned = {
        (names.index(n),): [["tt.divisibility", 16]] for n, kind in types.items() if kind[0] == "*" or n == "part"
    }
    source = ASTSource(
        function,
        {**types, **dict.fromkeys(constants, "constexpr")},
        {(names.index(n),): value for n, value in constants.items()},
        aligned,
    )
    made = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=tiles.options)
    ptx, shared = made.asm["ptx"], made.metadata.shared
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(made.asm["cubin"])
        usage = _run("cuobjdump", "--dump-resource-usage", file.name)
        code = _run("nvdisasm", "-c", file.name)
    registers, stack, reserved = map(int, re.findall(r"REG:(\d+) STACK:(\d+) SHARED:(\d+)", usage)[0])
    matrix = re.search(r"(wgmma\.mma_async|tcgen05\.mma|mma\.sync)[\w.:]*", ptx)
    copies = len(re.findall(r"cp\.async\.c[ag]", ptx))
    return Compiled(
        name, architecture, registers, stack, shared + reserved, matrix[0] if matrix else "", copies, loops(code)
    )


def loops(code: str) -> tuple[int, ...]:
    """Instructions in each loop of the deepest nest of disassembled code, innermost first: `Compiled.loops`."""
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    at = 0
    for line in code.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = at
        elif re.match(r"\s+/\*[0-9a-f]{4,}\*/", line):
            if jump := re.search(r"BRA[^`]*`\((\.L_x_\d+)\)", line):
                jumps.append((at, jump[1]))
            at += 1
    # A jump to itself ends the program.
    spans = {labels[to]: end for end, to in jumps if labels.get(to, end) < end}
    nests = [[(a, b) for a, b in spans.items() if a <= c and d <= b] for c, d in spans.items()]
    nest = sorted(max(nests, key=lambda n: (len(n), n[-1][1] - n[-1][0]), default=[]), key=lambda s: s[1] - s[0])
    sizes = [b - a + 1 for a, b in nest]
    return tuple(size - inner for size, inner in zip(sizes, [0, *sizes], strict=False))


def _run(tool: str, *arguments: str) -> str:
    folder = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
    return subprocess.run([folder / tool, *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    found = [compile_for(name, architecture) for architecture in ARCHITECTURES for name in variants(architecture)]
    json.dump([asdict(one) for one in found], sys.stdout, indent=1)


if __name__ == "__main__":
    main()
