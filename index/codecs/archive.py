"""Arrays by name in one file of bytes, as NumPy's `savez` writes it, that may be damaged."""

from __future__ import annotations

import io
import tokenize
import zipfile
import zlib

import numpy as np

_DAMAGED = (
    *(OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error, SyntaxError),
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, tokenize.TokenError),
)
"""What NumPy and zipfile raise, each for another kind of damage."""


def read_arrays(data: bytes, *names: str) -> list[np.ndarray]:
    """The arrays of these names. ValueError: the bytes are no such file, or it lacks one of them."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            found = [arrays[name] for name in names]
    except _DAMAGED as error:
        raise ValueError(str(error) or type(error).__name__) from None
    if not all(isinstance(array, np.ndarray) for array in found):
        raise ValueError(f"it holds no arrays {', '.join(names)}")
    return found
