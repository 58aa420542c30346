"""muvera-rs 0.1.0 (Rust): one vector per document by MUVERA (Dhulipala et al., NeurIPS 2024), then exact MaxSim.

The package ranks by its vectors alone; the best `fetch` documents are scored here with their rows, as the paper does.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.codecs.half import Half
from plait.index.late.rerank import rerank
from plait.index.tokens import Tokens

INSTALL = "pip install --no-deps --target PEERS muvera-rs==0.1.0"
BUILDS: list[dict[str, Any]] = [{"d_final": 10_240}]
GRID: list[dict[str, Any]] = [{"fetch": 50}, {"fetch": 100}, {"fetch": 500}]

Handle = tuple[Any, Tokens, int]


def build(tokens: Tokens, types: np.ndarray, folder: Path, *, d_final: int) -> Handle:
    retriever = import_module("muvera").MuveraRetriever
    index = retriever(tokens.dim, len(tokens), d_proj=16, d_final=d_final, k_sim=5, r_reps=20, seed=42)
    rows = [tokens.vectors[tokens.rows(number)].tolist() for number in range(len(tokens))]
    index.index_dataset(rows, list(range(1, len(tokens) + 1)))  # it refuses document 0
    return index, tokens, d_final


def size(handle: Handle) -> int:
    """Its float32 vectors, and the float16 rows that the rerank reads."""
    _, tokens, d_final = handle
    return 4 * d_final * len(tokens) + tokens.vectors.nbytes


def search(handle: Handle, query: np.ndarray, k: int, *, threads: int, fetch: int) -> np.ndarray:
    index, tokens, _ = handle
    got = index.get_top_k(query.tolist(), fetch)
    found = np.array([g[0] if isinstance(g, tuple | list) else g for g in got], np.int64) - 1
    return rerank(Half(tokens.dim), tokens.vectors, tokens.offsets, found, query, k, threads=threads).docs
