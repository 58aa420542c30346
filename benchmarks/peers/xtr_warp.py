"""xtr-warp-rs 2.1.0 (WARP in Rust and libtorch): centroid lists, residual codes of 4 bits, imputed similarities."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.kernels.vectors import widen
from plait.index.tokens import Tokens

INSTALL = (
    "in an environment with torch 2.11.0, the only one that its libraries fit: pip install xtr-warp-rs==2.1.0.2110"
)
BUILDS: list[dict[str, Any]] = [{"nbits": 4}]
GRID: list[dict[str, Any]] = [
    {},  # its own choice
    {"nprobe": 8, "bound": 128, "t_prime": 2000, "centroid_score_threshold": 0.0},
    {"nprobe": 32, "bound": 128, "t_prime": 10000, "centroid_score_threshold": 0.0},
    {"nprobe": 128, "bound": 512, "t_prime": 30000, "centroid_score_threshold": 0.0},
]


def build(tokens: Tokens, types: np.ndarray, folder: Path, *, nbits: int) -> Any:
    torch, warp = import_module("torch"), import_module("xtr_warp")
    index = warp.XTRWarp(index=str(folder / "warp"))
    documents = [torch.from_numpy(widen(tokens.vectors[tokens.rows(d)])) for d in range(len(tokens))]
    index.create(embeddings_source=documents, device="cpu", nbits=nbits, show_progress=False)
    index.load(device="cpu", dtype=torch.float32)
    return index


def search(handle: Any, query: np.ndarray, k: int, *, threads: int, **params: Any) -> np.ndarray:
    torch = import_module("torch")
    torch.set_num_threads(threads)
    asked = torch.from_numpy(query[None])
    found = handle.search(asked, top_k=k, num_threads=threads, show_progress=False, **params)
    return np.array([document for document, _ in found[0]], np.int64)
