"""The flat plan on a device: codes, and where they fit rows, lie in its memory; a
search brings back the best documents.

One stage: all codes are scanned for the whole query (the CPU's two stages save arithmetic that a device has). The
scan's scores are those of the decoded codes, within `codes.bound`; the CPU's table is coarser, so the candidates of the
two may differ where documents are as good as equal. What is brought back has the scores of its rows on both.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..index.errors import InvalidArgument
from ..index.hits import Hits
from ..index.late.coded import each
from ..index.late.flat import Flat
from ..index.late.search import passes
from ..index.params import SearchParams
from ..index.tokens import Tokens
from . import codes, reference
from .codes import Asked, Book
from .exact import DeviceExact
from .records import Records, greatest, upload
from .records import size as records_size

_SCORES = 1 << 26
"""Scores of groups of query rows and documents held at a time."""


class DeviceFlat:
    """A segment's plan with its arrays on a device. Positions number its documents from 0."""

    def __init__(self, flat: Flat, device: str, rows: bool = True):
        """
        Args:
            rows: bring the rows too, where they are float16 or int8; otherwise the best documents are reranked on the
                CPU, where the rows are.

        Raises:
            torch.OutOfMemoryError: the device has no room.
        """
        self.device = torch.device(device)
        self.book = codes.book(flat.codebook, self.device)
        first, last, bounds = codes.by_document(flat.offsets)
        self.words = codes.words(flat.codes, first, last, self.device)
        self.bounds = upload(bounds, self.device)
        self.records = Records(flat.codec, flat.records, flat.offsets, self.device, rows)
        self.exact = DeviceExact(self.records) if self.records.rows is not None else None
        self.bytes = self.words.nbytes + self.bounds.nbytes + self.records.bytes

    def search(
        self,
        queries: Tokens,
        k: int,
        candidates: int = 100,
        *,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> list[Hits]:
        """The k best of every query, with the scores of their rows; positions as document numbers.

        Args:
            candidates: documents to rerank, at least k. More find more of the exact top k and cost more.
            allowed: (documents,) bool; documents that are not are not read.
            threads: of the CPU, where the rows are there.
        """
        if not 1 <= k <= candidates:
            raise InvalidArgument(f"k is {k}, candidates {candidates}; they must rise from 1")
        if self.exact is not None and self.exact.few(allowed, candidates):
            return self.exact.scan(queries, k, allowed)
        mask = None if allowed is None else self.records.brought(allowed)
        found, open_, documents = [], self.records.open(mask), len(self.bounds) - 1
        for first, last in passes(-(-queries.lengths // codes.GROUP) * documents, _SCORES):
            some = queries.take(np.arange(first, last))
            chosen, counted = greatest(self.scan(some, mask), open_, candidates)
            found += self.records.best(chosen, counted, some, k, threads)
        return found

    def plan(
        self, queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None, threads: int
    ) -> list[Hits]:
        """As `index.coded.Plan`."""
        return self.search(queries, k, max(params.candidates, 4 * k), allowed=allowed, threads=threads)

    def scan(self, queries: Tokens, allowed: Tensor | None) -> Tensor:
        """(queries, documents) float32 by the codes, each query in its own unit: a program scans for as many rows as
        there are."""
        asked = [codes.ask(self.book, self.records.brought(query)) for query in each(queries)]
        rows, bias = torch.cat([a.rows for a in asked]), torch.cat([a.bias for a in asked])
        together = Asked(rows, bias, torch.stack([a.unit for a in asked]))
        scores = document_scores(self.book, together, self.words, self.bounds, allowed)
        return torch.stack([part.sum(0) for part in scores.split([len(a.rows) // codes.GROUP for a in asked])])


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
