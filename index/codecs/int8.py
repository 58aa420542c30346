"""int8 rows with a scale each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels import rows as row_kernels
from ..kernels import vectors as kernels

_SCALE = 4
"""Bytes of a scale."""


@dataclass(frozen=True)
class Bytes:
    """A record is `dim` int8 values and the float32 scale that they are times of: off by at most half a scale.

    The scale is the largest value / 127, rounded up to 11 significant bits, so that a value times its scale is a
    float32 without rounding, and encoding what records stand for gives the same records.
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


def _rounded_up(scales: np.ndarray) -> np.ndarray:
    """The least float32 of 11 significant bits that is no smaller."""
    mantissa, exponent = np.frexp(scales.astype(np.float32))
    return np.ldexp(np.ceil(mantissa * 2048) / np.float32(2048), exponent).astype(np.float32)
