"""Qdrant Edge 0.9.0 (Rust): its sparse segment in the process, float32 weights, exact.

pip install --no-deps --target PEERS qdrant-edge-py==0.9.0

Bytes are of the inverted index, and of the stored rows by the blocks that their files take (they are made larger than
filled); without log, ids and payloads.
Building is by upserts, as nothing else is offered, and its optimiser may use threads of its own; their CPU time counts.
"""

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from sparse_engine import Engine, clocked, file_bytes, sparse_rows

BATCH = 2_000


def engines(documents: Any, queries: Any, k: int) -> list[Engine]:
    edge = import_module("qdrant_edge")

    def vectors(matrix: Any) -> list[Any]:
        return [edge.SparseVector(indices=keys.tolist(), values=w.tolist()) for keys, w in sparse_rows(matrix)]

    # A mapped file lives on after its folder is gone, so that the folder need not outlast the build.
    with tempfile.TemporaryDirectory() as folder:

        def make() -> Any:
            segments = edge.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=1, max_segment_size=100_000_000
            )
            config = edge.EdgeConfig(
                sparse_vectors={"s": edge.EdgeSparseVectorParams(full_scan_threshold=1)},
                optimizers=segments,
                max_search_threads=1,
            )
            shard = edge.EdgeShard.create(folder, config)
            for at in range(0, documents.shape[0], BATCH):
                points = [
                    edge.Point(at + i, {"s": vector}) for i, vector in enumerate(vectors(documents[at : at + BATCH]))
                ]
                shard.update(edge.UpdateOperation.upsert_points(points))
            while shard.optimize():
                pass
            shard.flush()
            return shard

        shard, seconds, grown = clocked(make)
        postings = sum(map(file_bytes, Path(folder).glob("segments/*/vector_index*"))) / documents.nnz
        files = Path(folder).glob("segments/*/vector_storage*/**/*")
        rows = sum(512 * file.stat().st_blocks for file in files) / documents.nnz
    asked = [edge.SearchRequest(edge.Query.Nearest(vector, using="s"), k) for vector in vectors(queries)]

    def search(q: int) -> np.ndarray:
        return np.array([point.id for point in shard.search(asked[q])], np.int64)

    return [Engine("Qdrant Edge", "exact", search, seconds, postings, rows, grown)]
