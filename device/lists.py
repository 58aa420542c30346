"""The lists plan on a device: every query token's nearest lists are scanned there, and what was found is summed up by document.

As `index.lists`, with floats of decoded codes in the place of bytes: what a query token has not seen of a document counts
as the similarity of the last list it probed, and what it has seen counts by how far it lies above that. Gains are gathered
on a board of every document and query token, four bytes each, which a device clears faster than it would sort what it found.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..index import pq4
from ..index.errors import InvalidArgument
from ..index.hits import Hits
from ..index.lists import Lists
from ..index.scoring import SearchParams
from . import codes, reference
from .codes import Asked, Book
from .records import Records, greatest, upload
from .records import size as records_size


class DeviceLists:
    """A segment's plan with its arrays on a device. Positions number its documents from 0."""

    def __init__(self, lists: Lists, device: str, rows: bool = True):
        """
        Args:
            rows: bring the rows too, where they are float16 or int8; otherwise the best documents are reranked on the CPU, where the rows are.

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
        own = self.words, self.bounds, self.owners, self.centroids
        self.bytes = sum(t.nbytes for t in own) + self.records.bytes

    def search(
        self,
        query: np.ndarray,
        k: int,
        candidates: int = 100,
        *,
        nprobe: int = 8,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> Hits:
        """The k best of one query (q, dim) float32, with the scores of their rows; positions as document numbers.

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
        mask = None if allowed is None else torch.from_numpy(allowed).to(self.device)
        gains = self.gains(torch.from_numpy(query).to(self.device), nprobe)
        chosen, counted = greatest(gains, self.records.open(mask), candidates)
        return self.records.best(chosen, counted, query, k, threads)

    def plan(self, query: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None, threads: int) -> Hits:
        """As `index.coded.Plan`."""
        candidates = max(params.candidates, 4 * k)
        return self.search(query, k, candidates, nprobe=params.nprobe, allowed=allowed, threads=threads)

    def gains(self, query: Tensor, nprobe: int) -> Tensor:
        """(documents,) float32: by how much a document scores above one that nobody saw, in a unit of the query's."""
        asked, nprobe = codes.ask(self.book, query), min(nprobe, len(self.centroids))
        nearest = (query @ self.centroids.T).topk(nprobe, dim=1)
        probed = torch.zeros((len(self.centroids), len(query)), dtype=torch.bool, device=self.device)
        probed.scatter_(0, nearest.indices.T, True)
        floors = torch.zeros_like(asked.bias)
        if nprobe < len(self.centroids):
            floors[: len(query)] = nearest.values.min(1).values / asked.unit
        else:
            # Nothing is imputed: the floor is below every product, those with the bytes 0 and 255.
            rows = asked.rows.float()
            floors = asked.bias + 1023 * rows.clamp_min(0).sum(1) + 1280 * rows.clamp_max(0).sum(1)
        asked = replace(asked, bias=asked.bias - floors)
        most = min(len(self.centroids), nprobe * len(query))
        documents = len(self.records.filled)
        return list_gains(self.book, asked, self.words, self.bounds, self.owners, probed, most, documents).sum(1)


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
