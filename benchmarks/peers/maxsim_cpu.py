"""maxsim-cpu 0.1.0 (mixedbread; Rust and libxsmm): exact MaxSim of given documents, no index."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from peers.numpy_exact import top
from plait.index.tokens import Tokens

INSTALL = "pip install --no-deps --target PEERS maxsim-cpu==0.1.0"
BUILDS: list[dict[str, Any]] = [{}]
GRID: list[dict[str, Any]] = [{}]

Handle = tuple[Any, list[np.ndarray]]


def build(tokens: Tokens, types: np.ndarray, folder: Path) -> Handle:
    rows = np.split(tokens.vectors.astype(np.float32), tokens.offsets[1:-1])
    return import_module("maxsim_cpu").maxsim_scores_variable, rows


def size(handle: Handle) -> int:
    return sum(rows.nbytes for rows in handle[1])


def search(handle: Handle, query: np.ndarray, k: int, *, threads: int) -> np.ndarray:
    scores, documents = handle
    return top(np.asarray(scores(query, documents)), k)
