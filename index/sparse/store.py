"""The terms of a sealed segment as postings: their files, and the segment seen through them.

The weights themselves stay where they are, in the segment's columns; postings add two or three bytes for each. Scores
are those of the exact store to the bit. Where documents have a row per token, a posting holds
the greatest weight of any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..hits import Hits
from ..kernels.postings import Postings
from ..kernels.term_query import TermQuery
from ..params import Counts
from ..segments.files import Files
from ..term_rows import TermRows
from . import bm25, postings
from .exact import ExactTerms
from .inverted import Inverted, Rows

_ARRAYS = {
    "keys": "<u4",
    "term_runs": "<i8",
    "windows": "<u4",
    "starts": "<i8",
    "maxima": "|u1",
    "scales": "<f4",
    "lows": "<f4",
    "offsets": "<u2",
    "impacts": "|u1",
}
_LENGTHS = {"lengths": "<u4", "edges": "<u4", "codes": "|u1"}
_MAY_LACK = {"impacts", *_LENGTHS}
"""Of weights that are all alike, and of those that are no counts."""


def files(prefix: str) -> tuple[str, ...]:
    """Every file that a field's postings may have; the keys come first and are always there."""
    return tuple(f"{prefix}postings.{name}" for name in (*_ARRAYS, *_LENGTHS))


def build(folder: Path, prefix: str, rows: TermRows, counts: bool) -> tuple[str, ...]:
    """Inverts the rows of a segment's field and writes the arrays. Returns the names of the files.

    Args:
        prefix: what the names of the files begin with (`index/segments/term_columns.py`).
        counts: the weights are counts of terms: postings of frequencies, to be weighed by BM25.
    """
    made: dict[str, Any] = {}
    if counts:
        stored = bm25.build(rows.terms().rows)
        made |= {name: getattr(stored, name) for name in _LENGTHS}
        made |= vars(stored.postings)
    else:
        made |= vars(postings.build(rows.terms().rows) if rows.row_offsets is None else postings.build_maxima(rows))
    written = []
    for name, dtype in {**_ARRAYS, **_LENGTHS}.items():
        if made.get(name) is not None:
            file = f"{prefix}postings.{name}"
            np.ascontiguousarray(made[name], dtype).tofile(folder / file)
            written.append(file)
    return tuple(written)


def arrays(files: Files, prefix: str) -> dict[str, np.ndarray]:
    """A field's arrays by name: those that the manifest lists, and no others. DataLoss: one
    is not there that always is.
    """
    own = {name: f"{prefix}postings.{name}" for name in (*_ARRAYS, *_LENGTHS)}
    types = _ARRAYS | _LENGTHS
    return {n: files.array(f, types[n]) for n, f in own.items() if f in files or n not in _MAY_LACK}


@dataclass(frozen=True, eq=False)
class PostingTerms:
    """Finds documents through postings, whose bounds leave out all that cannot be among the best."""

    exact: ExactTerms
    arrays: dict[str, np.ndarray]
    """The files, mapped."""
    _last: dict[Counts, Inverted] = field(default_factory=dict, init=False, repr=False)
    """The postings under the statistics of the last query, which the next is likely to share."""

    @classmethod
    def open(cls, files: Files, prefix: str, exact: ExactTerms) -> PostingTerms:
        """The postings of a segment's field."""
        return cls(exact, arrays(files, prefix))

    def search(self, query: TermQuery, k: int, allowed: np.ndarray | None = None, counts: Counts | None = None) -> Hits:
        if ("lengths" in self.arrays) != (counts is not None) or (counts and len(query.rows.offsets) != 2):
            return self.exact.search(query, k, allowed, counts)
        inverted = self._plain if counts is None else self._weighed(counts)
        hits = inverted.find(query, k, allowed=allowed)
        return Hits(self.exact.documents[hits.docs], hits.scores)

    def frequencies(self, keys: np.ndarray, allowed: np.ndarray | None = None) -> np.ndarray:
        stored = self._postings
        at = np.minimum(np.searchsorted(stored.keys, keys), max(0, len(stored.keys) - 1))
        counts = np.zeros(len(keys), np.int64)
        if len(stored.keys):
            ends = stored.starts[stored.term_runs]
            counts = np.where(stored.keys[at] == keys, ends[at + 1] - ends[at], 0)
        if allowed is None or allowed.all():
            return counts
        dead = self.exact.rows.take(np.flatnonzero(~allowed))
        return counts - ExactTerms(np.arange(len(dead)), dead).frequencies(keys)

    def weight(self, allowed: np.ndarray | None = None) -> float:
        return self.exact.weight(allowed)

    @cached_property
    def _rows(self) -> Rows:
        rows = self.exact.rows
        return Rows(rows.offsets, rows.keys, rows.weights, rows.row_offsets)

    @cached_property
    def _postings(self) -> Postings:
        own = {name: self.arrays.get(name) for name in _ARRAYS}
        return Postings(documents=len(self.exact.documents), window=postings.WINDOW, **own)  # type: ignore[arg-type]

    @cached_property
    def _plain(self) -> Inverted:
        return Inverted(self._postings, self._rows)

    def _weighed(self, counts: Counts) -> Inverted:
        """The postings under the statistics of now; those of the last query are kept."""
        found = self._last.get(counts)
        if found is None:
            frequencies = bm25.Frequencies(
                self._postings, self._rows, *(self.arrays[name] for name in ("lengths", "edges", "codes"))
            )
            found = frequencies.scored(counts.mean, counts.bm25)
            self._last.clear()
            self._last[counts] = found
        return found
