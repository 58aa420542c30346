"""BM25 over stored term counts: what they weigh is decided when a query comes.

score(q, d) = sum_t c_t · ln(1 + (N - df_t + 0.5) / (df_t + 0.5)) · tf / (tf + k1 · (1 - b + b · |d| / mean |d|))

with c_t the count in the query, N the living documents and |d| the sum of a document's counts (Robertson and Zaragoza
2009; Lucene's variant: Kamphuis et al., ECIR 2020). So documents may come and go without anything stored being weighed anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InvalidArgument


@dataclass(frozen=True)
class Bm25:
    """The knobs; both can be changed from query to query."""

    k1: float = 1.2
    """0 or more. Larger: repeated terms go on adding; 0: only presence counts."""
    b: float = 0.75
    """0 to 1. Larger: long documents lose more; 0: length does not matter."""

    def __post_init__(self) -> None:
        if not (self.k1 >= 0 and 0 <= self.b <= 1):
            raise InvalidArgument(f"k1 is {self.k1} and b is {self.b}; k1 must be 0 or more, b between 0 and 1")

    def idf(self, frequencies: np.ndarray, documents: int) -> np.ndarray:
        """(n,) float32 of (n,) document frequencies; above 0 even of a term that every document holds."""
        return np.log1p((documents - frequencies + 0.5) / (frequencies + 0.5)).astype(np.float32)

    def norms(self, lengths: np.ndarray, mean: float) -> np.ndarray:
        """(documents,) float64: what a document's counts are saturated with, weight = tf / (tf + norm)."""
        return self.k1 * (1 - self.b + self.b * lengths / (mean or 1))
