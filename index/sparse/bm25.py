"""BM25 over postings of term frequencies: nothing stored depends on the collection, so
documents come without a rebuild.

    score(q, d) = sum_t weight_t * f / (f + norm_d),    norm_d = k1 * (1 - b + b * length_d / average length)

with weight_t = (k1 + 1) * idf_t, or idf_t alone as Lucene has it, times the term's frequency in the query (Robertson
and Zaragoza, "The probabilistic relevance framework", 2009). Weights and the average length are of the whole collection
and given when searching; a segment holds frequencies and lengths. What a frequency counts as is looked up in a table by
frequency and length code, rounded up, so that sums are bounds and the best documents are scored exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidArgument
from ..kernels.postings import Postings
from ..params import Bm25
from . import postings
from .inverted import Inverted, Rows, Saturation, rows_of
from .postings import LEVELS, WINDOW

_CODES = 256
_HALF = 2048
"""Whole numbers up to it are float16-exact."""


@dataclass(frozen=True, eq=False)
class Frequencies:
    """What one segment stores. Flat arrays, to be written and mapped as they are."""

    postings: Postings
    """Of `postings.build_frequencies`."""
    rows: Rows
    """The frequencies by document."""
    lengths: np.ndarray
    """(documents,) uint32: tokens of each document."""
    edges: np.ndarray
    """(codes,) uint32, rising, at most 256: code c is of lengths edges[c] to edges[c + 1] - 1."""
    codes: np.ndarray
    """(documents,) uint8."""

    def scored(self, average_length: float, bm25: Bm25 = Bm25()) -> Inverted:
        """What is searched, under the statistics of a collection; the query's weights carry the idf.

        Costs a pass over the lengths, so keep it until the statistics change.

        Raises:
            InvalidArgument: an average length not above 0.
        """
        if not 0 < average_length < np.inf:
            raise InvalidArgument(f"average length is {average_length}; it must be above 0")
        norms = bm25.norms(self.lengths, average_length)
        saturation = Saturation(_table(bm25.norms(self.edges, average_length)), self.codes, norms)
        return Inverted(self.postings, self.rows, saturation)


def build(rows: Any, lengths: np.ndarray | None = None, *, window: int = WINDOW) -> Frequencies:
    """Inverts term frequencies.

    Args:
        rows: (documents, keys) scipy CSR of whole numbers, as `terms.check` gives them.
        lengths: (documents,) of 0 or more. None: the sums of the rows.
        window: as for `postings.build`.

    Raises:
        InvalidArgument: as `postings.build_frequencies`; lengths that do not fit the rows.
    """
    if lengths is None:
        lengths = np.asarray(rows.sum(axis=1)).ravel()
    lengths = np.asarray(lengths)
    if lengths.shape != (rows.shape[0],) or (len(lengths) and not (lengths.min() >= 0 and lengths.max() < 1 << 32)):
        raise InvalidArgument(
            f"lengths are {lengths.shape}; one of 0 to 2^32 - 1 for each of {rows.shape[0]} documents"
        )
    lengths = lengths.astype(np.uint32)
    edges = np.zeros(1, np.uint32)
    if len(lengths):
        places = np.linspace(0, len(lengths) - 1, _CODES).astype(np.int64)
        distinct = np.unique(lengths)
        edges = distinct if len(distinct) <= _CODES else np.unique(np.sort(lengths)[places])
    codes = (np.searchsorted(edges, lengths, side="right") - 1).astype(np.uint8)
    made = postings.build_frequencies(rows, window=window)
    values = np.asarray(rows.data, np.float32)
    forward = rows_of(rows, values.astype(np.float16) if values.max(initial=0) <= _HALF else values)
    return Frequencies(made, forward, lengths, edges, codes)


def idf(documents: int, frequencies: np.ndarray) -> np.ndarray:
    """float32 log(1 + (N - n + 0.5) / (n + 0.5)) of terms that occur in n of N documents, as Lucene has it."""
    n = np.asarray(frequencies, np.float64)
    return np.log1p((documents - n + 0.5) / (n + 0.5)).astype(np.float32)


def _table(norms: np.ndarray) -> np.ndarray:
    """(256, 256) uint8 from the norms of the codes, which are least within them; falls with the code to the last."""
    last = np.concatenate([norms, np.full(_CODES - len(norms), norms[-1], np.float32)]).astype(np.float64)
    frequencies = np.arange(LEVELS + 1, dtype=np.float64)[:, None]
    with np.errstate(invalid="ignore"):
        counts = np.ceil(LEVELS * (frequencies / (frequencies + last)))
    counts[0] = 1
    # 255 stands for every greater frequency as well.
    counts[LEVELS] = LEVELS
    return np.clip(counts, 1, LEVELS).astype(np.uint8)
