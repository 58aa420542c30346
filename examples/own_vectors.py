"""Vectors of your own: token vectors, or one vector for each document, without an encoder of plait.

    python examples/own_vectors.py

Needs no extra and no model: plait searches what it is given.
"""

import tempfile
from pathlib import Path

import numpy as np

import plait

rng = np.random.default_rng(7)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1. Scores are dot products, so these become cosines; plait does not normalise given vectors."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


# Three documents of 5, 8 and 3 tokens. A token vector has 64 dimensions here.
documents = [unit(rng.normal(size=(tokens, 64))) for tokens in (5, 8, 3)]

# A query: two tokens that lie close to the second and the fifth token of the document "b".
query = unit(documents[1][[1, 4]] + 0.05 * rng.normal(size=(2, 64)))

with tempfile.TemporaryDirectory() as folder:
    # `encoder=None` with `dim`: token vectors are given. `from_matrices` packs matrices of different lengths.
    with plait.create(Path(folder, "tokens"), encoder=None, dim=64) as index:
        index.add_tokens(["a", "b", "c"], plait.from_matrices(documents), payloads=[{"n": n} for n in range(3)])
        (hits,) = index.search(plait.from_matrices([query]), k=3)
        for hit in hits:
            print(f"{hit.id} {hit.score:.3f} {hit.payload}")

        # The same sum by hand: each query token takes its best document token.
        by_hand = (query @ documents[1].T).max(axis=1).sum()
        print(f"by hand: {by_hand:.3f}")

    # `vector` without `dim`: one vector for each document, scored by dot product.
    with plait.create(Path(folder, "vectors"), encoder=None, vector=64) as index:
        means = [unit(document.mean(axis=0)) for document in documents]
        index.add([{"id": id, "vector": mean.tolist()} for id, mean in zip("abc", means, strict=True)])
        (hits,) = index.search(plait.from_vectors(unit(query.mean(axis=0))[None]), k=1)
        print("nearest mean:", hits[0].id)
