"""ColBERTv2's codec: a token's vector as the number of a centroid and, for each dimension, the bucket of what that
leaves over.

A record stands for the unit vector along centroid + bucket weights (Santhanam et al., NAACL 2022, section 3.3; PLAID,
CIKM 2022, section 4.1). Bucket numbers are packed as ColBERT packs them, so that an index made by it can be taken over
byte by byte (`retrieval/offline/colbert_index.py`). A collection of its own learns as
ColBERT does, from its first vectors.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..errors import DataLoss, InvalidArgument
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels
from . import kmeans as clustering
from .archive import read_arrays
from .product import Keep, sample

BITS = (1, 2, 4)
_NUMBER = 4
"""Bytes of a centroid's number."""
_HELD_OUT = 20
"""Of so many sampled vectors one is for the buckets, not for the centroids."""
_CHUNK = 1 << 14
"""Tokens that are encoded at a time."""


@dataclass(frozen=True, eq=False)
class Buckets:
    """All that encoding and scoring need."""

    centroids: np.ndarray
    """(numbers, dim) float32."""
    cutoffs: np.ndarray
    """(2^bits - 1,) float32, rising: a residual above i of them is in bucket i."""
    weights: np.ndarray
    """(2^bits,) float32: what a bucket stands for."""

    @property
    def bits(self) -> int:
        return len(self.weights).bit_length() - 1

    @cached_property
    def residuals(self) -> np.ndarray:
        """(256, 8 / bits) float32: what a byte of buckets stands for. The first dimension is in the highest bits, each
        number's lowest bit first."""
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).reshape(256, -1, self.bits)
        return self.weights[(bits << np.arange(self.bits)).sum(axis=2)]

    def pack(self, residuals: np.ndarray) -> np.ndarray:
        """(n, dim * bits / 8) uint8 of what centroids leave over, (n, dim) float32."""
        numbers = np.searchsorted(self.cutoffs, residuals)
        return np.packbits((numbers[:, :, None] >> np.arange(self.bits) & 1).reshape(len(residuals), -1), axis=1)

    def to_bytes(self) -> bytes:
        out = io.BytesIO()
        np.savez(out, centroids=self.centroids, cutoffs=self.cutoffs, weights=self.weights)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Buckets:
        """DataLoss: these are not the bytes of buckets."""
        try:
            return cls(*read_arrays(data, "centroids", "cutoffs", "weights"))
        except ValueError as error:
            raise DataLoss(f"the residual buckets are damaged ({error}); restore the catalog from a copy") from None


@dataclass(frozen=True)
class Residual:
    """Records of 4 + dim * bits / 8 bytes: the centroid's number (little-endian), then the
    buckets. Keeps directions only."""

    dim: int
    bits: int
    keep: Keep = field(default_factory=Keep, compare=False, repr=False)
    dtype = "|u1"
    estimates = False

    def __post_init__(self) -> None:
        if self.dim * self.bits % 8:
            raise InvalidArgument(
                f"precision is {self.precision!r} with dim {self.dim}; dim must be a multiple of {8 // self.bits}"
            )

    @property
    def precision(self) -> str:
        return f"residual:{self.bits}"

    @property
    def width(self) -> int:
        return _NUMBER + self.dim * self.bits // 8

    @property
    def book(self) -> Buckets:
        """DataLoss: there are records, and what they mean is gone."""
        return self.keep.get(self.precision, Buckets.from_bytes)

    def learn(self, vectors: np.ndarray) -> None:
        """Learns centroids and buckets, if there are none."""
        self.keep.learn(lambda: learn(sample(vectors), self.bits), len(vectors))

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """InvalidArgument: a vector is not of unit length, give or take a hundredth."""
        lengths = row_kernels.lengths(kernels.widen(vectors))
        if (np.abs(lengths - 1) > 0.01).any():
            wrong = float(lengths[np.argmax(np.abs(lengths - 1))])
            raise InvalidArgument(
                f"a vector has length {wrong:.3g}, and precision {self.precision} keeps directions only; "
                "normalise the vectors, or choose another precision"
            )
        if len(vectors) and self.keep.empty:
            self.learn(vectors)
        parts = [self._records(vectors[at : at + _CHUNK]) for at in range(0, len(vectors), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros((0, self.width), np.uint8)

    def _records(self, vectors: np.ndarray) -> np.ndarray:
        wide = kernels.widen(vectors)
        numbers = clustering.assign(self.book.centroids, wide)
        return joined(numbers, self.book.pack(wide - self.book.centroids[numbers]))

    def floats(self, records: np.ndarray) -> np.ndarray:
        if not len(records):
            return np.zeros((0, self.dim), np.float32)
        return row_kernels.floats_of(self.rows(records))

    def rows(self, records: np.ndarray) -> row_kernels.Rows:
        return row_kernels.residual_rows(records, self.book.centroids, self.book.residuals)

    def turned(self, query: np.ndarray) -> np.ndarray:
        return query


def learn(some: np.ndarray, bits: int) -> Buckets:
    """Centroids of token vectors (n, dim) float32, n at least 20, and buckets of equal counts of what they leave over.

    As ColBERTv2: 16 sqrt(n) centroids, rounded down to a power of two; cutoffs and weights are quantiles of the
    residuals of held-out vectors, one table for all dimensions.
    """
    held = np.arange(len(some)) % _HELD_OUT == 0
    centroids = clustering.fit(some[~held], 2 ** int(np.log2(16 * len(some) ** 0.5)))
    left = some[held] - centroids[clustering.assign(centroids, some[held])]
    steps = np.arange(2**bits, dtype=np.float32) / 2**bits
    cutoffs, weights = (np.quantile(left, at).astype(np.float32) for at in (steps[1:], steps + 0.5 / 2**bits))
    return Buckets(centroids, cutoffs, weights)


def joined(numbers: np.ndarray, packed: np.ndarray) -> np.ndarray:
    """Records of centroids' numbers (n,) and packed buckets (n, bytes) uint8."""
    return np.hstack([numbers.astype("<u4")[:, None].view(np.uint8), packed])
