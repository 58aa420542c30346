"""4-bit codes decoded tile by tile and multiplied with the query in the tensor cores:
`codes.py` says what they stand for.

A thread has eight dimensions of eight tokens, and the sixteen bytes of each dimension in four registers: three byte
permutations look up four tokens' codes of a dimension, two more turn four tokens of a dimension into four dimensions of
a token, which is how tensor cores take bytes. Nothing is read but words, and no table is looked up in memory; products
stay in registers.

Query rows lie along M, because a maximum over columns is one within threads. A row is 256 times one byte and another:
of every sixteen rows of the factor eight are the upper bytes of query rows and eight their lower ones, since a thread
has the products of rows that lie eight apart. So both meet without a move.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .codes import GROUP, Asked, Book
from .row_kernel import INTERPRETED


@dataclass(frozen=True)
class CodeTiles:
    """How the kernels cut their work."""

    blocks: int = 8
    """Blocks of eight tokens in a matrix product. Larger: fewer instructions for each token; more registers, and more
    padding behind short documents."""
    groups: int = 1
    """Groups of 32 query rows of a program. Larger: a long query decodes fewer times; more registers."""
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


def tiles_for(capability: int, groups: int = 1) -> CodeTiles:
    """The tiles of a GPU by its compute capability, 90 for 9.0, for so many groups of query rows."""
    two = groups > 1
    if capability // 10 == 9:
        return CodeTiles(groups=1 + two, registers=168 if two else 128)
    # No warp group multiplies bytes: warps do, one by one. Two have all rows between them, so no maximum crosses over.
    return CodeTiles(groups=1 + two, blocks=4, warps=2, registers=240 if two else 168)


@triton.jit
def _permuted(a, b, selector, INTERPRETED: tl.constexpr):
    """Four bytes: byte i is the one of `a` (0 to 3) and `b` (4 to 7) that nibble i of the selector's low half names."""
    if INTERPRETED:
        at = tl.arange(0, 4)
        named = (tl.expand_dims((a ^ a) | selector, -1) >> (4 * at)) & 7
        pool = tl.where(named < 4, tl.expand_dims(a, -1), tl.expand_dims(b, -1))
        return tl.sum(((pool >> (8 * (named & 3))) & 255) << (8 * at), -1)
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, $3;", "=r,r,r,r", [a, b, selector], dtype=tl.int32, is_pure=True, pack=1
    )


