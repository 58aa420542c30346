"""The global vectors of a segment in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..codecs.byte_rows import byte_query, scale_of, to_bytes
from ..kernels import terms as term_kernels
from ..kernels.vectors import widen
from ..segments.files import Files

_CODES, _SCALES = FILES = ("global_codes", "global_scales")


_ROWS = 1 << 13


@dataclass(frozen=True, eq=False)
class GlobalCodes:
    """The global vectors of a segment in bytes: width + 4 for each document."""

    codes: np.ndarray
    """(documents, width) int8."""
    scales: np.ndarray
    """(documents,) float32."""

    @classmethod
    def open(cls, files: Files, width: int) -> GlobalCodes:
        return cls(files.array(_CODES, "|i1", (-1, width)), files.array(_SCALES, "<f4"))

    def estimate(self, query: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """(documents,) float32 products with `query` (width,) float32, and by how much each may be wrong."""
        asked = byte_query(query[None])
        products = term_kernels.byte_products(self.codes, self.scales, asked.codes[0], asked.steps[0], threads=threads)
        return products, self.scales * np.float32(asked.wrong[0])


def build(folder: Path, vectors: np.ndarray) -> tuple[str, ...]:
    """Writes the bytes of vectors (documents, width) float16. Returns the names of the files."""
    with open(folder / _CODES, "wb") as codes, open(folder / _SCALES, "wb") as scales:
        for start in range(0, len(vectors), _ROWS):
            rows = widen(vectors[start : start + _ROWS])
            scale = scale_of(np.abs(rows).max(axis=1))
            codes.write(to_bytes(rows, scale).tobytes())
            scales.write(scale.astype("<f4").tobytes())
    return FILES
