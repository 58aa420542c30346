"""plait's lists plan: the 4-bit codes of the lists near a query's tokens, then a rerank
with the records of some precision."""

from pathlib import Path
from typing import Any

import numpy as np
from plait.index.codecs import kmeans as clustering
from plait.index.codecs import pq4
from plait.index.codecs.codec import Codec
from plait.index.codecs.precisions import codec
from plait.index.late import coded, lists
from plait.index.tokens import Tokens

INSTALL = "pip install ."
BUILDS: list[dict[str, Any]] = [
    {"bytes": 8, "rows": "float16"},
    {"bytes": 16, "rows": "float16"},
    {"bytes": 16, "rows": "int8"},
    {"bytes": 16, "rows": "pq:64"},
]
GRID: list[dict[str, Any]] = [
    {"nprobe": p, "candidates": n} for p, n in ((3, 35), (4, 50), (8, 50), (8, 100), (16, 100), (24, 200), (32, 200))
]
SAMPLE, CHUNK = 20_000, 1 << 16


def build(tokens: Tokens, types: np.ndarray, folder: Path, *, bytes: int, rows: str) -> lists.Lists:
    vectors, number = tokens.vectors, lists.count(len(tokens.vectors))
    book = pq4.fit(coded.sample(vectors, SAMPLE), bytes)
    centroids = clustering.fit(coded.sample(vectors, 32 * number), number)
    postings = lists.build(book, centroids, vectors, tokens.offsets, types)
    (folder / "codebook").write_bytes(book.to_bytes())
    arrays = {"offsets": tokens.offsets, "centroids": centroids, **vars(postings)}
    kept = codec(rows, tokens.dim)
    arrays["records"] = np.concatenate([kept.encode(vectors[at : at + CHUNK]) for at in range(0, len(vectors), CHUNK)])
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return load(folder, kept)


def load(folder: Path, kept: Codec) -> lists.Lists:
    book = pq4.Codebook.from_bytes((folder / "codebook").read_bytes())
    at = {path.stem: np.load(path, mmap_mode="r").view(np.ndarray) for path in folder.glob("*.npy")}
    postings = lists.Postings(at["bounds"], at["codes"], at["documents"])
    return lists.Lists(book, at["centroids"], postings, at["offsets"], kept, at["records"])


def search(handle: lists.Lists, query: np.ndarray, k: int, *, threads: int, nprobe: int, candidates: int) -> np.ndarray:
    return handle.search(query, min(k, candidates), candidates, nprobe=nprobe, threads=threads).docs
