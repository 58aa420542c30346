"""4-bit codes as they lie on a device, and a query made ready for them: eight tokens to a word, so that one instruction
looks up four.

A code of a sub-space stands for a centroid, whose coordinates are kept as bytes: entry u of dimension d stands for
low[d] + step[d] * u. A similarity is the product of query rows that have the steps in them with u, and a row's
`bias`: what the lows add is the same for every token. Rows are integers of 16 bits, so that tensor cores
multiply bytes with bytes and their sums are exact. So a similarity is the float product with the decoded code, but for
half a step of every dimension and the query's rounding: no more than `bound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ..index.codecs import pq4
from ..index.errors import InvalidArgument

EIGHT = 8
"""Tokens of a word."""
GROUP = 32
"""Query rows that are summed up together; a longer query is several groups."""
LARGEST = 127 * 256 + 127
"""Of a query's integers: its upper byte and its lower one have signs."""
LEAST_DIM = 32
"""Dimensions of the shortest product of bytes."""
_CHUNK = 1 << 18
"""Words of a sub-space made at a time."""


@dataclass(frozen=True, eq=False)
class Book:
    """A codebook on a device. Dimensions are those of the rotated space, every sub-space
    filled up to a power of two."""

    rotation: Tensor
    """(vectors' dim, dim) float32."""
    entries: Tensor
    """(4, dim) int32: the sixteen bytes of every dimension, each 128 less, so that they have signs."""
    low: Tensor
    step: Tensor
    """(dim,) float32."""
    subs: int


@dataclass(frozen=True, eq=False)
class Asked:
    """Queries as groups of 32 rows, filled up with zeros, which add nothing to any score."""

    rows: Tensor
    """(32 * groups, dim) float32, of integers up to `LARGEST`."""
    bias: Tensor
    """(32 * groups,) float32: what a row adds to each of its products with bytes."""
    unit: Tensor
    """float32: products are similarities in this unit. (), and of several queries together one for each of them or of
    their rows."""


def book(codebook: pq4.Codebook, device: torch.device) -> Book:
    """Centroids as bytes, and what they are bytes of."""
    subs, entries, width = codebook.centroids.shape
    wide = max(1 << (width - 1).bit_length(), LEAST_DIM // subs)
    centroids = np.zeros((subs, wide, entries), np.float32)
    centroids[:, :width] = codebook.centroids.transpose(0, 2, 1)
    centroids = centroids.reshape(subs * wide, entries)
    low = centroids.min(axis=1)
    step = (centroids.max(axis=1) - low) / np.float32(255)
    numbers = np.rint((centroids - low[:, None]) / np.where(step > 0, step, 1)[:, None]).astype(np.uint8)
    words = (numbers ^ 128).view("<i4").T
    rotation = np.zeros((codebook.dim, subs, wide), np.float32)
    rotation[:, :, :width] = codebook.rotation.reshape(codebook.dim, subs, width)
    placed = [
        torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for array in (rotation.reshape(codebook.dim, -1), words, low, step)
    ]
    return Book(placed[0], placed[1], placed[2], placed[3], subs)


def ask(book: Book, query: Tensor) -> Asked:
    """One query (q, dim) float32 on the book's device."""
    if query.ndim != 2 or query.shape[1] != len(book.rotation):
        raise InvalidArgument(
            f"the query has shape {tuple(query.shape)}; this codebook takes (q, {len(book.rotation)})"
        )
    turned = query @ book.rotation
    steps = turned * book.step
    unit = _unit(steps)
    filled = -(-len(query) // GROUP) * GROUP
    rows = steps.new_zeros((filled, steps.shape[1]))
    rows[: len(query)] = (steps / unit).round()
    bias = rows.new_zeros(filled)
    bias[: len(query)] = (turned @ book.low) / unit
    return Asked(rows, bias, unit)


def _unit(steps: Tensor) -> Tensor:
    """() float32: the least by which no integer exceeds `LARGEST` and no sum of products 31 bits.

    A product of a row with bytes from -128 to 127 is 256 upper + lower parts, each a sum too. Where the integers of a
    row sum up to 2^24 - 129 dim, by rounding to half of dim more, 256 times its upper bytes, each 128 off at most, sum
    up to less than 2^24: times 128, less than 31 bits. Up to 500 dimensions `LARGEST` alone sees to it.
    """
    whole = 2**24 - 129 * steps.shape[1]
    unit = torch.maximum(steps.abs().max() / LARGEST, steps.abs().sum(1).max() / whole)
    return unit.clamp_min(torch.finfo(torch.float32).tiny)


def bound(book: Book, query: Tensor) -> Tensor:
    """(q,) float32: how far a similarity may lie from the product with the decoded code, but for float32 sums.

    Half a step for a centroid's byte u. Half a unit for a query's integer, times u.
    """
    steps = (query @ book.rotation).abs() * book.step
    return steps.sum(1) / 2 + 255 / 2 * _unit(steps) * steps.shape[1]


def least(asked: Asked) -> Tensor:
    """(rows,) float32: below every product of a row, in its unit, as if bytes went from -1 to 256."""
    return asked.bias - asked.rows.clamp_min(0).sum(1) + 256 * asked.rows.clamp_max(0).sum(1)


def words(codes: np.ndarray, first: np.ndarray, last: np.ndarray, device: torch.device) -> Tensor:
    """(blocks, subs) int32: nibble i of a block's words is the code of token first + i, or of
    the `last` where that is less.

    Args:
        codes: (blocks of 32, bytes, 32) uint8, as `pq4.encode` returns them.
        first, last: (blocks,) int64, rising.
    """
    out = torch.empty((len(first), 2 * codes.shape[1]), dtype=torch.int32, device=device)
    for start in range(0, len(first), _CHUNK):
        mine = slice(start, start + _CHUNK)
        some = np.minimum(first[mine, None] + np.arange(EIGHT), last[mine, None])
        begin, end = int(some[0, 0]) // pq4.BLOCK, int(some[-1, -1]) // pq4.BLOCK
        raw = torch.from_numpy(np.array(codes[begin : end + 1])).to(device)
        at = torch.from_numpy(some).to(device) - begin * pq4.BLOCK
        inside = at % pq4.BLOCK
        # Byte 2j + h of a block's row belongs to token 16h + j.
        bytes_ = raw[at // pq4.BLOCK, :, inside % 16 * 2 + inside // 16].int()
        shifts = 4 * torch.arange(EIGHT, device=device, dtype=torch.int32)[:, None]
        pairs = torch.stack([bytes_ & 15, bytes_ >> 4], 3).flatten(2)
        out[start : start + len(some)] = (pairs << shifts).sum(1, dtype=torch.int32)
    return out


def by_document(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents as blocks of eight tokens, their last one repeated: each block's first token and its document's last,
    (blocks,) int64, and (documents + 1,) int64 bounds.

    A token twice moves no maximum, and a kernel has no end of a document to look out for.
    """
    blocks = -(-np.diff(offsets) // EIGHT)
    bounds = np.concatenate([[0], np.cumsum(blocks)])
    inside = np.arange(bounds[-1]) - np.repeat(bounds[:-1], blocks)
    return np.repeat(offsets[:-1], blocks) + EIGHT * inside, np.repeat(offsets[1:], blocks) - 1, bounds


def compiled(tensor: Tensor) -> bool:
    """Whether kernels take this tensor: it is on a GPU, and Triton is there."""
    return tensor.is_cuda and find_spec("triton") is not None
