"""The stores a collection may choose: what each adds to a segment when it is sealed, and how it is opened.

`exact`        nothing: a scan of the float16 rows.
`flat[:B]`     4-bit codes of B bytes a token (8, 16, 32 or 64; 16 unless said): scanned by byte shuffles, then the best
               documents are scored with their rows. Scores are exact, ranks nearly always.
`faiss:...`    a FAISS inverted file over all tokens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from . import faiss_params, faiss_store, pq4
from .catalog import Catalog, put_resource
from .errors import InvalidArgument
from .exact import ExactStore
from .flat import FlatStore
from .kernels import widen
from .search import TokenStore
from .segment import Segment, SegmentWriter

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""

CODES, CODEBOOK = "codes", "codebook"
STORE_FILES = (faiss_store.FILE, CODES, CODEBOOK)
"""Every file that some store may add to a segment."""
_ROWS = 1 << 16
_TRAIN_ROWS = 1 << 15
_DRIFT_ROWS = 1 << 14


def check_store(store: str, dim: int) -> None:
    """InvalidArgument: none of the stores above, or its parameters do not fit the dimension."""
    kind, _, rest = store.partition(":")
    if kind == "faiss" and rest:
        faiss_params.parse(rest, dim)
    elif kind == "flat":
        _code_bytes(store)
    elif store != "exact":
        raise InvalidArgument(f"store is {store!r}; it must be exact, flat, flat:BYTES, or faiss: and a factory string")


def token_bytes(store: str, dim: int) -> int:
    """Bytes on disk that a store takes for each token, its float16 row included."""
    kind, _, rest = store.partition(":")
    codes = {
        "faiss": lambda: faiss_params.code_bytes(faiss_params.parse(rest, dim), dim),
        "flat": lambda: _code_bytes(store),
    }
    return 2 * dim + (codes[kind]() if kind in codes else 0)


def open_store(store: str, segment: Segment, device: str, threads: int | None) -> TokenStore:
    """The store of a segment. Fresh documents and empty segments are always exact."""
    if store == "exact" or segment.folder is None or not len(segment.tokens.vectors):
        return ExactStore(segment)
    if store.startswith("flat"):
        book = pq4.Codebook.from_bytes((segment.folder / CODEBOOK).read_bytes())
        shape = -(-len(segment.tokens.vectors) // pq4.BLOCK), book.bytes_per_token, pq4.BLOCK
        codes = np.memmap(segment.folder / CODES, np.uint8, "r", shape=shape).view(np.ndarray)
        return FlatStore.over(segment, book, codes, threads or 1)
    return faiss_store.FaissStore.open(segment.folder / faiss_store.FILE, device=device)


def build_store(
    catalog: Catalog,
    store: str,
    segment: SegmentWriter,
    device: str,
    threads: int | None,
    progress: Progress | None = None,
    retrain: bool = False,
    sources: Sequence[tuple[Path, np.ndarray]] = (),
) -> tuple[tuple[str, ...], float | None]:
    """Adds a store's files to a segment that is about to be sealed.

    The first segment trains the codebook; later ones share it until `retrain`. `sources` are the segments that a merge
    takes its tokens from, each with the (tokens,) int64 new row of every token or -1: their codes are taken over where
    the store can, which spares assigning and coding anew. Returns the names of the files, and the
    mean distance of tokens from what the codebook has for them: when it grows, the codebook no longer fits.
    """
    vectors = segment.vectors()
    if store == "exact" or not len(vectors):
        return (), None
    if progress:
        progress("train", 0, 1)
    with catalog.reading() as view:
        codebook = None if retrain else view.resource("codebook")
    if codebook is None:
        codebook = _train(store, vectors, device, threads)
        with catalog.writing() as view:
            put_resource(view, "codebook", codebook)
    done = (lambda n: progress("add", n, len(vectors))) if progress else None
    drifted = widen(vectors[_sample(len(vectors), _DRIFT_ROWS, 0)])
    if store.startswith("flat"):
        book = pq4.Codebook.from_bytes(codebook)
        (segment.folder / CODEBOOK).write_bytes(codebook)
        _encode(book, vectors, segment.folder / CODES, done)
        decoded = pq4.decode(book, pq4.encode(book, drifted), len(drifted))
        return (CODES, CODEBOOK), float(np.linalg.norm(drifted - decoded, axis=1).mean())
    file = segment.folder / faiss_store.FILE
    old = [(folder / faiss_store.FILE, rows) for folder, rows in sources if len(rows)]
    if old and not retrain and faiss_store.splice(codebook, old, file):
        return (faiss_store.FILE,), faiss_store.residual(codebook, drifted)
    blocks = (widen(vectors[start : start + _ROWS]) for start in range(0, len(vectors), _ROWS))
    faiss_store.build(codebook, blocks, file, device=device, threads=threads, progress=done)
    return (faiss_store.FILE,), faiss_store.residual(codebook, drifted)


def _train(store: str, vectors: np.ndarray, device: str, threads: int | None) -> bytes:
    if store.startswith("flat"):
        return pq4.fit(widen(vectors[_sample(len(vectors), _TRAIN_ROWS, 0)]), _code_bytes(store)).to_bytes()
    params = faiss_params.parse(store.partition(":")[2], vectors.shape[1])
    rows = _sample(len(vectors), faiss_params.sample_size(params, len(vectors)), params.seed)
    return faiss_store.train(widen(vectors[rows]), params, len(vectors), device=device, threads=threads)


def _encode(book: pq4.Codebook, vectors: np.ndarray, path: Path, done: Callable[[int], None] | None) -> None:
    with open(path, "wb") as out:
        for start in range(0, len(vectors), _ROWS):
            out.write(pq4.encode(book, vectors[start : start + _ROWS]).tobytes())
            if done:
                done(min(start + _ROWS, len(vectors)))
        out.flush()
        os.fsync(out.fileno())


def _code_bytes(store: str) -> int:
    size = store.partition(":")[2] or "16"
    if store not in ("flat", f"flat:{size}") or size not in map(str, pq4.BYTES):
        raise InvalidArgument(
            f"store is {store!r}; flat takes {', '.join(map(str, pq4.BYTES))} bytes a token, as in flat:16"
        )
    return int(size)


def _sample(n: int, size: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(n, min(n, size), replace=False))
