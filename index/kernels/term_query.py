"""What `posting_search` is given: one sparse query."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..term_rows import TermRows


@dataclass(frozen=True, eq=False)
class TermQuery:
    """One query."""

    rows: TermRows
    """One query, of one row or several."""
    keys: np.ndarray | None = None
    """(terms,) uint32, rising: documents without any of them are not found through postings. None: the query is one
    row, whose own keys find and whose weights are their gains and losses."""
    gains: np.ndarray | None = None
    """(terms,) float32, at least 0; with `keys`."""
    losses: np.ndarray | None = None
    """(terms,) float32, at most 0; with `keys`."""
    candidates: int | None = None
    alpha: float = 1.0
