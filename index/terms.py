"""`Terms`: sparse representations, the counterpart of `Tokens` over a key space such as a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import InvalidArgument
from .tokens import ragged_rows

TERMS = "terms"
"""The name of a collection's only term field where nobody named it."""


@dataclass(frozen=True, eq=False)
class Terms:
    """CSR rows over the key space: one row per document, or one per token where a system keeps tokens apart (SLIM)."""

    rows: Any
    """(n, keys) float32 `scipy.sparse.csr_array`; keys rise within a row, none twice."""
    offsets: np.ndarray | None = None
    """(documents + 1,) int64: document i owns rows offsets[i]:offsets[i + 1]. None: one row per document."""

    def __len__(self) -> int:
        return len(self.rows.indptr) - 1 if self.offsets is None else len(self.offsets) - 1

    @property
    def keys(self) -> int:
        """The size of the key space."""
        return self.rows.shape[1]

    def take(self, documents: np.ndarray | Sequence[int]) -> Terms:
        """The given documents, in the given order (repeats allowed)."""
        chosen = np.asarray(documents, np.int64)
        if self.offsets is None:
            return Terms(self.rows[chosen])
        rows, offsets = ragged_rows(self.offsets, chosen)
        return Terms(self.rows[rows], offsets)


def check(terms: Terms) -> Terms:
    """Refuses terms that no index could hold; gives them back as float32 with rising keys.

    Raises:
        InvalidArgument: offsets that fall or do not fit the rows, a key twice in a row, NaN or infinity.
    """
    from scipy import sparse  # here, since importing it takes half as long as all of plait.index

    rows: Any = sparse.csr_array(terms.rows, dtype=np.float32, copy=True)
    rows.sort_indices()
    line = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    twice = (np.diff(rows.indices) == 0) & (np.diff(line) == 0)
    if twice.any():
        at = int(np.argmax(twice))
        raise InvalidArgument(
            f"row {line[at]} has the key {rows.indices[at]} twice; give each key once, with its whole weight"
        )
    finite = np.isfinite(rows.data)
    if not finite.all():
        raise InvalidArgument(f"row {line[int(np.argmin(finite))]} has NaN or infinity")
    if terms.offsets is None:
        return Terms(rows)
    offsets = np.asarray(terms.offsets, np.int64)
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != rows.shape[0] or (np.diff(offsets) < 0).any():
        raise InvalidArgument(f"offsets must rise from 0 to {rows.shape[0]}, the number of rows")
    return Terms(rows, offsets)
