"""The stores a collection may choose: what each adds to a segment when it is sealed, and how it is opened."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from . import faiss_store
from .catalog import Catalog, put_resource
from .errors import InvalidArgument
from .exact import ExactTokens
from .kernels import widen
from .search import TokenStore
from .segment import Segment, SegmentWriter

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""

FAISS_FILE = faiss_store.FILE
_ADD_ROWS = 1 << 16
_DRIFT_ROWS = 1 << 14


def check_store(store: str, dim: int) -> None:
    """InvalidArgument: neither `exact` nor `faiss:` with a factory string that fits the dimension."""
    kind, _, factory = store.partition(":")
    if kind == "faiss" and factory:
        faiss_store.parse(factory, dim)
    elif store != "exact":
        raise InvalidArgument(f"store is {store!r}; it must be 'exact' or 'faiss:' and a factory string")


def token_bytes(store: str, dim: int) -> int:
    """Bytes on disk that a store takes for each token, its float16 row included."""
    kind, _, factory = store.partition(":")
    return 2 * dim + (faiss_store.code_bytes(faiss_store.parse(factory, dim), dim) if kind == "faiss" else 0)


def open_store(store: str, segment: Segment, device: str) -> TokenStore:
    """Token retrieval over a segment. Fresh documents and empty segments are always exact."""
    if store == "exact" or segment.folder is None or not len(segment.tokens.vectors):
        return ExactTokens(segment)
    return faiss_store.FaissStore.open(segment.folder / FAISS_FILE, device=device)


def build_store(
    catalog: Catalog,
    store: str,
    segment: SegmentWriter,
    device: str,
    threads: int | None,
    progress: Progress | None = None,
    retrain: bool = False,
) -> tuple[tuple[str, ...], float | None]:
    """Adds a store's files to a segment that is about to be sealed.

    The first segment trains the codebook; later ones share it until `retrain`. Returns the names of the files, and the
    mean distance of tokens from their nearest centroid: when it grows, the codebook no longer fits.
    """
    vectors = segment.vectors()
    if store == "exact" or not len(vectors):
        return (), None
    params = faiss_store.parse(store.partition(":")[2], segment.dim)
    with catalog.reading() as view:
        codebook = view.resource("codebook")
    if codebook is None or retrain:
        if progress:
            progress("train", 0, 1)
        rows = _sample(len(vectors), faiss_store.sample_size(params, len(vectors)), params.seed)
        codebook = faiss_store.train(widen(vectors[rows]), params, len(vectors), device=device, threads=threads)
        with catalog.writing() as view:
            put_resource(view, "codebook", codebook)
    blocks = (widen(vectors[start : start + _ADD_ROWS]) for start in range(0, len(vectors), _ADD_ROWS))
    done = (lambda n: progress("add", n, len(vectors))) if progress else None
    faiss_store.build(codebook, blocks, segment.folder / FAISS_FILE, device=device, threads=threads, progress=done)
    rows = _sample(len(vectors), min(len(vectors), _DRIFT_ROWS), params.seed)
    return (FAISS_FILE,), faiss_store.residual(codebook, widen(vectors[rows]))


def _sample(n: int, size: int, seed: int) -> np.ndarray:
    return np.sort(np.random.default_rng(seed).choice(n, size, replace=False))
