"""Axes that are learned or drawn: principal directions and random rotations, the same to the bit on every machine.

LAPACK's depend on the BLAS below it, in the last bits where eigenvalues differ and altogether where they are equal.
"""

from __future__ import annotations

import numpy as np

from ..errors import InvalidArgument
from ..kernels import _native
from ..kernels.vectors import widen

_BITS = 17
"""Of an entry's size against the largest: products have twice as many, and sums of up to 2^17 of those are exact in
float64, in whatever order a BLAS adds them up."""
_MOST = 1 << 17


def principal(vectors: np.ndarray) -> np.ndarray:
    """(d, d) float64: the directions, as columns, in which at most 2^17 vectors (n, d) have most energy, the first
    before others.

    Eigenvectors of the second moment; the largest entry of each is positive.
    InvalidArgument: an entry is NaN or infinite.
    """
    if len(vectors) > _MOST:
        raise InvalidArgument(f"axes are learned from {len(vectors)} vectors; {_MOST} at most")
    wide = widen(vectors).astype(np.float64)
    _, exponent = np.frexp(np.abs(wide).max(initial=0))
    whole = np.rint(np.ldexp(wide, _BITS - int(exponent)))
    matrix = whole.T @ whole
    values, rows = np.empty(len(matrix)), np.empty_like(matrix)
    if not _native.eigen(matrix, values, rows):
        raise InvalidArgument("axes cannot be learned: a vector has an entry that is NaN or infinite")
    rows = rows[np.argsort(-values, kind="stable")]
    # An eigenvector's sign is arbitrary.
    rows *= np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])[:, None]
    return rows.T


def rotation(dim: int, rng: np.random.Generator) -> np.ndarray:
    """(dim, dim) float64: a random rotation (Stewart, SIAM Journal on Numerical Analysis 17(3), 1980)."""
    rows = np.empty((dim, dim))
    _native.rotation(rng.standard_normal((dim, dim)), rows)
    return rows
