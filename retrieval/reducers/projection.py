"""An uncentred PCA of token vectors: fewer dimensions, fitted on a sample and stored with the collection."""

from __future__ import annotations

import io

import numpy as np

from ...index.codecs.axes import principal
from ...index.errors import InvalidArgument
from ...index.kernels import rows as row_kernels
from ...index.kernels.vectors import widen
from ...index.tokens import Tokens

_ROWS = 100_000


def fit(vectors: np.ndarray, dim: int, seed: int = 0) -> np.ndarray:
    """(d, dim) float32: the leading eigenvectors of the second moment of (n, d) vectors.

    Args:
        dim: dimensions kept. Smaller: a smaller and faster index; quality falls (MiniLM at 128: 0 to 2 points of
            nDCG@10, docs/measurements/results.md). Cannot be changed after building.
        seed: draws at most 100,000 of the rows.
    """
    if not 1 <= dim <= vectors.shape[1]:
        raise InvalidArgument(f"dim is {dim}; it must lie between 1 and the encoder's {vectors.shape[1]} dimensions")
    if len(vectors) > _ROWS:
        vectors = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), _ROWS, replace=False))]
    return np.ascontiguousarray(principal(vectors)[:, :dim], np.float32)


def project(tokens: Tokens, axes: np.ndarray) -> Tokens:
    """The tokens in the subspace, unit rows again (a row that vanishes stays zero).

    A row depends on its vector and the axes alone: the batch, the threads and the machine change no bit.
    """
    return tokens.with_vectors(row_kernels.unit(row_kernels.product(widen(tokens.vectors), axes)))


def to_bytes(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def from_bytes(blob: bytes) -> np.ndarray:
    return np.load(io.BytesIO(blob), allow_pickle=False)
