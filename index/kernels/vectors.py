"""The door to the native module, with `index/kernels/rows.py` (stored rows, products) and `index/kernels/terms.py`:
typed, documented, shape-checked. Here: codes, lists, levels."""

from __future__ import annotations

import numpy as np

from . import _native


def widen(half: np.ndarray) -> np.ndarray:
    """float16 to float32 of the same shape, exact. A float32 array passes through untouched."""
    if half.dtype == np.float32:
        return half
    flat = np.ascontiguousarray(half).reshape(-1)
    out = np.empty(flat.shape, np.float32)
    _native.widen(flat.view(np.uint16), out)
    return out.reshape(half.shape)


def segmented_max(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(rows, columns) float32 scores to the (documents, columns) maximum over each document's rows.

    `offsets` is (documents + 1,) int64. A document without rows gets minus infinity.
    """
    out = np.empty((len(offsets) - 1, scores.shape[1]), np.float32)
    _native.segmented_max(np.ascontiguousarray(scores), np.ascontiguousarray(offsets), out)
    return out


def pq4_assign(y: np.ndarray, centroids: np.ndarray, *, pull: float = 0, passes: int = 0) -> np.ndarray:
    """One centroid in every sub-space: (subs, n) uint8.

    `y` is (subs * width, n) float32, a sub-space after the other; `centroids` is (subs, entries, width) float32, 16 or
    256 entries. First the nearest (the lowest on ties); then `passes` rounds of coordinate descent on |e|^2 + pull *
    (e.x / |x|)^2, where e is what the codes leave over of x. The answer is the same on every instruction set.
    """
    halves = np.ascontiguousarray((centroids * centroids).sum(axis=2) / 2, np.float32)
    codes = np.empty((len(centroids), y.shape[1]), np.uint8)
    _native.pq4_assign(np.ascontiguousarray(y), np.ascontiguousarray(centroids), halves, pull, passes, codes)
    return codes


def pq4_table(products: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """8-bit losses (q, subs, 16) against the best of products (q, 16, subs) float32, what each row scores without any
    loss (q,) float32, and the product that one unit stands for: as fine as byte sums of four sub-spaces allow.
    """
    rows, _, subs = products.shape
    losses, tops = np.empty((rows, subs, 16), np.uint8), np.empty(rows, np.float32)
    return losses, tops, _native.pq4_table(products, losses, tops)


def pq4_scores(
    codes: np.ndarray,
    offsets: np.ndarray,
    table: np.ndarray,
    top: float,
    scale: float,
    *,
    allowed: np.ndarray | None,
    threads: int,
) -> np.ndarray:
    """(documents,) float32: top - scale * sum_i min_j sum_m table[i, m, code of token j in sub-space m].

    Minus infinity for a document without tokens or not allowed.

    Args:
        codes: (blocks, subs / 2, 32) uint8, laid out as `native/pq4.h` says.
        offsets: (documents + 1,) int64 token rows.
        table: (q, subs, 16) uint8, at most 255 summed over any four sub-spaces 4g to 4g + 3.
        allowed: (documents,) bool; the others are not read.
        threads: the documents are split among them; the answer is the same for any number.
    """
    out = np.empty(len(offsets) - 1, np.float32)
    mask = None if allowed is None else np.ascontiguousarray(allowed)
    _native.pq4_scores(codes, np.ascontiguousarray(offsets), mask, table, top, scale, threads, out)
    return out


def list_gains(
    codes: np.ndarray,
    documents: np.ndarray,
    bounds: np.ndarray,
    table: np.ndarray,
    floors: np.ndarray,
    lists: np.ndarray,
    rows: np.ndarray,
    count: int,
    *,
    allowed: np.ndarray | None,
    threads: int,
) -> np.ndarray:
    """(count,) uint32: for each document the sum over query rows i of max(0, floors[i] - its least loss).

    The least loss is over the document's tokens in the lists that row i probes; a loss is as in `pq4_scores`.

    Args:
        codes: (blocks, subs / 2, 32) uint8, every list in blocks of its own.
        documents: (32 * blocks,) uint32; numbers of `count` and above fill up blocks.
        bounds: (lists + 1,) int64 blocks.
        table: (q, subs, 16) uint8, as for `pq4_scores`.
        floors: (q,) uint16.
        lists: (pairs,) int64, rising: which lists are probed,
        rows: (pairs,) int64: and by which query row; rising within a list, no pair twice.
        allowed: (count,) bool; blocks without an allowed document are not scored.
        threads: the query rows are split among them where that pays; the answer is the same for any number.
    """
    gains = np.empty(count, np.uint32)
    mask = None if allowed is None else np.ascontiguousarray(allowed)
    lists, rows = np.ascontiguousarray(lists), np.ascontiguousarray(rows)
    _native.list_gains(codes, documents, bounds, mask, table, floors, lists, rows, threads, gains)
    return gains


def greatest(values: np.ndarray, k: int, *, open: np.ndarray | None = None) -> np.ndarray:
    """The places of the k greatest of `values` (n,) uint32, rising; the earlier of equals.
    `open` (n,) bool: only these."""
    places = np.empty(min(k, len(values)), np.int64)
    return places[: _native.greatest(values, open, places)]


def among_best(
    estimates: np.ndarray, wrong: np.ndarray | float, k: int, *, open: np.ndarray | None = None
) -> np.ndarray:
    """The rising places of all that may be among the k best, k >= 1, of values that (n,) float32 estimates miss by at
    most `wrong`.

    Args:
        wrong: (n,) float32, or one number for all.
        open: (n,) bool: only these. Estimates of minus infinity are never among them.
    """
    places, off = np.empty(len(estimates), np.int64), np.atleast_1d(np.asarray(wrong, np.float32))
    return places[: _native.among_best(estimates, off, k, open, places)].copy()


def probes(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k greatest of every row of scores (q, lists) float32, the lower list of equals; 1 <= k <= lists.

    Returns lists and rows (q * k,) int64 as pairs by rising list and row, and the least chosen score of each row (q,).
    """
    lists, rows = np.empty((2, len(scores) * k), np.int64)
    least = np.empty(len(scores), np.float32)
    _native.probes(np.ascontiguousarray(scores), k, lists, rows, least)
    return lists, rows, least


def simd_level() -> str:
    """The instruction set in use: avx512, avx2, neon or scalar (environment variable PLAIT_SIMD forces one).

    avx512 means with VBMI and VNNI (Ice Lake, Zen 4 and later); older processors run avx2.
    """
    return _native.level()


def use_simd(name: str) -> None:
    """Forces an instruction set for the whole process. ValueError: no such level, or not on this machine."""
    if not _native.use_level(name):
        raise ValueError(f"this machine has no {name}; it has {', '.join(_native.levels_here())}")


def simd_levels() -> list[str]:
    """All levels that run here, best first."""
    return _native.levels_here()
