"""The store of COIL: the segment's own rows, with lists of small vectors by vocabulary id
that say which are worth reading."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..codecs.codec import Vectors
from ..late.exact import ExactStore
from ..segments.segment import Segment
from . import lists as coil_lists
from .lists import CoilLists

_ARRAYS = {
    "keys": "<u4",
    "term_runs": "<i8",
    "windows": "<u4",
    "starts": "<i8",
    "offsets": "<u2",
    "codes": "|i1",
    "scales": "<f4",
}
FILES = tuple(f"contextual.{name}" for name in _ARRAYS)


@dataclass(frozen=True)
class CoilStore(ExactStore):
    """An exact store beside whose rows lie lists."""

    lists: CoilLists

    @classmethod
    def open(cls, segment: Segment) -> CoilStore:
        """The lists of a segment that has tokens."""
        arrays = {name: segment.files.array(f"contextual.{name}", dtype) for name, dtype in _ARRAYS.items()}
        arrays["codes"] = segment.files.array("contextual.codes", _ARRAYS["codes"], (-1, segment.dim))
        return cls(segment, CoilLists(len(segment.documents), **arrays))


def build(folder: Path, ids: np.ndarray, vectors: Vectors, offsets: np.ndarray) -> tuple[str, ...]:
    """Writes the lists of packed documents, which hold at least one token. Returns the names of the files."""
    made = coil_lists.build(ids, vectors, offsets)
    for name, dtype in _ARRAYS.items():
        np.ascontiguousarray(getattr(made, name), dtype).tofile(folder / f"contextual.{name}")
    return FILES
