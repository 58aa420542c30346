"""tachiom 0.4.0 (TusKANNy; Rust): token lists by vocabulary-aware centroids, a graph over these, and two-level PQ."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.tokens import Tokens

INSTALL = (
    "pip download --no-deps --only-binary :all: --platform manylinux_2_39_x86_64 tachiom==0.4.0; unzip the wheel into "
    "PEERS (its tag asks for glibc 2.39, but all symbols of that version are weak: it loads on 2.36)"
)
BUILDS: list[dict[str, Any]] = [{}]
GRID: list[dict[str, Any]] = [
    {"k_centroids": 5, "ef_search": 10, "k_docs_to_score": 100, "alpha": 0.45},
    {"k_centroids": 10, "ef_search": 20, "k_docs_to_score": 250, "alpha": 0.45},
    {"k_centroids": 20, "ef_search": 30, "k_docs_to_score": 500, "alpha": 0.45},  # its defaults
    {"k_centroids": 40, "ef_search": 60, "k_docs_to_score": 1000, "alpha": None},
    {"k_centroids": 100, "ef_search": 150, "k_docs_to_score": 2000, "alpha": None},
]

Handle = tuple[Any, int]


def build(tokens: Tokens, types: np.ndarray, folder: Path) -> Handle:
    tachiom = import_module("tachiom").Tachiom
    # It takes the bits of float16 as uint16.
    bits = np.ascontiguousarray(tokens.vectors).view(np.uint16)
    index = tachiom.build_from_arrays(
        bits,
        types.astype(np.uint32),
        tokens.lengths.astype(np.int32),
        normalize=True,
        pq_sample_size=min(len(bits), 200_000),
        pq_n_iter=10,
        hnsw_m=32,
        ef_construction=400,
    )
    index.save(str(folder / "index.bin"))
    return tachiom.load(str(folder / "index.bin")), len(tokens)


def search(handle: Handle, query: np.ndarray, k: int, *, threads: int, **params: Any) -> np.ndarray:
    index, documents = handle
    _, found = index.batch_search(query, 1, k, num_threads=threads, **params)
    numbers = np.asarray(found)[0].astype(np.int64)
    # Short answers are filled up with a number that no document has.
    return numbers[(numbers >= 0) & (numbers < documents)]
