"""The smallest precision: a token's vector as product codes of 4 bits, 32 or 64 bytes, scored without decoding them first.

The codes are those of `pq4.py`, but lie token by token, so that single documents can be read. They are the record: what is
searched, explained and merged is what they stand for. The codebook is learned from the first vectors that the collection
is given, once for ever, because codes of another one could not be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from . import kernels, pq4
from .errors import DataLoss

SIZES = (32, 64)
_SAMPLE = 1 << 15
_PRIOR = 1 << 12
"""Vectors that a codebook is learned from at least: random directions make up for what the first batch lacks."""


@dataclass(eq=False)
class Keep:
    """Where the codebook is kept: read gives its bytes, or None while there is none; write puts them there for ever."""

    read: Callable[[], bytes | None] = lambda: None
    write: Callable[[bytes], None] = lambda _: None
    book: pq4.Codebook | None = None


@dataclass(frozen=True)
class Nibbles:
    """Records of `size` bytes: byte m holds the codes of sub-spaces 2m (low half) and 2m + 1 (high half).

    On real embeddings of 128 dimensions, searching every record finds 0.97 of the float16 rows' top 10 with 64 bytes, and
    0.91 with 32 (`benchmarks/late_interaction.py`, plait_flat).
    """

    dim: int
    size: int
    keep: Keep = field(default_factory=Keep, compare=False, repr=False)
    dtype = "|u1"

    @property
    def precision(self) -> str:
        return f"pq:{self.size}"

    @property
    def width(self) -> int:
        return self.size

    @property
    def book(self) -> pq4.Codebook:
        """DataLoss: there are records, and what they mean is gone."""
        if self.keep.book is None:
            data = self.keep.read()
            if data is None:
                raise DataLoss(f"the codebook of precision {self.precision} is gone; restore the catalog from a copy")
            self.keep.book = pq4.Codebook.from_bytes(data)
        return self.keep.book

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        if not len(vectors):
            return np.zeros((0, self.size), np.uint8)
        if self.keep.book is None and self.keep.read() is None:
            self._learn(vectors)
        numbers = pq4.unpack(pq4.encode(self.book, vectors))[:, : len(vectors)]
        return np.ascontiguousarray((numbers[0::2] | numbers[1::2] << 4).T)

    def floats(self, records: np.ndarray) -> np.ndarray:
        if not len(records):
            return np.zeros((0, self.dim), np.float32)
        numbers = np.stack([records & 15, records >> 4], axis=2).reshape(len(records), -1)
        centroids = self.book.centroids
        parts = centroids[np.arange(len(centroids)), numbers]
        return parts.reshape(len(records), -1) @ self.book.rotation.T

    def scores(
        self, records: np.ndarray, offsets: np.ndarray, positions: np.ndarray, query: np.ndarray, threads: int
    ) -> np.ndarray:
        if not len(records):
            return np.full(len(positions), -np.inf, np.float32)
        turned = query @ self.book.rotation
        return kernels.nibble_scores(records, self.book.centroids, offsets, positions, turned, threads=threads)

    def estimates(
        self, records: np.ndarray, offsets: np.ndarray, positions: np.ndarray, query: np.ndarray, threads: int
    ) -> None:
        return None

    def _learn(self, vectors: np.ndarray) -> None:
        rng = np.random.default_rng(0)
        rows = np.sort(rng.choice(len(vectors), min(len(vectors), _SAMPLE), replace=False))
        sample = kernels.widen(np.ascontiguousarray(vectors[rows]))
        if len(sample) < _PRIOR:
            drawn = rng.standard_normal((_PRIOR - len(sample), self.dim), np.float32)
            drawn *= np.linalg.norm(sample, axis=1).mean() / np.linalg.norm(drawn, axis=1, keepdims=True)
            sample = np.concatenate([sample, drawn])
        book = pq4.fit(sample, self.size)
        self.keep.write(book.to_bytes())
        self.keep.book = book
