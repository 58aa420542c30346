"""One global vector for each document, scored by dot product: COIL's and DupMAE's [CLS], or any that users store.

score(q, d) = q . g_d, a float64 sum over the stored float16 values, rounded to float32. A sealed segment has the vectors
in bytes too: a scan of those finds who may be among the best (`index/codecs/byte_rows.py`), and only they are scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..codecs.byte_rows import byte_query, scale_of, to_bytes
from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels import terms as term_kernels
from ..kernels.vectors import among_best, widen
from ..late import exact
from ..segments.files import Files
from ..stopping import steps

if TYPE_CHECKING:
    from ..late.search import Part

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


def search(parts: list[Part], queries: np.ndarray, k: int) -> list[Hits]:
    """The k best documents of each query, (q, width) float32."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    return [exact.merge([_best(part, query, k) for part in steps(parts)], k) for query in queries]


def products(vectors: np.ndarray | None, positions: np.ndarray, query: np.ndarray) -> np.ndarray:
    """(n,) float64 products of the vectors at these positions with one query."""
    assert vectors is not None
    return term_kernels.half_products(vectors, positions, query)


def _best(part: Part, query: np.ndarray, k: int) -> Hits:
    if part.codes is not None:
        positions = among_best(*part.codes.estimate(query), k, open=part.allowed)
    else:
        positions = np.arange(len(part.segment.documents)) if part.allowed is None else np.flatnonzero(part.allowed)
    scores = products(part.segment.tokens.globals_, positions, query)
    return best(part.segment.documents[positions], scores.astype(np.float32), k)
