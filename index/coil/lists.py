"""`CoilLists`: lists of small vectors by key, for contextualised exact match (COIL, Gao et al., NAACL 2021).

    score(q, d) = sum_i max(0, max over occurrences j of key_i in d of q_i . v_j)

The occurrences of a key lie together, sorted by document; a query token reads the list of its key and nothing else. An
occurrence takes dim + 2 bytes: a byte for each dimension under one scale for the list, and an offset in its window of
documents. The published index keeps dim floats and two maps of 8 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..codecs.byte_rows import byte_query, scale_of, to_bytes
from ..codecs.codec import Vectors
from ..errors import InvalidArgument
from ..kernels import terms as term_kernels
from ..kernels.vectors import widen

WINDOW = 1 << 16
"""Documents of a window: what an offset of two bytes tells apart."""
_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class CoilLists:
    """The lists of one segment. Flat arrays, to be written and mapped as they are."""

    documents: int
    keys: np.ndarray
    """(terms,) uint32, rising: the keys that occur."""
    term_runs: np.ndarray
    """(terms + 1,) int64: term t has the runs term_runs[t] to term_runs[t + 1] - 1, by rising window."""
    windows: np.ndarray
    """(runs,) uint32."""
    starts: np.ndarray
    """(runs + 1,) int64: run r has the occurrences starts[r] to starts[r + 1] - 1, by rising document."""
    offsets: np.ndarray
    """(occurrences,) uint16: document WINDOW * window + offset."""
    codes: np.ndarray
    """(occurrences, dim) int8."""
    scales: np.ndarray
    """(terms,) float32: an occurrence of term t stands for scales[t] * codes."""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in vars(self).values() if isinstance(array, np.ndarray))

    def estimate(self, keys: np.ndarray, vectors: np.ndarray, threads: int = 1) -> tuple[np.ndarray, float]:
        """(documents,) float32 scores, minus infinity for one that shares no key, and by how much each may be wrong.

        Args:
            keys: (q,) uint32, one for each query token, in any order; a key may come again.
            vectors: (q, dim) float32.
            threads: windows are split among them; the answer is the same for any number.
        """
        places = np.searchsorted(self.keys, keys)
        held = np.zeros(len(keys), bool)
        inside = places < len(self.keys)
        held[inside] = self.keys[places[inside]] == keys[inside]
        terms, query = places[held].astype(np.int64), byte_query(vectors[held])
        scales = self.scales[terms]
        scores = term_kernels.coil_list_scores(
            self._index, terms, query.codes, query.steps * scales, self.documents, threads
        )
        return scores, float(query.wrong @ scales)

    @cached_property
    def _index(self) -> term_kernels.CoilIndex:
        return term_kernels.CoilIndex(
            self.term_runs, self.windows, self.starts, self.offsets, self.codes, self.documents
        )


def build(keys: np.ndarray, vectors: Vectors, offsets: np.ndarray) -> CoilLists:
    """Sorts the tokens of packed documents into lists.

    Args:
        keys: (tokens,) uint32, such as vocabulary ids.
        vectors: (tokens, dim) float32 or float16, finite.
        offsets: (documents + 1,) int64: document d owns tokens offsets[d] to offsets[d + 1] - 1.

    Raises:
        InvalidArgument: arrays that do not fit each other.
    """
    documents = len(offsets) - 1
    if len(keys) != len(vectors) or documents < 0 or offsets[0] != 0 or offsets[-1] != len(keys):
        raise InvalidArgument(f"{len(keys)} keys, {len(vectors)} vectors; each must be as many as the offsets end with")
    order = np.argsort(keys, kind="stable")
    key = np.asarray(keys, np.uint32)[order]
    document = np.repeat(np.arange(documents, dtype=np.uint32), np.diff(offsets))[order]
    window = document // WINDOW
    opens = np.ones(len(key), bool)
    opens[1:] = (key[1:] != key[:-1]) | (window[1:] != window[:-1])
    starts = np.flatnonzero(opens)
    distinct, runs = np.unique(key[starts], return_index=True)
    bounds = np.append(starts[runs], len(key)).astype(np.int64)
    codes, scales = np.empty((len(key), vectors.shape[1]), np.int8), _scales(vectors, order, bounds)
    of_row = np.repeat(scales, np.diff(bounds))
    for first in range(0, len(key), _ROWS):
        some = slice(first, first + _ROWS)
        codes[some] = to_bytes(widen(vectors[order[some]]), of_row[some])
    return CoilLists(
        documents=documents,
        keys=distinct,
        term_runs=np.append(runs, len(starts)).astype(np.int64),
        windows=window[starts].astype(np.uint32),
        starts=np.append(starts, len(key)).astype(np.int64),
        offsets=(document % WINDOW).astype(np.uint16),
        codes=codes,
        scales=scales,
    )


def _scales(vectors: Vectors, order: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """(terms,) float32: the greatest entry of each list is 127 steps."""
    greatest = np.zeros(len(vectors), np.float32)
    for first in range(0, len(vectors) if vectors.shape[1] else 0, _ROWS):
        greatest[first : first + _ROWS] = np.abs(widen(vectors[first : first + _ROWS])).max(axis=1)
    lists = np.maximum.reduceat(greatest[order], bounds[:-1]) if len(bounds) > 1 else np.zeros(0, np.float32)
    return scale_of(lists)
