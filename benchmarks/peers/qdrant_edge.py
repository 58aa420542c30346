"""qdrant-edge-py 0.9.0: Qdrant's engine (Rust) in process, multivectors compared by MaxSim over float32 rows.

Its default for such vectors is a graph of documents; that costs a full MaxSim for every hop of every insertion, and
Qdrant's own advice is `m=0`: no graph, every document is scored. So the one setting here is exact.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from plait.index.tokens import Tokens

INSTALL = "pip install --no-deps --target PEERS qdrant-edge-py==0.9.0"
BUILDS: list[dict[str, Any]] = [{}]
GRID: list[dict[str, Any]] = [{}]
_BATCH = 500


def build(tokens: Tokens, types: np.ndarray, folder: Path) -> Any:
    qdrant = import_module("qdrant_edge")
    vectors = qdrant.EdgeVectorParams(
        tokens.dim,
        qdrant.Distance.Dot,
        multivector_config=qdrant.MultiVectorConfig(qdrant.MultiVectorComparator.MaxSim),
        datatype=qdrant.VectorStorageDatatype.Float32,
        hnsw_config=qdrant.HnswIndexConfig(0, 100, 10_000),
    )
    optimizers = qdrant.EdgeOptimizersConfig(default_segment_number=1)
    config = qdrant.EdgeConfig(vectors, optimizers=optimizers, max_search_threads=1)
    shard = qdrant.EdgeShard.create(str(folder), config)
    rows = np.split(tokens.vectors.astype(np.float32), tokens.offsets[1:-1])
    for first in range(0, len(rows), _BATCH):
        some = enumerate(rows[first : first + _BATCH], first)
        points = [qdrant.Point(number, matrix.tolist()) for number, matrix in some if len(matrix)]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    while shard.optimize():
        continue
    shard.flush()
    return shard


def search(handle: Any, query: np.ndarray, k: int, *, threads: int) -> np.ndarray:
    qdrant = import_module("qdrant_edge")
    asked = qdrant.Query.Nearest(query.astype(np.float32).tolist())
    found = handle.search(qdrant.SearchRequest(asked, k))
    return np.array([point.id for point in found], np.int64)
