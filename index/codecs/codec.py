"""How a collection keeps token vectors: as records of fixed size that are scored where they lie.

`float16`   two bytes a dimension.
`int8`      one byte a dimension and a scale for each token: half the bytes, and candidates are reranked in half the time.
`pq:64`     64 bytes a token, product codes, see `index/codecs/product.py`. `pq:72`, `pq:32`: 72 and 32.
`residual:2` ColBERTv2's codes of 1, 2 or 4 bits a dimension and a centroid's number, see `index/codecs/residual.py`.
Unit vectors only.

A vector is encoded once, when it is written. From then on the collection speaks of what its record stands for: fresh
documents, sealed segments and explanations agree, and a merge copies records as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..kernels import rows as row_kernels

DEFAULT = "float16"


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

    Query q has the rows bounds[q] to bounds[q + 1] - 1 of `queries` (., dim) float32; minus infinity for a document
    without tokens. A score depends on the document's records and the query's rows alone (`index/kernels/rows.py`).
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
