"""fast-plaid 1.7.0 (LightOn; Rust and libtorch): PLAID, centroid lists and residual codes of 4 bits."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.tokens import Tokens

INSTALL = (
    "in an environment with torch 2.11.0, the only one that its libraries fit: pip install fast-plaid==1.7.0.2110 "
    "(with another torch the import works and the build crashes)"
)
BUILDS: list[dict[str, Any]] = [{"nbits": 4}]
GRID: list[dict[str, Any]] = [
    {"n_ivf_probe": 2, "n_full_scores": 256},
    {"n_ivf_probe": 8, "n_full_scores": 1024},
    {"n_ivf_probe": 8, "n_full_scores": 4096},  # its defaults
    {"n_ivf_probe": 32, "n_full_scores": 4096},
]


def build(tokens: Tokens, types: np.ndarray, folder: Path, *, nbits: int) -> Any:
    torch, search_of = import_module("torch"), import_module("fast_plaid.search")
    index = search_of.FastPlaid(index=str(folder / "plaid"), device="cpu")
    documents = [torch.from_numpy(np.ascontiguousarray(tokens.vectors[tokens.rows(d)])) for d in range(len(tokens))]
    index.create(documents_embeddings=documents, nbits=nbits)
    return index


def search(handle: Any, query: np.ndarray, k: int, *, threads: int, **params: Any) -> np.ndarray:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    found = handle.search(queries_embeddings=torch.from_numpy(query[None]), top_k=k, show_progress=False, **params)
    return np.array([document for document, _ in found[0]], np.int64)
