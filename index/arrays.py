"""Arrays that come from outside, checked before any kernel or SciPy sees them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import InvalidArgument


def as_array(value: Any, what: str) -> np.ndarray:
    """An array of numbers. A tensor of torch is detached, fetched from its device and,
    if NumPy lacks its type, widened.

    Raises:
        InvalidArgument: begins with `what`; no numbers, or rows of different lengths.
    """
    if isinstance(value, list | tuple):
        rows: Any = [as_array(row, what) if hasattr(row, "detach") else row for row in value]
    elif hasattr(value, "detach"):
        rows = value.detach().cpu()
        rows = rows.float() if str(rows.dtype) == "torch.bfloat16" else rows
    else:
        rows = value
    try:
        found = np.asarray(rows)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidArgument(f"{what}: {type(value).__name__} is no array of numbers: {error}") from None
    if found.dtype.kind not in "fiu":
        raise InvalidArgument(f"{what}: {type(value).__name__} of {found.dtype} is no array of numbers")
    return found


def check_offsets(given: Any, end: int, name: str, of: str, first: int = 0) -> np.ndarray:
    """(n + 1,) int64 offsets. InvalidArgument: they are no whole numbers that run from 0 to `end` without falling."""
    offsets = np.asarray(given)
    if offsets.ndim != 1 or not len(offsets) or offsets.dtype.kind not in "iu":
        raise InvalidArgument(
            f"{name} must be whole numbers, one more than there are; got shape {offsets.shape} {offsets.dtype}"
        )
    if offsets[0] != 0 or offsets[-1] != end:
        raise InvalidArgument(f"{name} must run from 0 to {end}; they run from {offsets[0]} to {offsets[-1]}")
    if (falls := offsets[1:] < offsets[:-1]).any():
        raise InvalidArgument(f"{name} fall at {of} {first + int(np.argmax(falls))}")
    return offsets.astype(np.int64)


def check_finite(vectors: np.ndarray, offsets: np.ndarray, first: int = 0) -> None:
    """InvalidArgument names the document and the token that have NaN or infinity."""
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        document = int(np.searchsorted(offsets, row, side="right")) - 1
        raise InvalidArgument(
            f"document {first + document} has NaN or infinity in token {row - int(offsets[document])}"
        )


def as_column(
    given: Any, name: str, dtype: type[np.generic], shape: tuple[int, ...], greatest: int | None = None
) -> np.ndarray | None:
    """A column as it is kept. InvalidArgument: another shape, no such numbers, or numbers that the type cannot hold."""
    if given is None:
        return None
    column = np.asarray(given)
    if column.shape != shape:
        raise InvalidArgument(
            f"{name} has {len(given)} entries for {shape[0]} vectors: its shape is {column.shape}, not {shape}"
        )
    if dtype == np.float32:
        good, wanted = column.dtype.kind in "fiu" and bool(np.isfinite(column.astype(dtype)).all()), "finite numbers"
    else:
        limit = int(np.iinfo(np.dtype(dtype).name).max) if greatest is None else greatest
        within = column.dtype.kind in "iu" and (not column.size or bool(column.min() >= 0 and column.max() <= limit))
        good, wanted = within, f"whole numbers from 0 to {limit}"
    if not good:
        raise InvalidArgument(f"{name} must be {wanted}; got {column.dtype} such as {column.reshape(-1)[:1]}")
    return np.ascontiguousarray(column, dtype)
