"""MaxSim over packed rows as one Triton kernel: every document is read once, and no product leaves the registers.

Tokens lie along M and the query along N of the matrix product: 64 tokens fill a warp group's tensor core instruction,
and a query of 32 its columns, where the other way round half of it would be padding. A program scores several
documents with the same query rows, which it holds on to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import knobs

from .reference import outputs

INTERPRETED = bool(knobs.runtime.interpret)
"""Whether kernels of this process run in Triton's interpreter, on CPU tensors."""


@dataclass(frozen=True)
class Tiles:
    """How a kernel cuts its work."""

    tokens: int = 64
    """Document tokens in a matrix product: 64 is the least that a warp group takes. Larger: fewer, fuller products;
    more registers, and more padding behind short documents."""
    query: int = 32
    """Query tokens in it. A longer query goes over its documents once for every so many."""
    documents: int = 8
    """Documents of a program. Larger: the query is read less often; fewer programs to fill the device with."""
    warps: int = 4
    stages: int = 2
    """Tiles of rows under way to a program. Larger: latency is hidden better; shared memory grows with it."""

    @property
    def options(self) -> dict[str, Any]:
        """What Triton is told besides constants."""
        return {"num_warps": self.warps, "num_stages": self.stages}


ROWS = Tiles()
_STEP = 128
"""Dimensions of one product. What is beyond goes in further steps, which read the query again."""


@triton.jit
def _asked(query, inside, dims, DIM: tl.constexpr):
    """(STEP, QUERY): some dimensions of some query rows, as the second factor of a product."""
    return tl.load(query + dims[None, :], mask=inside[:, None] & (dims < DIM)[None, :], other=0).trans()


@triton.jit
def _dot(x, y, s, INTERPRETED: tl.constexpr):
    """s + x @ y. The interpreter multiplies the bits of bfloat16: there both become float32."""
    if INTERPRETED:
        x, y = x.to(tl.float32), y.to(tl.float32)
    return tl.dot(x.to(y.dtype), y, s, input_precision="ieee")


