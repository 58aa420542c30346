"""What `posting_search` reads: an inverted index in flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Postings:
    """Runs of postings, one for each term and window that meet. Flat arrays, to be written and mapped as they are."""

    documents: int
    window: int
    """Document d is offset d % window of window d // window."""
    keys: np.ndarray
    """(terms,) uint32, rising: the keys that occur."""
    term_runs: np.ndarray
    """(terms + 1,) int64: term t has the runs term_runs[t] to term_runs[t + 1] - 1, by rising window."""
    windows: np.ndarray
    """(runs,) uint32."""
    starts: np.ndarray
    """(runs + 1,) int64: run r has the postings starts[r] to starts[r + 1] - 1, by rising offset."""
    maxima: np.ndarray
    """(runs,) uint8: the greatest impact of a run."""
    scales: np.ndarray
    """(terms,) float32: impact times scale is no less than the weight, and less than one scale above a positive one."""
    lows: np.ndarray
    """(terms,) float32: the least weight, or 0 if none is negative."""
    offsets: np.ndarray
    """(postings,) uint16."""
    impacts: np.ndarray | None
    """(postings,) uint8, at least 1. None: all are 1."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))
