"""A segment's rows for exact scores: on a device where they fit, else on the CPU. And how arrays come to a device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..index.codecs.codec import Codec
from ..index.hits import Hits, best
from ..index.kernels.vectors import widen
from ..index.late.coded import each
from ..index.late.rerank import rerank
from ..index.tokens import Tokens
from .maxsim import maxsim

_PLACE = 32
"""Bits of a document's position in a key; the score lies above them."""
_NONE = (1 << 63) - 1
_KEYS = 1 << 24
"""Keys that are compared at a time; each takes about 40 bytes meanwhile."""
_CHUNK = 1 << 26
"""Bytes brought to the device at a time."""


class Records:
    """The rows of a segment's documents, whose positions number from 0."""

    def __init__(self, codec: Codec, records: np.ndarray, offsets: np.ndarray, device: torch.device, rows: bool):
        """
        Args:
            rows: bring the rows to the device, where they are float16 or int8.

        Raises:
            torch.OutOfMemoryError: the device has no room.
        """
        self._codec, self._records, self._offsets = codec, records, offsets
        self.device = device
        self.rows = self.scales = None
        if rows and codec.precision == "float16":
            self.rows = upload(records, device)
        elif rows and codec.precision == "int8":
            # A record is its values and then its scale. A slice without rows counts as contiguous wherever it begins:
            # only a copy is sure to begin where a float may.
            both, dim = upload(records, device), codec.dim
            self.rows = both[:, :dim].clone(memory_format=torch.contiguous_format).view(torch.int8)
            self.scales = both[:, dim:].clone(memory_format=torch.contiguous_format).view(torch.float32)[:, 0]
        self.offsets = upload(offsets, device)
        self.filled = self.offsets[1:] > self.offsets[:-1]

    @property
    def bytes(self) -> int:
        """What lies on the device."""
        tensors = self.rows, self.scales, self.offsets, self.filled
        return sum(t.nbytes for t in tensors if t is not None)

    def open(self, allowed: Tensor | None) -> Tensor:
        """(documents,) bool: those with tokens that are `allowed`."""
        return self.filled if allowed is None else self.filled & allowed

    def best(self, chosen: Tensor, counted: Tensor, queries: Tokens, k: int, threads: int) -> list[Hits]:
        """The k best of each query's documents at the positions (queries, n) that are counted (queries, n), by the
        exact scores of their rows."""
        if self.rows is None:
            found = []
            for q, query in enumerate(each(queries)):
                positions = chosen[q][counted[q]].cpu().numpy()
                found.append(rerank(self._codec, self._records, self._offsets, positions, query, k, threads=threads))
            return found
        scores = self.scores(queries, chosen).masked_fill_(~counted, -torch.inf)
        return [best(p, s, k) for p, s in zip(chosen.cpu().numpy(), scores.cpu().numpy(), strict=True)]

    def scores(self, queries: Tokens, positions: Tensor) -> Tensor:
        """(queries, n) float32 scores of each query with the documents at its positions
        (queries, n); the rows lie here."""
        assert self.rows is not None
        lines = torch.arange(len(queries) + 1, device=self.device) * positions.shape[1]
        scores = maxsim(
            self.brought(widen(queries.vectors)),
            self.rows,
            self.offsets,
            positions.reshape(-1),
            scales=self.scales,
            query_offsets=self.brought(queries.offsets),
            candidate_offsets=lines,
        )
        return scores.view(positions.shape)

    def brought(self, array: np.ndarray) -> Tensor:
        """What a query brings along."""
        return torch.from_numpy(array).to(self.device)


def size(codec: Codec, records: np.ndarray, offsets: np.ndarray, rows: bool) -> int:
    """Bytes that records take on a device."""
    return (
        offsets.nbytes + len(offsets) - 1 + (records.nbytes if rows and codec.precision in ("float16", "int8") else 0)
    )


def greatest(scores: Tensor, open: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """Positions of the k greatest of every line of scores (lines, n) float32 among the `open` (n,) bool, rising; the
    earlier of equals.

    Returns (lines, min(k, n)) int64 positions and (lines, min(k, n)) bool which of them count: without waiting for the
    device nobody knows how many are open. Scores and positions are one key, so that no two are equal.
    """
    step = max(1, _KEYS // max(1, scores.shape[1]))
    found = [_greatest(some, open, min(k, scores.shape[1])) for some in scores.split(step)]
    return torch.cat([places for places, _ in found]), torch.cat([counted for _, counted in found])


def _greatest(scores: Tensor, open: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    # Adding 0 makes one zero of both.
    bits = (scores + 0.0).view(torch.int32).long()
    keys = (~torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits) << _PLACE) + torch.arange(
        scores.shape[1], device=scores.device
    )
    if open is not None:
        keys = keys.masked_fill(~open, _NONE)
    found = keys.topk(k, dim=1, largest=False, sorted=False).values
    counted = found != _NONE
    places, order = (found & ((1 << _PLACE) - 1)).masked_fill(~counted, 0).sort(dim=1)
    return places, counted.gather(1, order)


def upload(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device, in chunks: a mapped file need not fit into memory."""
    kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
    out = torch.empty(array.shape, dtype=kind, device=device)
    step = max(1, _CHUNK * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), step):
        chunk = torch.from_numpy(np.array(array[start : start + step]))
        out[start : start + step].copy_(chunk.pin_memory() if device.type == "cuda" else chunk)
    return out
