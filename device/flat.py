"""The flat plan on a device: codes, and where they fit rows, lie in its memory; a search brings back the best documents.

One stage: all codes are scanned for the whole query (the CPU's two stages save arithmetic that a device has). The scan's
scores are those of the decoded codes, within `codes.bound`; the CPU's table is coarser, so the candidates of the two may
differ where documents are as good as equal. What is brought back has the scores of its rows on both.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..index.errors import InvalidArgument
from ..index.flat import Flat
from ..index.hits import Hits
from ..index.scoring import SearchParams
from . import codes, reference
from .codes import Asked, Book
from .records import Records, greatest, upload
from .records import size as records_size


class DeviceFlat:
    """A segment's plan with its arrays on a device. Positions number its documents from 0."""

    def __init__(self, flat: Flat, device: str, rows: bool = True):
        """
        Args:
            rows: bring the rows too, where they are float16 or int8; otherwise the best documents are reranked on the CPU, where the rows are.

        Raises:
            torch.OutOfMemoryError: the device has no room.
        """
        self.device = torch.device(device)
        self.book = codes.book(flat.codebook, self.device)
        first, last, bounds = codes.by_document(flat.offsets)
        self.words = codes.words(flat.codes, first, last, self.device)
        self.bounds = upload(bounds, self.device)
        self.records = Records(flat.codec, flat.records, flat.offsets, self.device, rows)
        self.bytes = self.words.nbytes + self.bounds.nbytes + self.records.bytes

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
            allowed: (documents,) bool; documents that are not are not read.
            threads: of the CPU, where the rows are there.
        """
        if not 1 <= k <= candidates:
            raise InvalidArgument(f"k is {k}, candidates {candidates}; they must rise from 1")
        asked = codes.ask(self.book, torch.from_numpy(query).to(self.device))
        mask = None if allowed is None else torch.from_numpy(allowed).to(self.device)
        scores = document_scores(self.book, asked, self.words, self.bounds, mask).sum(0)
        chosen, counted = greatest(scores, self.records.open(mask), candidates)
        return self.records.best(chosen, counted, query, k, threads)

    def plan(self, query: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None, threads: int) -> Hits:
        """As `index.coded.Plan`."""
        return self.search(query, k, max(params.candidates, 4 * k), allowed=allowed, threads=threads)


def size(flat: Flat, rows: bool) -> int:
    """Bytes that a segment takes on a device."""
    blocks = int((-(-np.diff(flat.offsets) // codes.EIGHT)).sum())
    words = codes.EIGHT * flat.codebook.bytes_per_token * blocks
    return words + flat.offsets.nbytes + records_size(flat.codec, flat.records, flat.offsets, rows)


def document_scores(book: Book, asked: Asked, words: Tensor, bounds: Tensor, allowed: Tensor | None = None) -> Tensor:
    """(groups, documents) as `reference.document_scores`; where a document is not `allowed`: any number."""
    if not codes.compiled(words):
        return reference.document_scores(book, asked, words, bounds)
    from . import code_kernel

    return code_kernel.document_scores(book, asked, words, bounds, allowed)
