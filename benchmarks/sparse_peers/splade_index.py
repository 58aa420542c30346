"""splade-index 0.2.0 (numba): finished float32 scores by key, exact; all queries in one call.

pip install --no-deps --target PEERS splade-index==0.2.0 numba llvmlite tqdm
"""

from importlib import import_module
from typing import Any

import numpy as np
from sparse_engine import Engine, at_once, clocked, sparse_rows


def engines(documents: Any, queries: Any, k: int) -> list[Engine]:
    module = import_module("splade_index.numba.retrieve_utils")
    columns, seconds, grown = clocked(lambda: documents.tocsc())
    scores = {
        "data": columns.data.astype(np.float32),
        "indices": columns.indices.astype(np.int32),
        "indptr": columns.indptr.astype(np.int32),
        "num_docs": documents.shape[0],
    }
    known = np.diff(columns.indptr) > 0
    asked = [(keys[known[keys]].astype(np.int32), w[known[keys]]) for keys, w in sparse_rows(queries)]

    def search_all() -> np.ndarray:
        return module._retrieve_numba_functional(
            query_tokens_ids=[a for a, _ in asked],
            query_tokens_weights=[w for _, w in asked],
            scores=scores,
            k=k,
            sorted=True,
            return_as="tuple",
            show_progress=False,
            leave_progress=False,
            n_threads=0,
            chunksize=None,
            backend_selection="numba",
            dtype="float32",
            int_dtype="int32",
        )[0]

    return [Engine("splade-index", "numba", at_once(search_all), seconds, 8.0, 0.0, grown)]
