"""MaxSim and the scans of codes in plain torch: on any device, for checking the kernels and in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .codes import Asked, Book

_TOKENS = 1 << 16
"""Tokens whose products are held at a time."""
_NOWHERE = 1 << 40
"""Beyond every position in a document."""


def outputs(candidates: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Room for the results of `plait::maxsim`: (candidates,) float32 and (candidates, width)
    int32, none where width is 0."""
    n = candidates.shape[0]
    matches = candidates.new_full((n if width else 0, width), -1, dtype=torch.int32)
    return candidates.new_empty(n, dtype=torch.float32), matches


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
    """`plait::maxsim` by float32 products; arguments as in `maxsim.py`."""
    scores, matches = outputs(candidates, width)
    bounds, asked = query_offsets.tolist(), candidate_offsets.tolist()
    for q in range(len(bounds) - 1):
        one = query[bounds[q] : bounds[q + 1]].float()
        lengths = (offsets[1:] - offsets[:-1])[candidates[asked[q] : asked[q + 1]]]
        for first, last in _blocks(lengths):
            mine = slice(asked[q] + first, asked[q] + last)
            at, owners, inside = _ragged(offsets[candidates[mine]], lengths[first:last])
            found = rows[at].float()
            if scales is not None:
                found *= scales[at, None]
            products = found @ one.T
            best = products.new_full((last - first, len(one)), -torch.inf)
            best.scatter_reduce_(0, owners[:, None].expand_as(products), products, "amax")
            scores[mine] = torch.where(lengths[first:last] > 0, best.sum(1), -torch.inf)
            if width:
                where = torch.where(products == best[owners], inside[:, None], _NOWHERE)
                place = where.new_full(best.shape, _NOWHERE)
                place.scatter_reduce_(0, owners[:, None].expand_as(where), where, "amin")
                place[lengths[first:last] == 0] = -1
                matches[mine, : len(one)] = place.int()
    return scores, matches


def decoded(entries: Tensor, words: Tensor) -> Tensor:
    """(8 * blocks, dim) float32 of words (blocks, subs): the byte that every code stands for."""
    bytes_ = entries.T.contiguous().view(torch.int8)
    blocks, subs = words.shape
    numbers = (words[:, None, :] >> (4 * torch.arange(8, device=words.device))[:, None]) & 15
    each = numbers.reshape(8 * blocks, subs).repeat_interleave(len(bytes_) // subs, 1).long()
    return 128 + bytes_.T.gather(0, each).float()


def document_scores(book: Book, asked: Asked, words: Tensor, bounds: Tensor) -> Tensor:
    """(groups, documents) float32 by the codes, in the unit of `asked`: sums of a group's row maxima.

    Minus infinity for a document without tokens.

    Args:
        words: (blocks, subs) int32.
        bounds: (documents + 1,) int64: document d is blocks bounds[d] to bounds[d + 1] - 1.
    """
    lengths, rows = bounds[1:] - bounds[:-1], asked.rows.float()
    best = rows.new_full((len(lengths), len(rows)), -torch.inf)
    for first, last in _blocks(8 * lengths):
        at, owners, _ = _ragged(bounds[first:last], lengths[first:last])
        products = decoded(book.entries, words[at]) @ rows.T
        owners = owners.repeat_interleave(8)[:, None].expand_as(products)
        best[first:last].scatter_reduce_(0, owners, products, "amax")
    return (best + asked.bias).reshape(len(lengths), -1, 32).sum(2).T.contiguous()


def list_gains(
    book: Book, asked: Asked, words: Tensor, bounds: Tensor, owners: Tensor, probed: Tensor, documents: int
) -> Tensor:
    """(documents, q) float32 in the unit of `asked`: the greatest product of a query row with the tokens of a document
    that lie in lists which it probes, and 0 where that is less.

    Args:
        bounds: (lists + 1,) int64: list l is blocks bounds[l] to bounds[l + 1] - 1.
        owners: (8 * blocks,) int32 document positions; `documents` where a block is filled up.
        probed: (lists, q) bool.
    """
    rows, q = asked.rows.float(), probed.shape[1]
    board = rows.new_zeros((documents + 1, q))
    read = probed.any(1).nonzero()[:, 0]
    lengths = (bounds[1:] - bounds[:-1])[read]
    for first, last in _blocks(8 * lengths):
        at, lists, _ = _ragged(bounds[read[first:last]], lengths[first:last])
        products = (decoded(book.entries, words[at]) @ rows.T + asked.bias)[:, :q]
        gains = products.clamp_min(0) * probed[read[first:last]][lists.repeat_interleave(8)]
        mine = owners.reshape(-1, 8)[at].reshape(-1, 1).long().expand_as(gains)
        board.scatter_reduce_(0, mine, gains, "amax")
    return board[:documents]


def _blocks(lengths: Tensor) -> list[tuple[int, int]]:
    """Ranges of documents with about `_TOKENS` tokens each; a longer document stands alone."""
    ends = lengths.cumsum(0).tolist()
    bounds = [0]
    for n, end in enumerate(ends):
        if n > bounds[-1] and end - (ends[bounds[-1] - 1] if bounds[-1] else 0) > _TOKENS:
            bounds.append(n)
    return list(zip(bounds, [*bounds[1:], len(ends)], strict=True)) if ends else []


def _ragged(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For every token of some documents: its row, its document's place among them, its position within the document."""
    owners = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    first = lengths.cumsum(0) - lengths
    inside = torch.arange(len(owners), device=lengths.device) - first[owners]
    return starts[owners] + inside, owners, inside
