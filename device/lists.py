"""The lists plan on a device: every query token's nearest lists are scanned there, and what
was found is summed up by document.

As `index.lists`, with floats of decoded codes in the place of bytes: what a query token has not seen of a document
counts as the similarity of the last list it probed, and what it has seen counts by how far it lies above that. Gains
are gathered on a board of every document and query token, four bytes each, which a device clears faster than it would
sort what it found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..index.codecs import pq4
from ..index.errors import InvalidArgument
from ..index.hits import Hits
from ..index.kernels.vectors import widen
from ..index.late.coded import each
from ..index.late.lists import Lists
from ..index.late.search import passes
from ..index.params import SearchParams
from ..index.tokens import Tokens
from . import codes, reference
from .codes import Asked, Book
from .exact import DeviceExact
from .records import Records, greatest, upload
from .records import size as records_size

_GAINS = 1 << 28
"""Gains of documents and query rows that a board holds; a longer query has one to itself."""


class DeviceLists:
    """A segment's plan with its arrays on a device. Positions number its documents from 0."""

    def __init__(self, lists: Lists, device: str, rows: bool = True):
        """
        Args:
            rows: bring the rows too, where they are float16 or int8; otherwise the best documents are reranked on the
                CPU, where the rows are.

        Raises:
            torch.OutOfMemoryError: the device has no room.
        """
        self.device = torch.device(device)
        self.book = codes.book(lists.codebook, self.device)
        postings = lists.postings
        first = np.arange(0, len(postings.documents), codes.EIGHT)
        self.words = codes.words(postings.codes, first, first + codes.EIGHT - 1, self.device)
        self.bounds = upload(postings.bounds * (pq4.BLOCK // codes.EIGHT), self.device)
        self.owners = upload(postings.documents.view(np.int32), self.device)
        self.centroids = upload(lists.centroids.astype(np.float32), self.device)
        self.records = Records(lists.codec, lists.records, lists.offsets, self.device, rows)
        self.exact = DeviceExact(self.records) if self.records.rows is not None else None
        own = self.words, self.bounds, self.owners, self.centroids
        self.bytes = sum(t.nbytes for t in own) + self.records.bytes

    def search(
        self,
        queries: Tokens,
        k: int,
        candidates: int = 100,
        *,
        nprobe: int = 8,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> list[Hits]:
        """The k best of every query, with the scores of their rows; positions as document numbers.

        Args:
            candidates: documents to rerank, at least k. More find more of the exact top k and cost more.
            nprobe: lists that each query token reads, at least 1. More find more and cost more. All of them score every
                document as the flat plan does, without imputing anything.
            allowed: (documents,) bool.
            threads: of the CPU, where the rows are there.
        """
        if not 1 <= k <= candidates:
            raise InvalidArgument(f"k is {k}, candidates {candidates}; they must rise from 1")
        if nprobe < 1:
            raise InvalidArgument(f"nprobe is {nprobe}; it must be at least 1")
        if self.exact is not None and self.exact.few(allowed, candidates):
            return self.exact.scan(queries, k, allowed)
        mask = None if allowed is None else self.records.brought(allowed)
        found, open_ = [], self.records.open(mask)
        for first, last in passes(queries.lengths * len(open_), _GAINS):
            some = queries.take(np.arange(first, last))
            chosen, counted = greatest(self.gains(some, nprobe), open_, candidates)
            found += self.records.best(chosen, counted, some, k, threads)
        return found

    def plan(
        self, queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None, threads: int
    ) -> list[Hits]:
        """As `index.coded.Plan`."""
        candidates = max(params.candidates, 4 * k)
        return self.search(queries, k, candidates, nprobe=params.nprobe, allowed=allowed, threads=threads)

    def gains(self, queries: Tokens, nprobe: int) -> Tensor:
        """(queries, documents) float32: by how much a document scores above one that nobody saw, in a unit of each
        query's.

        A list is read once for all query rows of a program that probe it.
        """
        asked = [codes.ask(self.book, self.records.brought(query)) for query in each(queries)]
        lengths, nprobe = queries.lengths.tolist(), min(nprobe, len(self.centroids))
        rows = torch.cat([a.rows[:n] for a, n in zip(asked, lengths, strict=True)])
        bias = torch.cat([a.bias[:n] for a, n in zip(asked, lengths, strict=True)])
        units = torch.cat([a.unit.expand(n) for a, n in zip(asked, lengths, strict=True)])
        nearest = (self.records.brought(widen(queries.vectors)) @ self.centroids.T).topk(nprobe, dim=1)
        probed = torch.zeros((len(self.centroids), len(rows)), dtype=torch.bool, device=self.device)
        probed.scatter_(0, nearest.indices.T, True)
        together, documents = Asked(rows, bias, units), len(self.records.filled)
        # Where all lists are probed nothing is imputed.
        partly = nprobe < len(self.centroids)
        floors = nearest.values.min(1).values / units if partly else codes.least(together)
        together = replace(together, bias=bias - floors)
        most = min(len(self.centroids), nprobe * len(rows))
        board = list_gains(self.book, together, self.words, self.bounds, self.owners, probed, most, documents)
        return torch.stack([part.sum(1) for part in board.split(lengths, dim=1)])


def size(lists: Lists, rows: bool) -> int:
    """Bytes that a segment takes on a device. A search takes four more for every document and query token."""
    postings = lists.postings
    own = postings.codes, postings.bounds, postings.documents, lists.centroids
    return sum(a.nbytes for a in own) + records_size(lists.codec, lists.records, lists.offsets, rows)


def list_gains(
    book: Book, asked: Asked, words: Tensor, bounds: Tensor, owners: Tensor, probed: Tensor, most: int, documents: int
) -> Tensor:
    """(documents, q) as `reference.list_gains`; at most `most` lists are probed."""
    if not codes.compiled(words):
        return reference.list_gains(book, asked, words, bounds, owners, probed, documents)
    from . import code_kernel

    return code_kernel.list_gains(book, asked, words, bounds, owners, probed, most, documents)
