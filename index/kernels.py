"""The only door to the native module: typed, documented, shape-checked."""

from __future__ import annotations

import numpy as np

from . import _native


def widen(half: np.ndarray) -> np.ndarray:
    """float16 to float32 of the same shape, exact. A float32 array passes through untouched."""
    if half.dtype == np.float32:
        return half
    flat = np.ascontiguousarray(half).reshape(-1)
    out = np.empty(flat.shape, np.float32)
    _native.widen(flat.view(np.uint16), out)
    return out.reshape(half.shape)


def segmented_max(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(rows, columns) float32 scores to the (documents, columns) maximum over each document's rows.

    `offsets` is (documents + 1,) int64. A document without rows gets minus infinity.
    """
    out = np.empty((len(offsets) - 1, scores.shape[1]), np.float32)
    _native.segmented_max(np.ascontiguousarray(scores), np.ascontiguousarray(offsets), out)
    return out


def simd_level() -> str:
    """The instruction set in use: avx512, avx2, neon or scalar (environment variable PLAIT_SIMD forces one)."""
    return _native.level()


def use_simd(name: str) -> None:
    """Forces an instruction set for the whole process. ValueError: no such level, or not on this machine."""
    if not _native.use_level(name):
        raise ValueError(f"this machine has no {name}; it has {', '.join(_native.levels_here())}")


def simd_levels() -> list[str]:
    """All levels that run here, best first."""
    return _native.levels_here()
