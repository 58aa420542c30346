"""The scan of 4-bit codes as one Triton kernel: the integers of `index/native/pq4_loop.h`, so the same to the bit.

A word holds the losses of four query rows. Four sub-spaces are added as words, since `pq4.Table` keeps their sums within
a byte; then bytes widen to halves, which hold the sum of all sub-spaces. Half an addition for each look-up, and nothing
but the sums is ever written. Tensor cores would need the codes as 16 times as many ones and zeros: compiled for sm_90,
making those took twice the instructions and all registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_NONE = tl.constexpr(1 << 20)
"""Above every sum of losses."""


@dataclass(frozen=True)
class CodeTiles:
    """How the kernel cuts its work."""

    tokens: int = 64
    """Tokens scored at a time, a multiple of 32. Larger: fewer steps of the minimum; more registers."""
    query: int = 32
    """Query rows of a program, a multiple of 16; a longer query takes several programs, which read the codes again."""
    documents: int = 16
    """Neighbouring documents of a program. Larger: fewer blocks at the seams are scored twice; fewer programs."""
    warps: int = 4

    @property
    def options(self) -> dict[str, Any]:
        """What Triton is told besides constants."""
        return {"num_warps": self.warps}


CODES = CodeTiles()


@triton.jit
def _sums(codes, table, inside, SUBS: tl.constexpr, TOKENS: tl.constexpr, WORDS: tl.constexpr):
    """(TOKENS, WORDS) int32 twice: losses of query rows 4w and 4w + 2 of word w in its halves, and of 4w + 1, 4w + 3."""
    words = tl.arange(0, WORDS)[None, :]
    even = tl.zeros([TOKENS, WORDS], tl.int32)
    odd = tl.zeros([TOKENS, WORDS], tl.int32)
    for row in tl.static_range(0, SUBS // 2, 2):
        first = tl.load(codes + row * 32, mask=inside, other=0).to(tl.int32)[:, None]
        second = tl.load(codes + row * 32 + 32, mask=inside, other=0).to(tl.int32)[:, None]
        at = table + row * 32 * WORDS + words
        four = tl.load(at + (first & 15) * WORDS)
        four += tl.load(at + ((first >> 4) + 16) * WORDS)
        four += tl.load(at + ((second & 15) + 32) * WORDS)
        four += tl.load(at + ((second >> 4) + 48) * WORDS)
        even += four & 0x00FF00FF
        odd += (four >> 8) & 0x00FF00FF
    return even, odd


@triton.jit
def _least(best, pairs, mine, SHIFT: tl.constexpr):
    """The minimum of `best` (WORDS,) and one half of the pairs (TOKENS, WORDS) over the tokens that are `mine`."""
    return tl.minimum(best, tl.min(tl.where(mine[:, None], (pairs >> SHIFT) & 0xFFFF, _NONE), 0))


@triton.jit
def codes_kernel(
    codes,
    offsets,
    allowed,
    table,
    losses,
    documents,
    SUBS: tl.constexpr,
    MASKED: tl.constexpr,
    TOKENS: tl.constexpr,
    WORDS: tl.constexpr,
    DOCUMENTS: tl.constexpr,
):
    document = tl.program_id(0) * DOCUMENTS
    last = tl.minimum(document + DOCUMENTS, documents)
    table += tl.program_id(1) * (SUBS * 16 * WORDS)
    losses += tl.program_id(1).to(tl.int64) * documents
    start, stop, end = tl.load(offsets + document), tl.load(offsets + document + 1), tl.load(offsets + last)
    origin = start // 32 * 32
    if MASKED:
        asked = document + tl.arange(0, DOCUMENTS)
        open = tl.sum(tl.load(allowed + asked, mask=asked < last, other=0).to(tl.int32), 0)
        end = tl.where(open > 0, end, origin)
    lines = tl.arange(0, TOKENS)
    # Byte 2j + h of a block's row belongs to token 16h + j.
    place = lines // 32 * 32 + lines % 2 * 16 + lines % 32 // 2
    at = codes + origin * (SUBS // 2) + lines // 32 * (16 * SUBS) + lines % 32
    a = tl.full([WORDS], _NONE, tl.int32)
    b, c, d = a, a, a
    for t in range(0, (end - origin).to(tl.int32), TOKENS):
        even, odd = _sums(at + t * (SUBS // 2), table, origin + t + lines // 32 * 32 < end, SUBS, TOKENS, WORDS)  # pyright: ignore[reportGeneralTypeIssues]
        token = origin + t + place
        while (document < last) & (stop <= origin + t + TOKENS):
            mine = (token >= start) & (token < stop)
            total = _least(a, even, mine, 0) + _least(b, even, mine, 16)
            total += _least(c, odd, mine, 0) + _least(d, odd, mine, 16)
            tl.store(losses + document, tl.sum(total, 0))
            a = tl.full([WORDS], _NONE, tl.int32)
            b, c, d = a, a, a
            document += 1
            start = stop
            stop = tl.load(offsets + tl.minimum(document + 1, documents))
        mine = (token >= start) & (token < stop)
        a, b = _least(a, even, mine, 0), _least(b, even, mine, 16)
        c, d = _least(c, odd, mine, 0), _least(d, odd, mine, 16)


def code_losses(codes: Tensor, offsets: Tensor, losses: Tensor, allowed: Tensor | None = None) -> Tensor:
    """As `reference.code_losses`; where a document has no tokens or is not `allowed` (documents,) bool: any number."""
    documents = len(offsets) - 1
    words = words_of(losses, CODES.query)
    found = torch.empty((len(words), documents), dtype=torch.int32, device=codes.device)
    if documents and len(words):
        codes_kernel[(triton.cdiv(documents, CODES.documents), len(words))](
            codes,
            offsets,
            offsets if allowed is None else allowed.view(torch.uint8),
            words,
            found,
            documents,
            **constants(losses.shape[1], allowed is not None),
            **CODES.options,
        )
    return found.sum(0)


def words_of(losses: Tensor, query: int) -> Tensor:
    """(q, subs, 16) uint8 to (ceil(q / query), subs * 16, query / 4) int32, filled up with rows that lose nothing."""
    q, subs, _ = losses.shape
    full = losses.new_zeros((-(-q // query) * query, subs * 16))
    full[:q] = losses.reshape(q, subs * 16)
    return full.reshape(-1, query, subs * 16).transpose(1, 2).contiguous().view(torch.int32)


def constants(subs: int, masked: bool, tiles: CodeTiles = CODES) -> dict[str, Any]:
    """What the kernel is compiled for."""
    return {
        "SUBS": subs,
        "MASKED": masked,
        "TOKENS": tiles.tokens,
        "WORDS": tiles.query // 4,
        "DOCUMENTS": tiles.documents,
    }
