"""The smallest precision: a token's vector as product codes, a byte for each of 32, 64 or 72
sub-spaces, scored without decoding.

Sub-spaces, rotation and loss are those of `index/codecs/pq4.py`, with 256 centroids instead of 16: at the same bytes,
sub-spaces twice as wide leave errors a third smaller. Where there are fewer than two dimensions to a sub-space, those
with one take the directions of most energy, so that the bits lie where the scores come from (128 dimensions in 72
bytes: 16 such). The codes are the record: what is searched, explained and merged is what they stand for. The codebook
is learned from the first vectors that the collection is given, once for ever if they are enough, because codes of
another one could not be compared; on real embeddings a sample of all vectors was no better.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..disk.failpoints import reach
from ..errors import DataLoss, InvalidArgument
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels
from . import pq4

LEARNED = "precision"
"""The resource of a catalog that holds what a precision has learned."""
SIZES = (32, 64, 72)
_ENTRIES = 256
_SAMPLE = 1 << 15
ENOUGH = 1 << 12
"""Vectors that a codebook is learned from at least. Where there are fewer, random directions make up for what lacks,
and the first merge that has more learns again (index/writing/learned.py)."""
_CHUNK = 1 << 14
"""Tokens that are encoded at a time."""


@dataclass(eq=False)
class Keep:
    """What a precision has learned: read from where it is kept, or learned by one thread while others wait for it."""

    read: Callable[[], bytes | None] = lambda: None
    """The bytes that are kept, or None while there are none."""
    book: Any = None
    """The same, ready for use. What was learned here is stored with the first records (index/writing/learned.py)."""
    data: bytes = b""
    """The bytes of `book`."""
    vectors: int = ENOUGH
    """How many vectors the book was learned from, where it was learned here."""
    version: int = 0
    """Rises when the book is replaced: records that were made meanwhile are of one or the other."""

    def __post_init__(self) -> None:
        self._turn = threading.Lock()

    def get(self, precision: str, load: Callable[[bytes], Any]) -> Any:
        """DataLoss: there are records, and what they mean is gone."""
        if (book := self.book) is not None:
            return book
        data = self.read()
        if data is None:
            raise DataLoss(f"the codebook of precision {precision} is gone; restore the catalog from a copy")
        self.data, self.book = data, load(data)
        return self.book

    def learn(self, make: Callable[[], Any], vectors: int = ENOUGH) -> None:
        """Takes what `make` learns from so many vectors, if nothing was learned before. One thread learns at a time."""
        reach("encode")
        with self._turn:
            if self.empty:
                book = make()
                self.data, self.vectors, self.book = book.to_bytes(), vectors, book

    def replace(self, other: Keep) -> None:
        """Takes what another has learned instead."""
        self.version += 1
        self.data, self.vectors, self.book = other.data, other.vectors, other.book

    def forget(self) -> None:
        """Reads what is kept when it is needed next."""
        self.version += 1
        self.book, self.data = None, b""

    @property
    def empty(self) -> bool:
        """Nothing was learned yet."""
        return self.book is None and self.read() is None


@dataclass(frozen=True)
class Product:
    """Records of `size` bytes: byte m is the code of sub-space m.

    On real embeddings of 128 dimensions, searching every record finds 0.98 of the float16 rows' top 10 with 72 bytes,
    0.97 with 64 and 0.91 with 32 (`benchmarks/late_interaction.py`, plait_flat).
    """

    dim: int
    size: int
    keep: Keep = field(default_factory=Keep, compare=False, repr=False)
    dtype = "|u1"
    estimates = False

    @property
    def precision(self) -> str:
        return f"pq:{self.size}"

    @property
    def width(self) -> int:
        return self.size

    @property
    def book(self) -> pq4.Codebook:
        """DataLoss: there are records, and what they mean is gone."""
        return self.keep.get(self.precision, lambda data: pq4.Codebook.from_bytes(data, _ENTRIES))

    def learn(self, vectors: np.ndarray) -> None:
        """Learns the codebook, if there is none. InvalidArgument: all vectors are zero."""
        long = with_length(vectors, self.precision)
        alone = max(0, 2 * self.size - self.dim) if self.size < self.dim else 0
        self.keep.learn(lambda: pq4.learn(sample(long), self.size, _ENTRIES, alone=alone), len(long))

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """InvalidArgument: the codebook is to be learned from these vectors, and all are zero."""
        records = np.zeros((len(vectors), self.size), np.uint8)
        if len(vectors) and self.keep.empty:
            self.learn(vectors)
        for at in range(0, len(vectors), _CHUNK):
            records[at : at + _CHUNK] = pq4.numbers(self.book, vectors[at : at + _CHUNK]).T
        return records

    def floats(self, records: np.ndarray) -> np.ndarray:
        if not len(records):
            return np.zeros((0, self.dim), np.float32)
        book = self.book
        return row_kernels.product(row_kernels.floats_of(self.rows(records)), np.ascontiguousarray(book.rotation.T))

    def rows(self, records: np.ndarray) -> row_kernels.Rows:
        return row_kernels.product_rows(records, self.book.centroids)

    def turned(self, query: np.ndarray) -> np.ndarray:
        return row_kernels.multiply(query, self.book.turns, self.book.rotation.shape[1])


def with_length(vectors: np.ndarray, precision: str) -> np.ndarray:
    """The vectors (n, dim) that are not zero: only they say where the next ones will lie.
    InvalidArgument: there are none."""
    long = vectors[(vectors != 0).any(axis=1)]
    if not len(long):
        raise InvalidArgument(
            f"the first {len(vectors)} vectors of this collection are all zero, and precision {precision} learns from the first; "
            "leave padding out, or write documents with other vectors first"
        )
    return long


def sample(vectors: np.ndarray) -> np.ndarray:
    """(4096 to 32768, dim) float32: what a precision learns from, of the first vectors (n, dim)
    it is given; n at least 1."""
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(vectors), min(len(vectors), _SAMPLE), replace=False))
    some = kernels.widen(np.ascontiguousarray(vectors[rows]))
    if len(some) >= ENOUGH:
        return some
    drawn = rng.standard_normal((ENOUGH - len(some), vectors.shape[1]), np.float32)
    longest = row_kernels.lengths(some).mean() / row_kernels.lengths(drawn)
    return np.concatenate([some, drawn * longest.astype(np.float32)[:, None]])
