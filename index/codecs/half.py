"""float16 rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels


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