@triton.jit
def _entries(entries, group, DIM: tl.constexpr):
    """32 rows (1, groups) int32: word i of dimension j of every group of eight is the one at 4 * j + i."""
    t = ()
    for at in tl.static_range(0, 32):  # pyright: ignore[reportGeneralTypeIssues]
        t += (tl.load(entries + (at % 4) * DIM + (8 * group + at // 4)[None, :]),)
    return t


@triton.jit
def _read(words, block, group, inside, SUBS: tl.constexpr, WIDTH: tl.constexpr):
    """The words of some blocks that eight dimensions have: one or two tensors (blocks, groups, words of a load)."""
    # Triton sees four words in a row where this is a multiple, not where it is a quotient.
    first = group * (8 // WIDTH) if WIDTH <= 8 else group // (WIDTH // 8)
    inner = tl.arange(0, max(1, min(8 // WIDTH, 4)))
    at = words + block[:, None, None] * SUBS + first[None, :, None] + inner[None, None, :]  # pyright: ignore[reportGeneralTypeIssues]
    own = tl.load(at, mask=inside)
    return (own, tl.load(at + 4, mask=inside)) if WIDTH == 1 else (own,)


@triton.jit
def _apart(words):
    """(blocks, groups, 4) as four tensors."""
    even, odd = words.reshape(words.shape[0], words.shape[1], 2, 2).split()  # pyright: ignore[reportGeneralTypeIssues]
    a, c = even.split()
    b, d = odd.split()
    return a, b, c, d


@triton.jit
def _each(own, WIDTH: tl.constexpr):
    """Eight tensors (blocks, groups): the word of every dimension of a group."""
    if WIDTH >= 8:
        w = own[0].reshape(own[0].shape[0], own[0].shape[1])
        return w, w, w, w, w, w, w, w
    elif WIDTH == 4:
        a, b = own[0].split()
        return a, a, a, a, b, b, b, b
    elif WIDTH == 2:
        a, b, c, d = _apart(own[0])  # pyright: ignore[reportGeneralTypeIssues]
        return a, a, b, b, c, c, d, d
    else:
        return _apart(own[0]) + _apart(own[1])


@triton.jit
def _looked_up(word, t, DIMENSION: tl.constexpr, INTERPRETED: tl.constexpr):
    """(blocks, groups, 2): a dimension's bytes of the first four tokens, and of the others."""
    low = word & 0x77777777
    high = ((word >> 1) & 0x44444444) | 0x32103210
    low, high = tl.join(low, low >> 16), tl.join(high, high >> 16)
    below = _permuted(t[4 * DIMENSION][:, :, None], t[4 * DIMENSION + 1][:, :, None], low, INTERPRETED)
    above = _permuted(t[4 * DIMENSION + 2][:, :, None], t[4 * DIMENSION + 3][:, :, None], low, INTERPRETED)
    return _permuted(below, above, high, INTERPRETED)


@triton.jit
def _pair(words, t, DIMENSION: tl.constexpr, INTERPRETED: tl.constexpr):
    """(blocks, groups, 2, 2): what is looked up for a dimension, and for the one four behind it."""
    one = _looked_up(words[DIMENSION], t, DIMENSION, INTERPRETED)
    return tl.join(one, _looked_up(words[DIMENSION + 4], t, DIMENSION + 4, INTERPRETED))


@triton.jit
def _decoded(words, t, INTERPRETED: tl.constexpr):
    """(8 * groups, 8 * blocks) int8, tokens in order."""
    a, b = _pair(words, t, 0, INTERPRETED), _pair(words, t, 1, INTERPRETED)
    c, d = _pair(words, t, 2, INTERPRETED), _pair(words, t, 3, INTERPRETED)
    # Four tokens of a dimension become four dimensions of a token.
    ab, cd = _permuted(a, b, 0x5140, INTERPRETED), _permuted(c, d, 0x5140, INTERPRETED)
    first = tl.join(_permuted(ab, cd, 0x5410, INTERPRETED), _permuted(ab, cd, 0x7632, INTERPRETED))
    ab, cd = _permuted(a, b, 0x7362, INTERPRETED), _permuted(c, d, 0x7362, INTERPRETED)
    second = tl.join(_permuted(ab, cd, 0x5410, INTERPRETED), _permuted(ab, cd, 0x7632, INTERPRETED))
    # From (blocks, groups, half of eight tokens, half of eight dimensions, token of two, two of four).
    x = tl.join(first, second).permute(0, 2, 5, 4, 1, 3)
    x = x.reshape(8 * x.shape[0], 2 * x.shape[4])
    even = tl.join(x.to(tl.int8), (x >> 16).to(tl.int8))
    x = tl.join(even, tl.join((x >> 8).to(tl.int8), (x >> 24).to(tl.int8))).reshape(x.shape[0], 4 * x.shape[1])
    if not INTERPRETED:
        # Nothing is done here. For sm_80, Triton picks the factor's layout by what joins it sees behind it, and picks
        # one that costs half as many moves again as everything else.
        x = tl.inline_asm_elementwise("", "=r,0", [x], dtype=tl.int8, is_pure=False, pack=4)
    return x.trans()


@triton.jit
def _products(
    a,
    t,
    own,
    query,
    words,
    block,
    entries,
    SUBS: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """(rows / 8, 8, 8 * blocks) int32. `a`, `t` and `own` are the query rows, entries and words of the first step."""
    s = tl.dot(a, _decoded(_each(own, WIDTH), t, INTERPRETED), out_dtype=tl.int32)
    for d in tl.static_range(STEP, SUBS * WIDTH, STEP):
        group = d // 8 + tl.arange(0, STEP // 8)
        own = _read(words, block, group, True, SUBS, WIDTH)
        x = _decoded(_each(own, WIDTH), _entries(entries, group, SUBS * WIDTH), INTERPRETED)
        s = tl.dot(tl.load(query + (d + tl.arange(0, STEP))[None, :]), x, s, out_dtype=tl.int32)
    upper, lower = s.reshape(s.shape[0] // 16, 2, 8, s.shape[1]).permute(0, 2, 3, 1).split()
    return 256 * upper + lower


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
    GROUP: tl.constexpr,
    GROUPS: tl.constexpr,
    DOCUMENTS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    document = tl.program_id(0) * DOCUMENTS
    last = tl.minimum(document + DOCUMENTS, documents)
    rows, blocks, group = tl.arange(0, GROUP * GROUPS), tl.arange(0, BLOCKS), tl.arange(0, STEP // 8)
    rows += tl.program_id(1) * GROUP * GROUPS
    parts = tl.program_id(1) * 2 * GROUP * GROUPS + tl.arange(0, 2 * GROUP * GROUPS)
    query += parts[:, None] * (SUBS * WIDTH)
    a, t = tl.load(query + tl.arange(0, STEP)[None, :]), _entries(entries, group, SUBS * WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
    added = tl.load(bias + rows).reshape(GROUP * GROUPS // 8, 8)
    each = tl.program_id(1) * GROUPS + tl.arange(0, GROUPS)
    scores += each.to(tl.int64) * documents
    start = tl.load(bounds + document)
    while document < last:
        stop = tl.load(bounds + document + 1)
        count = (stop - start).to(tl.int32)
        if MASKED:
            count = tl.where(tl.load(allowed + document) != 0, count, 0)
        best = tl.full([GROUP * GROUPS // 8, 8], -(2**31), tl.int32)
        # Behind the last block it is read again.
        here, block = words + start * SUBS, tl.minimum(blocks, count - 1)
        own = _read(here, block, group, count > 0, SUBS, WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
        for n in range(0, count, BLOCKS):
            # The next tile's words are under way while this one's are decoded.
            ahead = tl.minimum(n + BLOCKS + blocks, count - 1)
            following = _read(here, ahead, group, n + BLOCKS < count, SUBS, WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
            s = _products(a, t, own, query, here, block, entries, SUBS, WIDTH, STEP, INTERPRETED)  # pyright: ignore[reportGeneralTypeIssues]
            best = tl.maximum(best, tl.max(s, 2))
            block, own = ahead, following
        total = tl.sum((best.to(tl.float32) + added).reshape(GROUPS, GROUP), 1)
        tl.store(scores + document, tl.where(count > 0, total, float("-inf")), mask=each < groups)
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
    GROUP: tl.constexpr,
    SPLITS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    of = tl.load(order + tl.program_id(0))
    rows, blocks, group = tl.arange(0, GROUP), tl.arange(0, BLOCKS), tl.arange(0, STEP // 8)
    query += (tl.program_id(2) * 2 * GROUP + tl.arange(0, 2 * GROUP))[:, None] * (SUBS * WIDTH)
    a, t = tl.load(query + tl.arange(0, STEP)[None, :]), _entries(entries, group, SUBS * WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
    rows += tl.program_id(2) * GROUP
    mine = tl.load(probed + of * length + rows, mask=rows < length, other=0) != 0
    added = tl.load(bias + rows)
    start = tl.load(bounds + of)
    count = (tl.load(bounds + of + 1) - start).to(tl.int32)
    count = tl.where(tl.sum(mine.to(tl.int32), 0) > 0, count, 0)
    words += start * SUBS
    owners += start * 8
    for n in range(tl.program_id(1) * BLOCKS, count, SPLITS * BLOCKS):
        block = tl.minimum(n + blocks, count - 1)
        own = _read(words, block, group, True, SUBS, WIDTH)  # pyright: ignore[reportGeneralTypeIssues]
        s = _products(a, t, own, query, words, block, entries, SUBS, WIDTH, STEP, INTERPRETED)  # pyright: ignore[reportGeneralTypeIssues]
        s = s.reshape(GROUP, 8 * BLOCKS).to(tl.float32) + added[:, None]
        owner = tl.load(owners + block[:, None] * 8 + tl.arange(0, 8)[None, :]).reshape(8 * BLOCKS).to(tl.int64)  # pyright: ignore[reportGeneralTypeIssues]
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
        tiles = tiles_for(_capability(words), groups)
        rows, bias = _parts(asked, tiles.groups)
        documents_kernel[(triton.cdiv(documents, tiles.documents), triton.cdiv(groups, tiles.groups))](
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
        tiles = tiles_for(_capability(words))
        rows, bias = _parts(asked, tiles.groups)
        order = probed.any(1).to(torch.uint8).argsort(descending=True)[:most]
        lists_kernel[(len(order), tiles.splits, len(bias) // GROUP)](
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
    return _constants(subs, dim, tiles) | {
        "MASKED": masked,
        "GROUPS": tiles.groups,
        "DOCUMENTS": tiles.documents,
    }


def of_lists(subs: int, dim: int, tiles: CodeTiles) -> dict[str, Any]:
    """What the scan of lists is compiled for."""
    return _constants(subs, dim, tiles) | {"SPLITS": tiles.splits}


def _constants(subs: int, dim: int, tiles: CodeTiles) -> dict[str, Any]:
    return {
        "SUBS": subs,
        "WIDTH": dim // subs,
        "STEP": min(dim, _STEP),
        "BLOCKS": tiles.blocks,
        "GROUP": GROUP,
        "INTERPRETED": INTERPRETED,
    }


def _capability(tensor: Tensor) -> int:
    major, minor = torch.cuda.get_device_capability(tensor.device) if tensor.is_cuda else (9, 0)
    return 10 * major + minor


def _parts(asked: Asked, groups: int) -> tuple[Tensor, Tensor]:
    """Filled up to whole programs: (2 * rows, dim) int8, the upper and lower bytes of eight rows in turn; (rows,)
    float32, what is added to products with bytes that have signs, 128 less than those that `asked` speaks of."""
    missing, pad = -len(asked.rows) % (groups * GROUP), torch.nn.functional.pad
    whole = pad(asked.rows.int(), (0, 0, 0, missing)).unflatten(0, (-1, 8))
    upper = (whole + 128) >> 8
    parts = torch.stack([upper, whole - 256 * upper], 1).to(torch.int8).flatten(0, 2)
    return parts, pad(asked.bias + 128 * asked.rows.sum(1), (0, missing))
