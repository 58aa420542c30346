"""bm25s by its numba kernel: finished float32 scores by term, exact; all queries in one call.

pip install --no-deps --target PEERS numba llvmlite
"""

from typing import Any

import numpy as np
from sparse_engine import Engine, at_once, clocked, sparse_rows


def engines(impacts: Any, queries: Any, idf: np.ndarray, k: int) -> list[Engine]:
    from bm25s.numba.retrieve_utils import _retrieve_numba_functional

    def make() -> dict[str, Any]:
        columns = impacts.tocsc()
        data = columns.data * np.repeat(idf.astype(np.float64), np.diff(columns.indptr))
        arrays = data.astype(np.float32), columns.indices.astype(np.int32), columns.indptr.astype(np.int32)
        return dict(zip(("data", "indices", "indptr"), arrays, strict=True), num_docs=impacts.shape[0])

    scores, seconds, grown = clocked(make)
    asked = [keys.astype(np.int32) for keys, _ in sparse_rows(queries)]

    def search_all() -> Any:
        return _retrieve_numba_functional(asked, scores, k=k, show_progress=False)[0]

    return [Engine("bm25s", "numba", at_once(search_all), seconds, 8.0, 0.0, grown)]
