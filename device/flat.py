"""The flat plan on a device: codes, and where they fit rows, lie in its memory; a search brings back the best documents.

One stage: all codes are scanned for the whole query (the CPU's two stages save arithmetic that a device has). The scan
gives the CPU's integers, so its candidates are those of `index.flat.Flat.search` with as many leaders as documents. Codes
of a lists segment are put back in the order of its documents and scanned whole, which is to probe every list.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ..index import pq4
from ..index.codecs import rerank
from ..index.errors import InvalidArgument
from ..index.flat import Flat
from ..index.hits import Hits, best
from ..index.lists import Lists
from . import reference
from .maxsim import maxsim

_PLACE = 40
"""Bits of a document's position in a key; the loss lies above them."""
_NONE = (1 << 63) - 1
_CHUNK = 1 << 26
"""Bytes brought to the device at a time."""


class DeviceFlat:
    """A segment's plan with its arrays on a device. Positions number its documents from 0."""

    def __init__(self, flat: Flat, device: str, rows: bool = True):
        """
        Args:
            rows: bring the rows too, where they are float16 or int8; otherwise the best documents are reranked on the CPU, where the rows are.

        Raises:
            torch.OutOfMemoryError: the device has no room.
        """
        self._flat = flat
        self.device = torch.device(device)
        self.codes = _upload(flat.codes, self.device)
        self.offsets = _upload(flat.offsets, self.device)
        self.rows = self.scales = None
        if rows and flat.codec.precision == "float16":
            self.rows = _upload(flat.records, self.device)
        elif rows and flat.codec.precision == "int8":
            # A record is its values and then its scale. A slice without rows counts as contiguous wherever it begins: only a
            # copy is sure to begin where a float may.
            records, dim = _upload(flat.records, self.device), flat.codec.dim
            self.rows = records[:, :dim].clone(memory_format=torch.contiguous_format).view(torch.int8)
            self.scales = records[:, dim:].clone(memory_format=torch.contiguous_format).view(torch.float32)[:, 0]
        self.filled = self.offsets[1:] > self.offsets[:-1]
        self.bytes = size(flat, rows)

    def search(
        self,
        query: np.ndarray,
        k: int,
        candidates: int = 100,
        *,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> Hits:
        """The k best of one query (q, dim) float32, with the scores of their rows; positions as document numbers.

        Args:
            candidates: documents to rerank, at least k. More find more of the exact top k and cost more.
            allowed: (documents,) bool; runs of documents without an allowed one are not read.
            threads: of the CPU, where the rows are there.
        """
        if not 1 <= k <= candidates:
            raise InvalidArgument(f"k is {k}, candidates {candidates}; they must rise from 1")
        losses = torch.from_numpy(pq4.table(self._flat.codebook, query).losses).to(self.device)
        mask = None if allowed is None else torch.from_numpy(allowed).to(self.device)
        found = code_losses(self.codes, self.offsets, losses, mask)
        chosen, counted = least(found, self.filled if mask is None else self.filled & mask, candidates)
        if self.rows is None:
            positions = chosen[counted].cpu().numpy()
            flat = self._flat
            return rerank(flat.codec, flat.records, flat.offsets, positions, query, k, threads=threads)
        asked = torch.from_numpy(query).to(self.device)
        scores = maxsim(asked, self.rows, self.offsets, chosen, scales=self.scales)
        scores.masked_fill_(~counted, -torch.inf)
        return best(chosen.cpu().numpy(), scores.cpu().numpy(), k)


def size(flat: Flat, rows: bool) -> int:
    """Bytes that a segment takes on a device."""
    return flat.codes.nbytes + flat.offsets.nbytes + len(flat.offsets) + (flat.records.nbytes if rows else 0)


def least(losses: Tensor, open: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Positions of the k least losses (n,) among the `open` (n,) bool, rising; the earlier of equals.

    Returns (min(k, n),) int64 positions and (min(k, n),) bool which of them count: without waiting for the device nobody
    knows how many are open. Losses and positions are one key, so that no two are equal.
    """
    keys = (losses.long() << _PLACE) + torch.arange(len(losses), device=losses.device)
    found = keys.masked_fill(~open, _NONE).topk(min(k, len(losses)), largest=False, sorted=False).values
    counted = found != _NONE
    places, order = (found & ((1 << _PLACE) - 1)).masked_fill(~counted, 0).sort()
    return places, counted[order]


def code_losses(codes: Tensor, offsets: Tensor, losses: Tensor, allowed: Tensor | None = None) -> Tensor:
    """(documents,) as `reference.code_losses`; where a document has no tokens or is not `allowed`: any number."""
    if not codes.is_cuda or find_spec("triton") is None:
        return reference.code_losses(codes, offsets, losses)
    from . import code_kernel

    return code_kernel.code_losses(codes, offsets, losses, allowed)


def in_document_order(lists: Lists) -> Flat:
    """The same codes by document. Their order within a document is that of the lists, which no maximum minds."""
    postings, documents = lists.postings, len(lists.offsets) - 1
    order = np.argsort(postings.documents, kind="stable")[: int(lists.offsets[-1])]
    assert not len(order) or postings.documents[order[-1]] < documents
    codes = pq4.pack(np.ascontiguousarray(pq4.unpack(postings.codes)[:, order]))
    return Flat(lists.codebook, codes, lists.offsets, lists.codec, lists.records)


def _upload(array: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device, in chunks: a mapped file need not fit into memory."""
    kind = torch.from_numpy(np.empty(0, array.dtype)).dtype
    out = torch.empty(array.shape, dtype=kind, device=device)
    step = max(1, _CHUNK * len(array) // max(array.nbytes, 1))
    for start in range(0, len(array), step):
        chunk = torch.from_numpy(np.array(array[start : start + step]))
        out[start : start + step].copy_(chunk.pin_memory() if device.type == "cuda" else chunk)
    return out
