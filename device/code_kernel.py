"""4-bit codes decoded tile by tile and multiplied with the query in the tensor cores: `codes.py` says what they stand for.

A word holds one dimension's codes of eight tokens, and a thread the sixteen bytes of its dimension: three byte permutations
look up four codes, two more make float16 of them. Nothing is read but words, and no table is looked up in memory; products
stay in registers. Query rows lie along M, because a maximum over columns is one within threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .codes import GROUP, Asked, Book
from .row_kernel import INTERPRETED, _dot


@dataclass(frozen=True)
class CodeTiles:
    """How the kernels cut their work."""

    blocks: int = 8
    """Blocks of eight tokens in a matrix product. Larger: fewer instructions for each token; more registers, and more
    padding behind short documents."""
    query: int = 64
    """Query rows of a program. 64 is the least that a warp group takes along M; rows beyond the query are multiplied too."""
    documents: int = 16
    """Documents of a program. Larger: the query and the entries are read less often; fewer programs."""
    splits: int = 8
    """Programs that share a list. Larger: long lists end sooner; more programs find nothing to do."""
    warps: int = 4
    registers: int = 128
    """Of a thread, at most. Smaller: more programs at once, which hide each other's waits; too small: they spill."""

    @property
    def options(self) -> dict[str, Any]:
        """What Triton is told besides constants."""
        return {"num_warps": self.warps, "num_stages": 1, "maxnreg": self.registers}


_STEP = 128
"""Dimensions of one product."""


def tiles_for(capability: int, lists: bool = False) -> CodeTiles:
    """The tiles of a GPU by its compute capability, 90 for 9.0, for documents or for lists."""
    warp_groups = capability >= 90
    query, registers = (64, 128) if warp_groups else (32, 128 if lists else 168)
    return CodeTiles(query=query, registers=registers, blocks=4 if lists else 8)


@triton.jit
def _permuted(a, b, selector, INTERPRETED: tl.constexpr):
    """Four bytes: byte i is the one of `a` (0 to 3) and `b` (4 to 7) that nibble i of the selector's low half names."""
    if INTERPRETED:
        out = (a ^ a) ^ (b ^ b) ^ (selector ^ selector)
        for i in tl.static_range(0, 4):  # pyright: ignore[reportGeneralTypeIssues]
            named = (selector >> (4 * i)) & 7
            byte = (tl.where(named < 4, a, b) >> (8 * (named & 3))) & 255
            out |= byte << (8 * i)
        return out
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, selector], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def _entries(entries, dims, DIM: tl.constexpr):
    """Six columns (dims, 1) int32. The last two are constants: written as such they would be moved anew for every use."""
    at = entries + dims[:, None]
    return (
        tl.load(at),
        tl.load(at + DIM),
        tl.load(at + 2 * DIM),
        tl.load(at + 3 * DIM),
        tl.load(at + 4 * DIM),
        tl.load(at + 5 * DIM),
    )


@triton.jit
def _four(low, high, t, INTERPRETED: tl.constexpr):
    """The bytes of four codes: `low` names them by their three lower bits, `high` by the fourth."""
    below = _permuted(t[0], t[1], low, INTERPRETED)
    return _permuted(below, _permuted(t[2], t[3], low, INTERPRETED), high, INTERPRETED)


@triton.jit
def _decoded(words, t, INTERPRETED: tl.constexpr):
    """(dims, blocks) words to (dims, blocks, 2, 2, 2) float16, eight tokens in order."""
    low = words & 0x77777777
    high = ((words >> 1) & 0x44444444) | t[5]
    a = _four(low, high, t, INTERPRETED)
    b = _four(low >> 16, high >> 16, t, INTERPRETED)
    # A byte below 0x64 is the float16 of 1024 and the byte.
    first = tl.join(_permuted(a, t[4], 0x4140, INTERPRETED), _permuted(b, t[4], 0x4140, INTERPRETED))
    second = tl.join(_permuted(a, t[4], 0x4342, INTERPRETED), _permuted(b, t[4], 0x4342, INTERPRETED))
    pairs = tl.join(first, second)
    even = (pairs & 0xFFFF).to(tl.int16).to(tl.float16, bitcast=True)
    return tl.join(even, (pairs >> 16).to(tl.int16).to(tl.float16, bitcast=True))


