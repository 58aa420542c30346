"""How a collection keeps token vectors: as records of fixed size that are scored where they lie.

`float16`   two bytes a dimension.
`int8`      one byte a dimension and a scale for each token: half the bytes, and candidates are reranked in half the time.
`pq:64`     64 bytes a token, product codes, see `index/codecs/product.py`. `pq:72`, `pq:32`: 72 and 32.
`residual:2` ColBERTv2's codes of 1, 2 or 4 bits a dimension and a centroid's number, see `index/codecs/residual.py`. Unit vectors only.

A vector is encoded once, when it is written. From then on the collection speaks of what its record stands for: fresh
documents, sealed segments and explanations agree, and a merge copies records as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels
from ..search.tally import tallied
from .product import SIZES, Keep, Product
from .residual import BITS, Residual

DEFAULT = "float16"
PRECISIONS = (DEFAULT, "int8", *(f"pq:{size}" for size in SIZES), *(f"residual:{bits}" for bits in BITS))
_SCALE = 4
"""Bytes of a scale."""


class Codec(Protocol):
    """Records are rows of `width` values of `dtype`."""

    @property
    def precision(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def dtype(self) -> str: ...

    @property
    def width(self) -> int: ...

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """(n, dim) float32 or float16 vectors to (n, width) records."""
        ...

    def floats(self, records: np.ndarray) -> np.ndarray:
        """(n, dim) float32: what records stand for."""
        ...

    def rows(self, records: np.ndarray) -> row_kernels.Rows:
        """Records as the kernels read them where they lie."""
        ...

    def turned(self, query: np.ndarray) -> np.ndarray:
        """A query (q, dim) float32 in the space of the rows: products there are the products of the vectors."""
        ...

    @property
    def estimates(self) -> bool:
        """Whether rows have cheaper scores that come with a bound on their error."""
        ...


@dataclass(frozen=True)
class Half:
    """float16 values."""

    dim: int
    precision = "float16"
    dtype = "<f2"
    estimates = False

    @property
    def width(self) -> int:
        return self.dim

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(vectors, self.dtype)

    def floats(self, records: np.ndarray) -> np.ndarray:
        return kernels.widen(records)

    def rows(self, records: np.ndarray) -> row_kernels.Rows:
        return row_kernels.half_rows(records)

    def turned(self, query: np.ndarray) -> np.ndarray:
        return query


@dataclass(frozen=True)
class Bytes:
    """A record is `dim` int8 values and the float32 scale that they are times of: off by at most half a scale.

    The scale is the largest value / 127, rounded up to 11 significant bits, so that a value times its scale is a float32
    without rounding, and encoding what records stand for gives the same records.
    """

    dim: int
    precision = "int8"
    dtype = "|u1"
    estimates = True

    @property
    def width(self) -> int:
        return self.dim + _SCALE

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        wide = kernels.widen(vectors)
        scales = _rounded_up(np.abs(wide).max(axis=1, initial=0) / np.float32(127))
        records = np.empty((len(wide), self.width), np.uint8)
        records[:, : self.dim] = np.rint(wide / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8).view(np.uint8)
        records[:, self.dim :] = scales.astype("<f4")[:, None].view(np.uint8)
        return records

    def floats(self, records: np.ndarray) -> np.ndarray:
        scales = np.ascontiguousarray(records[:, self.dim :]).view("<f4")
        return records[:, : self.dim].view(np.int8).astype(np.float32) * scales

    def rows(self, records: np.ndarray) -> row_kernels.Rows:
        return row_kernels.record_rows(records)

    def turned(self, query: np.ndarray) -> np.ndarray:
        return query


LEARNING = Product, Residual
"""Those that learn from a collection's vectors."""


class Vectors(Protocol):
    """(n, dim) vectors that are read in blocks: an array, or records decoded as they are asked for."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Decoded:
    """Records seen as the float32 vectors that they stand for."""

    codec: Codec
    records: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.records), self.codec.dim

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        return self.codec.floats(self.records[rows])


def codec(precision: str, dim: int, keep: Keep | None = None) -> Codec:
    """The codec of a precision; `keep`: where what it learns is kept. InvalidArgument: no such precision, or not with this dim."""
    if precision not in PRECISIONS:
        raise InvalidArgument(f"precision is {precision!r}; it must be one of {', '.join(PRECISIONS)}")
    if precision.startswith("pq:"):
        return Product(dim, int(precision.removeprefix("pq:")), keep or Keep())
    if precision.startswith("residual:"):
        return Residual(dim, int(precision.removeprefix("residual:")), keep or Keep())
    return Half(dim) if precision == DEFAULT else Bytes(dim)


def scores(
    codec: Codec,
    records: np.ndarray,
    offsets: np.ndarray,
    positions: np.ndarray,
    queries: np.ndarray,
    bounds: np.ndarray,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """(positions, queries) float32: MaxSim of the documents at these positions with every query.

    Query q has the rows bounds[q] to bounds[q + 1] - 1 of `queries` (., dim) float32; minus infinity for a document without
    tokens. A score depends on the document's records and the query's rows alone (`index/kernels/rows.py`).
    """
    if not len(records):
        return np.full((len(positions), len(bounds) - 1), -np.inf, np.float32)
    rows, turned = codec.rows(records), codec.turned(queries)
    return row_kernels.row_scores(rows, offsets, positions, turned, bounds, threads=threads)


def score(
    codec: Codec, records: np.ndarray, offsets: np.ndarray, positions: np.ndarray, query: np.ndarray, threads: int
) -> np.ndarray:
    """(positions,) float32: as `scores`, of one query (q, dim)."""
    return scores(codec, records, offsets, positions, query, np.array([0, len(query)]), threads=threads)[:, 0]


def similarities(codec: Codec, records: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n, q) float32: every record with every row of one query (q, dim), as `scores` takes their maxima."""
    if not len(records):
        return np.zeros((0, len(query)), np.float32)
    return row_kernels.row_products(codec.rows(records), codec.turned(query))


def rerank(
    codec: Codec,
    records: np.ndarray,
    offsets: np.ndarray,
    positions: np.ndarray,
    query: np.ndarray,
    k: int,
    *,
    threads: int = 1,
) -> Hits:
    """The k best of the documents at these positions, by MaxSim with one query (q, dim) float32 over their records.

    Only documents whose estimate, where there is one, leaves them a chance are scored in full. A document without tokens
    scores minus infinity.
    """
    if threads < 1:
        raise InvalidArgument(f"threads is {threads}; it must be at least 1")
    with tallied(len(positions)):
        if codec.estimates and 0 < k < len(positions) and len(records):
            rows = codec.rows(records)
            cheap, errors = row_kernels.row_estimates(rows, offsets, positions, codec.turned(query), threads=threads)
            positions = positions[cheap + errors >= np.partition(cheap - errors, -k)[-k]]
        return best(positions, score(codec, records, offsets, positions, query, threads), k)


def _rounded_up(scales: np.ndarray) -> np.ndarray:
    """The least float32 of 11 significant bits that is no smaller."""
    mantissa, exponent = np.frexp(scales.astype(np.float32))
    return np.ldexp(np.ceil(mantissa * 2048) / np.float32(2048), exponent).astype(np.float32)
