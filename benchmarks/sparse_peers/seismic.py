"""Seismic (pyseismic-lsr 0.5.4; Rust): blocks of similar documents with summaries, approximate.

pip install --no-deps --target PEERS pyseismic-lsr==0.5.4
"""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sparse_engine import Engine, clocked, file_bytes, sparse_rows

GRID = ((1, 0.9), (2, 0.9), (3, 0.9), (4, 0.9), (6, 0.8), (10, 0.9))
"""Query keys whose lists are visited, and the factor of its heap."""


def engines(documents: Any, queries: Any, k: int) -> list[Engine]:
    module = import_module("seismic")

    def make() -> Any:
        data = module.SeismicDataset()
        names = [str(i) for i in range(documents.shape[0])]
        data.add_documents_by_id(
            names,
            documents.indices.astype(np.int64),
            documents.data.astype(np.float32),
            documents.indptr.astype(np.int64),
        )
        return module.SeismicIndex.build_from_dataset(data, n_postings=3500, num_threads=1)

    index, seconds, grown = clocked(make)
    with tempfile.TemporaryDirectory() as folder:
        index.save(str(Path(folder) / "index"))
        size = file_bytes(Path(folder)) / documents.nnz
    kind = module.get_seismic_string()
    asked = [(np.array([str(key) for key in keys.tolist()], kind), w) for keys, w in sparse_rows(queries)]
    out = []
    for cut, factor in GRID:

        def search(q: int, cut: int = cut, factor: float = factor) -> np.ndarray:
            found = index.search("q", *asked[q], k, cut, factor, 0, True)
            return np.array([int(hit[2]) for hit in found], np.int64)

        out.append(Engine("Seismic", f"cut {cut}, factor {factor}", search, seconds, size, 0.0, grown))
    return out