@triton.jit
def _products(
    a,
    t,
    query,
    words,
    block,
    entries,
    SUBS: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    BLOCKS: tl.constexpr,
    QUERY: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """(QUERY, 8 * BLOCKS) float32. `a` and `t` are the query rows and entries of the first step."""
    s = tl.zeros([QUERY, 8 * BLOCKS], tl.float32)
    for d in tl.static_range(0, SUBS * WIDTH, STEP):
        dims = d + tl.arange(0, STEP)
        own = tl.load(words + block[None, :] * SUBS + (dims // WIDTH)[:, None])
        x = _decoded(own, _entries(entries, dims, SUBS * WIDTH) if d > 0 else t, INTERPRETED)
        x = x.reshape(STEP, 8 * BLOCKS)
        if not INTERPRETED:
            # Nothing is done here. For sm_80, Triton picks the factor's layout by what joins it sees behind it, and picks
            # one that costs as many moves again as everything else.
            x = tl.inline_asm_elementwise("", "=r,0", [x], dtype=tl.float16, is_pure=False, pack=2)
        s = _dot(tl.load(query + dims[None, :]) if d > 0 else a, x, s, INTERPRETED)
    return s


@triton.jit
def documents_kernel(
    query,
    bias,
    words,
    bounds,
    allowed,
    entries,
    scores,
    documents,
    groups,
    SUBS: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
    STEP: tl.constexpr,
    BLOCKS: tl.constexpr,
    QUERY: tl.constexpr,
    GROUP: tl.constexpr,
    DOCUMENTS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    document = tl.program_id(0) * DOCUMENTS
    last = tl.minimum(document + DOCUMENTS, documents)
    rows, blocks = tl.program_id(1) * QUERY + tl.arange(0, QUERY), tl.arange(0, BLOCKS)
    group = tl.program_id(1) * (QUERY // GROUP) + tl.arange(0, QUERY // GROUP)
    query += rows[:, None] * (SUBS * WIDTH)
    dims = tl.arange(0, STEP)
    a, t = tl.load(query + dims[None, :]), _entries(entries, dims, SUBS * WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
    added = tl.load(bias + rows)
    start = tl.load(bounds + document)
    while document < last:
        stop = tl.load(bounds + document + 1)
        count = (stop - start).to(tl.int32)
        if MASKED:
            count = tl.where(tl.load(allowed + document) != 0, count, 0)
        best = tl.full([QUERY], float("-inf"), tl.float32)
        for n in range(0, count, BLOCKS):
            # Behind the last block it is read again.
            block = start + tl.minimum(n + blocks, count - 1)
            s = _products(a, t, query, words, block, entries, SUBS, WIDTH, STEP, BLOCKS, QUERY, INTERPRETED)  # pyright: ignore[reportGeneralTypeIssues]
            best = tl.maximum(best, tl.max(s, 1))
        total = tl.sum((best + added).reshape(QUERY // GROUP, GROUP), 1)
        tl.store(scores + group.to(tl.int64) * documents + document, total, mask=group < groups)
        document += 1
        start = stop


@triton.jit
def lists_kernel(
    query,
    bias,
    words,
    bounds,
    owners,
    probed,
    order,
    entries,
    board,
    length,
    SUBS: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    BLOCKS: tl.constexpr,
    QUERY: tl.constexpr,
    SPLITS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    of = tl.load(order + tl.program_id(0))
    rows, blocks, eight = tl.program_id(2) * QUERY + tl.arange(0, QUERY), tl.arange(0, BLOCKS), tl.arange(0, 8)
    mine = tl.load(probed + of * length + rows, mask=rows < length, other=0) != 0
    query += rows[:, None] * (SUBS * WIDTH)
    dims = tl.arange(0, STEP)
    a, t = tl.load(query + dims[None, :]), _entries(entries, dims, SUBS * WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
    added = tl.load(bias + rows)
    start = tl.load(bounds + of)
    count = (tl.load(bounds + of + 1) - start).to(tl.int32)
    count = tl.where(tl.sum(mine.to(tl.int32), 0) > 0, count, 0)
    for n in range(tl.program_id(1) * BLOCKS, count, SPLITS * BLOCKS):
        block = start + tl.minimum(n + blocks, count - 1)
        s = _products(a, t, query, words, block, entries, SUBS, WIDTH, STEP, BLOCKS, QUERY, INTERPRETED)  # pyright: ignore[reportGeneralTypeIssues]
        s += added[:, None]
        owner = tl.load(owners + block[:, None] * 8 + eight[None, :]).reshape(8 * BLOCKS).to(tl.int64)
        # Gains are above zero, where the order of floats is that of their bits.
        gain = s.to(tl.int32, bitcast=True)
        tl.atomic_max(
            board + owner[None, :] * length + rows[:, None], gain, mask=mine[:, None] & (s > 0), sem="relaxed"
        )


def document_scores(book: Book, asked: Asked, words: Tensor, bounds: Tensor, allowed: Tensor | None = None) -> Tensor:
    """As `reference.document_scores`."""
    documents, groups = len(bounds) - 1, len(asked.rows) // GROUP
    scores = asked.bias.new_empty((groups, documents))
    if documents and groups:
        tiles = _tiles(words, lists=False)
        rows, bias = _filled(asked, tiles)
        documents_kernel[(triton.cdiv(documents, tiles.documents), len(rows) // tiles.query)](
            rows,
            bias,
            words,
            bounds,
            bounds if allowed is None else allowed.view(torch.uint8),
            book.entries,
            scores,
            documents,
            groups,
            **of_documents(book.subs, len(book.low), tiles, allowed is not None),
            **tiles.options,
        )
    return scores


def list_gains(
    book: Book, asked: Asked, words: Tensor, bounds: Tensor, owners: Tensor, probed: Tensor, most: int, documents: int
) -> Tensor:
    """As `reference.list_gains`."""
    lists, length = probed.shape
    board = words.new_zeros((documents + 1, length))
    if lists and length:
        tiles = _tiles(words, lists=True)
        rows, bias = _filled(asked, tiles)
        order = probed.any(1).to(torch.uint8).argsort(descending=True)[:most]
        lists_kernel[(len(order), tiles.splits, len(rows) // tiles.query)](
            rows,
            bias,
            words,
            bounds,
            owners,
            probed.view(torch.uint8),
            order,
            book.entries,
            board,
            length,
            **of_lists(book.subs, len(book.low), tiles),
            **tiles.options,
        )
    return board[:documents].view(torch.float32)


def of_documents(subs: int, dim: int, tiles: CodeTiles, masked: bool) -> dict[str, Any]:
    """What the scan of documents is compiled for; `dim` is the rotated one."""
    return _constants(subs, dim, tiles) | {"MASKED": masked, "DOCUMENTS": tiles.documents, "GROUP": GROUP}


def of_lists(subs: int, dim: int, tiles: CodeTiles) -> dict[str, Any]:
    """What the scan of lists is compiled for."""
    return _constants(subs, dim, tiles) | {"SPLITS": tiles.splits}


def _constants(subs: int, dim: int, tiles: CodeTiles) -> dict[str, Any]:
    return {
        "SUBS": subs,
        "WIDTH": dim // subs,
        "STEP": min(dim, _STEP),
        "BLOCKS": tiles.blocks,
        "QUERY": tiles.query,
        "INTERPRETED": INTERPRETED,
    }


def _tiles(tensor: Tensor, lists: bool) -> CodeTiles:
    major, minor = torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (9, 0)
    return tiles_for(10 * major + minor, lists)


def _filled(asked: Asked, tiles: CodeTiles) -> tuple[Tensor, Tensor]:
    """Rows and biases, filled up to whole programs."""
    missing = -len(asked.rows) % tiles.query
    pad = torch.nn.functional.pad
    return pad(asked.rows, (0, 0, 0, missing)), pad(asked.bias, (0, missing))
