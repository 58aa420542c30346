"""plait's flat plan: a scan of 4-bit codes, then a rerank with the records of some
precision. Everything is memory-mapped."""

from pathlib import Path
from typing import Any

import numpy as np
from plait.index.codecs import pq4
from plait.index.codecs.codec import Codec
from plait.index.codecs.precisions import codec
from plait.index.late.flat import Flat
from plait.index.tokens import Tokens

INSTALL = "pip install ."
BUILDS: list[dict[str, Any]] = [
    *({"bytes": size, "rows": "float16"} for size in (8, 16, 32)),
    *({"bytes": size, "rows": "int8"} for size in (8, 16, 32)),
    {"bytes": 16, "rows": "pq:64"},
    {"bytes": 8, "rows": "pq:72"},
    {"bytes": 8, "rows": "pq:32"},
]
GRID: list[dict[str, Any]] = [{"candidates": n} for n in (20, 50, 100, 200)]
SAMPLE, CHUNK = 20_000, 1 << 16


def build(tokens: Tokens, types: np.ndarray, folder: Path, *, bytes: int, rows: str) -> Flat:
    vectors = tokens.vectors
    some = np.random.default_rng(0).choice(len(vectors), min(SAMPLE, len(vectors)), replace=False)
    book = pq4.fit(vectors[np.sort(some)], bytes)
    (folder / "codebook").write_bytes(book.to_bytes())
    np.save(folder / "offsets.npy", tokens.offsets)
    np.save(folder / "codes.npy", pq4.encode(book, vectors))
    kept = codec(rows, tokens.dim)
    records = [kept.encode(vectors[at : at + CHUNK]) for at in range(0, len(vectors), CHUNK)]
    np.save(folder / "records.npy", np.concatenate(records))
    return load(folder, kept)


def load(folder: Path, kept: Codec) -> Flat:
    book = pq4.Codebook.from_bytes((folder / "codebook").read_bytes())
    codes, offsets = _mapped(folder / "codes.npy"), np.load(folder / "offsets.npy")
    return Flat(book, codes, offsets, kept, _mapped(folder / "records.npy"))


def search(handle: Flat, query: np.ndarray, k: int, *, threads: int, candidates: int) -> np.ndarray:
    return handle.search(query, min(k, candidates), candidates, threads=threads).docs


def _mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r").view(np.ndarray)
