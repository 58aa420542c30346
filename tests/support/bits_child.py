"""What test_same_bits.py runs under other BLAS kernels and instruction sets: prints a digest of each kind of result.

Usage: python bits_child.py FILE.npz, which holds what was learned and given.
"""

import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np
from plait.index.codecs import pq4, residual
from plait.index.codecs.pq4 import Codebook
from plait.index.codecs.precisions import codec
from plait.index.codecs.product import Keep
from plait.index.collection import Collection
from plait.index.kernels import vectors as kernels
from plait.index.params import Scoring, SearchParams
from plait.index.tokens import Tokens
from plait.retrieval.reducers import pooling, projection
from threadpoolctl import threadpool_info


def main(path: str) -> None:
    given = np.load(path)
    tokens = Tokens(given["vectors"], given["offsets"])
    queries = Tokens(given["queries"], given["query_offsets"])

    def told(name: str, *arrays: np.ndarray) -> None:
        data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
        print(name, hashlib.sha256(data).hexdigest()[:16])

    few = tokens.vectors[
        :40
    ]  # fewer than dimensions: most directions have no energy, and a LAPACK turns them as it likes
    told("axes", projection.fit(tokens.vectors, 48), projection.fit(few, 64))
    for subs, entries, alone in ((32, 256, 0), (40, 16, 16)):
        learned = pq4.learn(tokens.vectors, subs, entries, alone=alone)
        told("codebook", learned.rotation, learned.centroids)
    buckets = residual.learn(tokens.vectors, 2)
    told("buckets", buckets.centroids, buckets.cutoffs, buckets.weights)
    projected = projection.project(tokens, given["axes"])
    told("projected", projected.vectors)
    told("pooled", *(pooling.pool(tokens, 2, method).vectors for method in ("hierarchical", "kmeans")))
    book = Codebook(given["rotation"], given["centroids"])
    told("codes", pq4.numbers(book, tokens.vectors))
    told("product", codec("pq:32", tokens.dim, Keep(book=book)).encode(tokens.vectors))
    with tempfile.TemporaryDirectory() as folder, Collection.create(Path(folder), projected.dim, "exact") as collection:
        with collection.builder() as writer:
            writer.add([str(i) for i in range(len(projected))], projected)
            writer.publish()
        asked = projection.project(queries, given["axes"])
        with collection.snapshot() as snapshot:
            for name, scoring in (("exact", Scoring()), ("xtr", Scoring("retrieved"))):
                for hits in snapshot.search(asked, 30, scoring, SearchParams(k_token=200)):
                    told(name, hits.docs, hits.scores)
    # What ran, for the reader of a failure; the test leaves it out of the comparison.
    print("#", kernels.simd_level(), [(p["internal_api"], p.get("architecture")) for p in threadpool_info()])


if __name__ == "__main__":
    main(sys.argv[1])
