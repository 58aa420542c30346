"""The columns of a segment's term fields: what files they have, by the field's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ..catalog.schema import TermField
from ..term_rows import TermRows
from ..terms import TERMS

OFFSETS, KEYS, WEIGHTS, ROW_OFFSETS = "term_offsets", "term_keys", "term_weights", "term_row_offsets"
_DTYPES = {
    OFFSETS: "<i8",  # (rows + 1,) a row for each document, or for each of its tokens
    KEYS: "<u4",  # (term weights,) rising within a row
    WEIGHTS: "<f4",  # (term weights,)
    ROW_OFFSETS: "<i8",  # (documents + 1,) only where rows are per token
}


def prefix(name: str) -> str:
    """What the names of a field's files begin with: nothing where nobody named the field."""
    return "" if name == TERMS else f"{name}."


def columns(fields: Mapping[str, TermField]) -> dict[str, str]:
    """The type of every column."""
    return {
        prefix(name) + column: dtype
        for name, field in fields.items()
        for column, dtype in _DTYPES.items()
        if field.per_token or column != ROW_OFFSETS
    }


def dtype_of(file: str) -> str | None:
    """The type of a column by its file's name, whatever field it is of. None: no such column."""
    return _DTYPES.get(file.rpartition(".")[2])


def names(files: Iterable[str]) -> list[str]:
    """The fields that have such files."""
    return [
        file[: -len(OFFSETS)].removesuffix(".") or TERMS for file in files if file.endswith(OFFSETS) and _whole(file)
    ]


def rows_of(arrays: Mapping[str, np.ndarray]) -> dict[str, TermRows]:
    """The fields' rows, of columns by the names of their files."""
    return {
        name: TermRows(
            arrays[prefix(name) + OFFSETS],
            arrays.get(prefix(name) + KEYS, np.zeros(0, np.uint32)),
            arrays.get(prefix(name) + WEIGHTS, np.zeros(0, np.float32)),
            arrays.get(prefix(name) + ROW_OFFSETS),
        )
        for name in names(arrays)
    }


def _whole(file: str) -> bool:
    return file == OFFSETS or file[-len(OFFSETS) - 1] == "."
