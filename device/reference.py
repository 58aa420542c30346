"""MaxSim and the scan of codes in plain torch: on any device, for checking the kernels and in their place."""

from __future__ import annotations

import torch
from torch import Tensor

_TOKENS = 1 << 16
"""Tokens whose products are held at a time."""
_NOWHERE = 1 << 40
"""Beyond every position in a document."""


def outputs(candidates: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Room for the results of `plait::maxsim`: (candidates,) float32 and (candidates, width) int32, none where width is 0."""
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


def code_losses(codes: Tensor, offsets: Tensor, losses: Tensor) -> Tensor:
    """(documents,) int64: sum_i min_j sum_m losses[i, m, code of token j in sub-space m]; 0 for a document without tokens.

    Args:
        codes: (blocks, bytes, 32) uint8, in the layout of `index/native/pq4.h`.
        offsets: (documents + 1,) int64.
        losses: (q, subs, 16) uint8, as in `pq4.Table`.
    """
    blocks, size, _ = codes.shape
    both = torch.stack([codes & 15, codes >> 4]).reshape(2, blocks, size, 16, 2)
    numbers = both.permute(2, 0, 1, 4, 3).reshape(2 * size, blocks * 32).long()
    lengths, found = offsets[1:] - offsets[:-1], torch.zeros(len(offsets) - 1, dtype=torch.int64, device=codes.device)
    for first, last in _blocks(lengths):
        at, owners, _ = _ragged(offsets[first:last], lengths[first:last])
        for row in losses.int():
            token = row.gather(1, numbers[:, at]).sum(0)  # int64
            least = token.new_full((last - first,), _NOWHERE)
            least.scatter_reduce_(0, owners, token, "amin")
            found[first:last] += torch.where(lengths[first:last] > 0, least, 0)
    return found


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
