"""`TermRows`: sparse rows as flat arrays, the form in which a segment maps them and a merge moves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InvalidArgument
from .terms import Terms, check
from .tokens import chain, ragged_rows

KEYS = 1 << 32
"""The largest key space: a key takes four bytes."""


@dataclass(frozen=True, eq=False)
class TermRows:
    """Row r holds keys[offsets[r]:offsets[r + 1]], rising, and their weights.

    SciPy's CSR would copy the keys of a mapped segment into memory, as wider integers; these stay where they are.
    """

    offsets: np.ndarray
    """(rows + 1,) int64."""
    keys: np.ndarray
    """(n,) uint32."""
    weights: np.ndarray
    """(n,) float32, none of them zero."""
    row_offsets: np.ndarray | None = None
    """(documents + 1,) int64: document i owns rows row_offsets[i]:row_offsets[i + 1]. None: one row per document."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def bounds(self) -> np.ndarray:
        """(documents + 1,) int64: where the weights of each document begin."""
        return self.offsets if self.row_offsets is None else self.offsets[self.row_offsets]

    def take(self, documents: np.ndarray | Sequence[int]) -> TermRows:
        """The given documents, in the given order (repeats allowed)."""
        rows, row_offsets = np.asarray(documents, np.int64), None
        if self.row_offsets is not None:
            rows, row_offsets = ragged_rows(self.row_offsets, rows)
        entries, offsets = ragged_rows(self.offsets, rows)
        return TermRows(offsets, self.keys[entries], self.weights[entries], row_offsets)

    def terms(self, keys: int = KEYS) -> Terms:
        """The same as SciPy rows over a key space."""
        from scipy import sparse  # here, since importing it takes half as long as all of plait.index

        shape = len(self.offsets) - 1, keys
        wide = np.int64 if keys > np.iinfo(np.int32).max else np.int32
        parts = self.weights, self.keys.astype(wide), self.offsets.astype(wide)
        return Terms(sparse.csr_array(parts, shape=shape), self.row_offsets)


def none(documents: int, per_token: bool = False) -> TermRows:
    """Documents without any weight."""
    empty = np.zeros(documents + 1, np.int64)
    offsets, row_offsets = (np.zeros(1, np.int64), empty) if per_token else (empty, None)
    return TermRows(offsets, np.zeros(0, np.uint32), np.zeros(0, np.float32), row_offsets)


def from_terms(terms: Terms, keys: int = KEYS) -> TermRows:
    """The rows as they are stored: keys rise, explicit zeros are left out, since they add nothing to any score.

    Raises:
        InvalidArgument: a key outside of 0 to `keys` - 1, a key twice in a row, NaN or
            infinity, offsets that do not fit.
    """
    checked = check(terms)
    rows = checked.rows
    rows.eliminate_zeros()
    if len(rows.indices) and not 0 <= rows.indices.min() <= rows.indices.max() < keys:
        outside = rows.indices[(rows.indices < 0) | (rows.indices >= keys)][0]
        raise InvalidArgument(f"the key {outside} lies outside of the key space, 0 to {keys - 1}")
    return TermRows(
        rows.indptr.astype(np.int64), rows.indices.astype(np.uint32), rows.data.astype(np.float32), checked.offsets
    )


def concatenate(parts: Sequence[TermRows]) -> TermRows:
    """Joins batches of documents, all with rows per document or all with rows per token."""
    rows = [p.row_offsets for p in parts if p.row_offsets is not None]
    return TermRows(
        chain([p.offsets for p in parts]),
        np.concatenate([p.keys for p in parts]),
        np.concatenate([p.weights for p in parts]),
        chain(rows) if rows else None,
    )
