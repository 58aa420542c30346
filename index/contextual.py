"""`Contextual`: lists of small vectors by key, for contextualised exact match (COIL, Gao et al., NAACL 2021).

    score(q, d) = sum_i max(0, max over occurrences j of key_i in d of q_i . v_j)  [+ global_q . global_d]

The occurrences of a key lie together, sorted by document; those in one document are a run. A query token reads the
list of its key and nothing else. Exhaustive: no list is cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import kernels
from .errors import InvalidArgument
from .hits import Hits, best


@dataclass(frozen=True, eq=False)
class Contextual:
    """Everything one segment needs for the plan. Flat arrays, to be written and mapped as they are."""

    documents: int
    keys: np.ndarray
    """(terms,) uint32, rising: the keys that occur."""
    term_runs: np.ndarray
    """(terms + 1,) int64: term t has the runs term_runs[t] to term_runs[t + 1] - 1, by rising document."""
    run_documents: np.ndarray
    """(runs,) uint32."""
    run_bounds: np.ndarray
    """(runs + 1,) int64: run r has the vectors run_bounds[r] to run_bounds[r + 1] - 1."""
    vectors: np.ndarray
    """(occurrences, dim) float16, or int8 with scales."""
    scales: np.ndarray | None
    """(occurrences,) float32: vector i stands for scales[i] * vectors[i]."""
    globals_: np.ndarray | None
    """(documents, global dim) float16: a vector of the whole document (COIL-full's CLS)."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def search(
        self,
        keys: np.ndarray,
        vectors: np.ndarray,
        k: int,
        *,
        globals_: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
        threads: int = 1,
    ) -> Hits:
        """The k best documents: of those that share a key with the query; of all, if there is a global vector.

        Args:
            keys: (q,) uint32, one for each query token, in any order; a key may come again.
            vectors: (q, dim) float32.
            globals_: (global dim,) float32.
            allowed: (documents,) bool; the others are not hits.
            threads: the answer is the same for any number.

        Raises:
            InvalidArgument: a value out of its bounds, or arrays that do not fit each other or what is stored.
        """
        self._check(keys, vectors, k, globals_, allowed, threads)
        scores = np.zeros(self.documents)
        hit = np.full(self.documents, globals_ is not None)
        if globals_ is not None and self.globals_ is not None:
            scores += kernels.widen(self.globals_) @ globals_
        places = np.searchsorted(self.keys, keys)
        for place, key, vector in zip(places.tolist(), keys.tolist(), vectors, strict=True):
            if place == len(self.keys) or self.keys[place] != key:
                continue
            runs = slice(self.term_runs[place], self.term_runs[place + 1])
            docs = self.run_documents[runs]
            # No document has two runs of a key, so that nothing is lost in this addition.
            scores[docs] += np.maximum(self._run_scores(runs, vector, threads), 0)
            hit[docs] = True
        if allowed is not None:
            hit &= allowed
        docs = np.flatnonzero(hit)
        return best(docs, scores[docs].astype(np.float32), k)

    def _run_scores(self, runs: slice, vector: np.ndarray, threads: int) -> np.ndarray:
        """(runs,) float32: the best product of each run's vectors with one query vector."""
        bounds = self.run_bounds[runs.start : runs.stop + 1]
        first, last = int(bounds[0]), int(bounds[-1])
        scales = None if self.scales is None else self.scales[first:last]
        every = np.arange(len(bounds) - 1)
        return kernels.row_scores(
            self.vectors[first:last], scales, bounds - first, every, vector[None], threads=threads
        )

    def _check(
        self,
        keys: np.ndarray,
        vectors: np.ndarray,
        k: int,
        globals_: np.ndarray | None,
        allowed: np.ndarray | None,
        threads: int,
    ) -> None:
        if k < 1 or threads < 1:
            raise InvalidArgument(f"k is {k}, threads {threads}; each must be at least 1")
        if vectors.shape != (len(keys), self.vectors.shape[1]):
            raise InvalidArgument(
                f"query vectors are {vectors.shape}; the keys and the index need ({len(keys)}, {self.vectors.shape[1]})"
            )
        if not np.isfinite(vectors).all() or (globals_ is not None and not np.isfinite(globals_).all()):
            raise InvalidArgument("a query vector has NaN or infinity")
        stored = None if self.globals_ is None else self.globals_.shape[1:]
        if globals_ is not None and globals_.shape != stored:
            raise InvalidArgument(f"the query's global vector is {globals_.shape}; the index has {stored}")
        if allowed is not None and (allowed.dtype != np.bool_ or allowed.shape != (self.documents,)):
            raise InvalidArgument(f"allowed is {allowed.dtype} {allowed.shape}; it must be bool ({self.documents},)")


def build(
    keys: np.ndarray,
    vectors: np.ndarray,
    offsets: np.ndarray,
    *,
    globals_: np.ndarray | None = None,
    quantize: bool = True,
) -> Contextual:
    """Sorts the tokens of packed documents into lists.

    Args:
        keys: (tokens,) uint32, such as vocabulary ids.
        vectors: (tokens, dim) float32 or float16.
        offsets: (documents + 1,) int64: document d owns tokens offsets[d] to offsets[d + 1] - 1.
        globals_: (documents, global dim) float32 or float16, kept as float16.
        quantize: int8 with a scale for each vector, dim + 4 bytes; otherwise float16, 2 * dim bytes.

    Raises:
        InvalidArgument: arrays that do not fit each other; NaN, infinity or, in float16, beyond 65,504.
    """
    documents = len(offsets) - 1
    if len(keys) != len(vectors) or documents < 0 or offsets[0] != 0 or offsets[-1] != len(keys):
        raise InvalidArgument(f"{len(keys)} keys, {len(vectors)} vectors; each must be as many as the offsets end with")
    if globals_ is not None and len(globals_) != documents:
        raise InvalidArgument(f"{len(globals_)} global vectors; there must be one for each of {documents} documents")
    of = np.repeat(np.arange(documents, dtype=np.uint32), np.diff(offsets))
    order = np.lexsort((of, keys))
    key, of = np.asarray(keys, np.uint32)[order], of[order]
    opens = np.ones(len(key), bool)
    opens[1:] = (key[1:] != key[:-1]) | (of[1:] != of[:-1])
    runs = np.flatnonzero(opens)
    distinct, starts = np.unique(key[runs], return_index=True)
    stored, scales = _quantize(vectors[order]) if quantize else (_half(vectors[order]), None)
    return Contextual(
        documents=documents,
        keys=distinct,
        term_runs=np.append(starts, len(runs)).astype(np.int64),
        run_documents=of[runs],
        run_bounds=np.append(runs, len(key)).astype(np.int64),
        vectors=stored,
        scales=scales,
        globals_=None if globals_ is None else _half(globals_),
    )


def _quantize(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not np.isfinite(vectors).all():
        raise InvalidArgument("a vector has NaN or infinity")
    scales = np.abs(vectors).max(axis=1, initial=0).astype(np.float32) / 127
    steps = vectors / np.where(scales > 0, scales, 1)[:, None]
    return np.clip(np.rint(steps), -127, 127).astype(np.int8), scales


def _half(vectors: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        half = np.ascontiguousarray(vectors, np.float16)
    if not np.isfinite(half).all():
        raise InvalidArgument("a vector has NaN or infinity, or is beyond float16 (65,504)")
    return half
