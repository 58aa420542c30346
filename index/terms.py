"""`Terms`: sparse representations, the counterpart of `Tokens` over a key space such as a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import check_offsets
from .errors import InvalidArgument, never_fails
from .tokens import ragged_rows

TERMS = "terms"
"""The name of a collection's only term field where nobody named it."""


@dataclass(frozen=True, eq=False)
class Terms:
    """CSR rows over the key space: one row per document, or one per token where a system keeps tokens apart (SLIM).

    Examples:
        >>> from scipy import sparse
        >>> plait.Terms(sparse.csr_array([[0, 1.5, 0], [2, 0, 1]]))
        Terms(2 documents: 3 weights over 3 keys)
    """

    rows: Any
    """(n, keys) float32 `scipy.sparse.csr_array`; keys rise within a row, none twice."""
    offsets: np.ndarray | None = None
    """(documents + 1,) int64: document i owns rows offsets[i]:offsets[i + 1]. None: one row per document."""

    def __len__(self) -> int:
        return len(self.rows.indptr) - 1 if self.offsets is None else len(self.offsets) - 1

    @never_fails
    def __repr__(self) -> str:
        rows = "" if self.offsets is None else f"{self.rows.shape[0]:,} rows, "
        return f"{len(self):,} documents: {rows}{self.rows.nnz:,} weights over {self.keys:,} keys"

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
        InvalidArgument: no CSR rows, or rows whose arrays contradict each other; offsets that fall or do not fit the
            rows, a key twice in a row or outside of the key space, NaN or infinity.
    """
    from scipy import sparse  # here, since importing it takes half as long as all of plait.index

    if not isinstance(terms, Terms):
        raise InvalidArgument(
            f"expected Terms, got {type(terms).__name__}; Terms takes a CSR array, a row for each document"
        )
    rows: Any = sparse.csr_array(_arrays(terms.rows), shape=terms.rows.shape)
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
    return Terms(rows, check_offsets(terms.offsets, rows.shape[0], "offsets of rows", "document"))


def _arrays(rows: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Copies of a CSR matrix's weights, keys and bounds of rows, of which SciPy itself believes everything."""
    if getattr(rows, "format", None) != "csr" or len(rows.shape) != 2:
        raise InvalidArgument(f"rows are {type(rows).__name__}; give scipy.sparse.csr_array, a row for each document")
    (count, keys), weights, columns = rows.shape, np.asarray(rows.data), np.asarray(rows.indices)
    if np.shape(rows.indptr) != (count + 1,):
        raise InvalidArgument(f"indptr has shape {np.shape(rows.indptr)}; {count} rows need {count + 1} entries")
    if weights.ndim != 1 or weights.shape != columns.shape or weights.dtype.kind not in "fiub":
        raise InvalidArgument(
            f"data {weights.shape} {weights.dtype} and indices {columns.shape} must be one number for each key"
        )
    # Arrays may be longer than what the rows own of them.
    end = int(rows.indptr[-1]) if 0 <= rows.indptr[-1] <= len(columns) else len(columns)
    bounds = check_offsets(rows.indptr, end, "indptr", "row")
    weights, columns = weights[:end], columns[:end]
    if columns.dtype.kind not in "iu":
        raise InvalidArgument(f"indices are {columns.dtype}; keys are whole numbers")
    outside = (columns < 0) | (columns >= keys)
    if outside.any():
        at = int(np.argmax(outside))
        row = int(np.searchsorted(bounds, at, side="right")) - 1
        raise InvalidArgument(f"row {row} has the key {columns[at]}, outside of the key space, 0 to {keys - 1}")
    return weights.astype(np.float32), columns.astype(np.int64), bounds