@triton.jit
def _work(program, candidate_offsets, queries, DOCUMENTS: tl.constexpr):
    """A program's query, its first candidate, and how many.

    Query i has the programs from candidate_offsets[i] // DOCUMENTS + i: enough for its
    candidates, at most one too many.
    """
    owner, above = 0, queries
    while above - owner > 1:
        middle = (owner + above) // 2
        mine = tl.load(candidate_offsets + middle) // DOCUMENTS + middle <= program
        owner = tl.where(mine, middle, owner)
        above = tl.where(mine, above, middle)
    begin = tl.load(candidate_offsets + owner)
    first = begin + (program - begin // DOCUMENTS - owner) * DOCUMENTS
    return owner, first, tl.minimum(tl.load(candidate_offsets + owner + 1) - first, DOCUMENTS).to(tl.int32)


@triton.jit
def rows_kernel(
    query,
    query_offsets,
    rows,
    scales,
    offsets,
    candidates,
    candidate_offsets,
    scores,
    matches,
    queries,
    part,
    width,
    DIM: tl.constexpr,
    STEP: tl.constexpr,
    PARTS: tl.constexpr,
    SCALED: tl.constexpr,
    MATCHES: tl.constexpr,
    TOKENS: tl.constexpr,
    QUERY: tl.constexpr,
    DOCUMENTS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    owner, first, count = _work(tl.program_id(0), candidate_offsets, queries, DOCUMENTS)  # pyright: ignore[reportGeneralTypeIssues]
    start = tl.load(query_offsets + owner)
    length = (tl.load(query_offsets + owner + 1) - start).to(tl.int32)
    places, columns = tl.arange(0, DOCUMENTS), tl.arange(0, QUERY)
    lines, dims = tl.arange(0, TOKENS), tl.arange(0, STEP)
    sums = tl.zeros([DOCUMENTS], tl.float32)
    for column in range(0, tl.maximum(length, 1), QUERY):
        asked = column + columns < length
        at = query + (start + column + columns)[:, None] * DIM
        # Held for all documents where the dimensions are taken in one step.
        a = _asked(at, asked, dims, DIM)
        b = _asked(at + part, asked, dims, DIM) if PARTS > 1 else a
        c = _asked(at + 2 * part, asked, dims, DIM) if PARTS > 2 else a
        for n in range(count):
            document = tl.load(candidates + first + n)
            begin = tl.load(offsets + document)
            tokens = (tl.load(offsets + document + 1) - begin).to(tl.int32)
            best = tl.full([QUERY], float("-inf"), tl.float32)
            met = tl.full([QUERY], -1, tl.int32)
            for t in range(0, tokens, TOKENS):
                inside = t + lines < tokens
                row = rows + begin * DIM + (t + lines)[:, None] * DIM + dims[None, :]
                s = tl.zeros([TOKENS, QUERY], tl.float32)
                for d in tl.static_range(0, DIM, STEP):
                    x = tl.load(row + d, mask=inside[:, None] & (d + dims < DIM)[None, :], other=0)
                    s = _dot(x, _asked(at, asked, d + dims, DIM) if d > 0 else a, s, INTERPRETED)
                    if PARTS > 1:
                        s = _dot(x, _asked(at + part, asked, d + dims, DIM) if d > 0 else b, s, INTERPRETED)
                    if PARTS > 2:
                        s = _dot(x, _asked(at + 2 * part, asked, d + dims, DIM) if d > 0 else c, s, INTERPRETED)
                if SCALED:
                    s *= tl.load(scales + begin + t + lines, mask=inside, other=0)[:, None]
                s = tl.where(inside[:, None], s, float("-inf"))
                if MATCHES:
                    top, line = tl.max(s, 0, return_indices=True)
                    met = tl.where(top > best, t + line, met)
                    best = tl.maximum(best, top)
                else:
                    best = tl.maximum(best, tl.max(s, 0))
            if MATCHES:
                tl.store(matches + (first + n) * width + column + columns, met, mask=asked & (column + columns < width))
            total = tl.where(tokens > 0, tl.sum(tl.where(asked, best, 0), 0), float("-inf"))
            sums = tl.where(places == n, sums + total, sums)
    tl.store(scores + first + places, sums, mask=places < count)


def maxsim(
    query: Tensor,
    query_offsets: Tensor,
    rows: Tensor,
    scales: Tensor | None,
    offsets: Tensor,
    candidates: Tensor,
    candidate_offsets: Tensor,
    width: int = 0,
) -> tuple[Tensor, Tensor]:
    """`plait::maxsim` by the kernel; arguments as in `maxsim.py`."""
    scores, matches = outputs(candidates, width)
    queries, dim = len(query_offsets) - 1, rows.shape[1]
    if not len(candidates) or not queries:
        return scores, matches
    parts = split(query, rows.dtype)
    rows_kernel[(len(candidates) // ROWS.documents + queries,)](
        parts,
        query_offsets,
        rows.contiguous(),
        scales,
        offsets,
        candidates,
        candidate_offsets,
        scores,
        matches,
        queries,
        parts[0].numel(),
        width,
        **constants(dim, rows.dtype, len(parts), width > 0),
        **ROWS.options,
    )
    return scores, matches


def constants(dim: int, rows: torch.dtype, parts: int, matches: bool = False, tiles: Tiles = ROWS) -> dict[str, Any]:
    """What the kernel is compiled for."""
    return {
        "DIM": dim,
        "STEP": min(max(16, triton.next_power_of_2(dim)), _STEP),
        "PARTS": parts,
        "SCALED": rows == torch.int8,
        "MATCHES": matches,
        "TOKENS": tiles.tokens,
        "QUERY": tiles.query,
        "DOCUMENTS": tiles.documents,
        "INTERPRETED": INTERPRETED,
    }


def split(query: Tensor, rows: torch.dtype) -> Tensor:
    """(parts, tokens, dim) of the type that the rows are multiplied in, which sum to the
    query: one where types agree."""
    kind = torch.float16 if rows == torch.int8 else rows
    parts, left = [query.to(kind)], query
    if query.dtype != kind and kind != torch.float32:
        left = query.float()
        for _ in range(2 if kind == torch.bfloat16 else 1):
            left = left - parts[-1].float()
            parts.append(left.to(kind))
    return torch.stack(parts)
