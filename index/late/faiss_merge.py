"""FAISS segments merged: codes go over as they are where the codebook is the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .faiss_store import _faiss, _save


def splice(codebook: bytes, parts: Sequence[tuple[Path, np.ndarray]], path: Path) -> bool:
    """Writes an index of tokens that other indexes hold, taking over their codes. False, and nothing written, where
    that cannot be: fast scan, whose codes are not addressable, or an index of another codebook.

    Args:
        parts: index files, each with the (its tokens,) int64 new row of every token, -1 for those to leave out.
            Together the new rows are 0, 1, ... without gaps. The file is the one that `build` would write for them.
    """
    faiss = _faiss()
    index = faiss.deserialize_index(np.frombuffer(codebook, np.uint8))
    sources = [(faiss.read_index(str(file), faiss.IO_FLAG_MMAP), rows) for file, rows in parts]
    if isinstance(index, faiss.IndexIVFPQFastScan) or not all(_same_codebook(index, source) for source, _ in sources):
        return False
    for number in range(index.nlist):
        entries = [_entries(source, number, rows) for source, rows in sources]
        rows, codes = np.concatenate([r for r, _ in entries]), np.concatenate([c for _, c in entries])
        order = np.argsort(rows, kind="stable")
        rows, codes = np.ascontiguousarray(rows[order]), np.ascontiguousarray(codes[order])
        if len(rows):
            index.invlists.add_entries(number, len(rows), faiss.swig_ptr(rows), faiss.swig_ptr(codes))
            index.ntotal += len(rows)
    _save(index, path)
    return True


def _entries(index: Any, number: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """New rows and codes of the tokens of one list that are to stay."""
    faiss, width = _faiss(), index.code_size
    lists = faiss.downcast_InvertedLists(index.invlists)
    size = lists.list_size(number)
    if not size:
        return np.zeros(0, np.int64), np.zeros((0, width), np.uint8)
    moved = rows[faiss.rev_swig_ptr(lists.get_ids(number), size)]
    codes = faiss.rev_swig_ptr(lists.get_codes(number), size * width).reshape(size, width)
    return moved[moved >= 0], codes[moved >= 0]


def _same_codebook(a: Any, b: Any) -> bool:
    """Codebooks of one training share their centroids; two trainings never give the same."""
    if a.nlist != b.nlist or type(a) is not type(b):
        return False
    return np.array_equal(a.quantizer.reconstruct_n(0, a.nlist), b.quantizer.reconstruct_n(0, b.nlist))
