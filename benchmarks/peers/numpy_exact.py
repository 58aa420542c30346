"""Exact MaxSim by one BLAS product over all tokens and a segmented maximum: the baseline."""

from pathlib import Path
from typing import Any

import numpy as np
from plait.index.tokens import Tokens

INSTALL = "pip install numpy"
BUILDS: list[dict[str, Any]] = [{}]
GRID: list[dict[str, Any]] = [{}]

Handle = tuple[np.ndarray, np.ndarray]


def build(tokens: Tokens, types: np.ndarray, folder: Path) -> Handle:
    if not tokens.lengths.all():
        raise ValueError("numpy's segmented maximum needs documents with at least one token")
    return tokens.vectors.astype(np.float32), tokens.offsets[:-1]


def size(handle: Handle) -> int:
    return handle[0].nbytes


def search(handle: Handle, query: np.ndarray, k: int, *, threads: int) -> np.ndarray:
    vectors, starts = handle
    return top(np.maximum.reduceat(vectors @ query.T, starts, axis=0).sum(axis=1), k)


def top(scores: np.ndarray, k: int) -> np.ndarray:
    """Numbers of the k best scores, best first."""
    chosen = np.argpartition(-scores, min(k, len(scores) - 1))[:k]
    return chosen[np.argsort(-scores[chosen], kind="stable")]
