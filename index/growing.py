"""Fresh documents: packed into the catalog when written, unpacked into memory to be searched exactly at once."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from .catalog import FILE
from .errors import DataLoss
from .segment import Segment
from .tokens import Tokens, concatenate

_HEADER = struct.Struct("<IIIIB")  # CRC-32 of the rest, rows, dim, spans, which columns
_COLUMNS = (("ids", "<u4", 1), ("roles", "|u1", 2), ("spans", "<u4", 4), ("span_offsets", "<i8", 8))


def pack(tokens: Tokens) -> bytes:
    """The tokens of one document as bytes: float16 vectors and the columns that a segment stores."""
    parts = [np.ascontiguousarray(tokens.vectors, "<f2").tobytes()]
    present = 0
    for name, dtype, flag in _COLUMNS:
        column = getattr(tokens, name)
        if column is not None:
            present |= flag
            parts.append(np.ascontiguousarray(column, dtype).tobytes())
    body = b"".join(parts)
    n, dim = tokens.vectors.shape
    spans = 0 if tokens.spans is None else len(tokens.spans)
    head = _HEADER.pack(0, n, dim, spans, present)[4:]
    return struct.pack("<I", zlib.crc32(head + body)) + head + body


def unpack(blob: bytes) -> Tokens:
    """DataLoss: the bytes are not what was packed."""
    if len(blob) < _HEADER.size or zlib.crc32(blob[4:]) != struct.unpack_from("<I", blob)[0]:
        raise DataLoss(f"{FILE}: a fresh document has changed since it was written; restore the catalog from a copy")
    _, n, dim, spans, present = _HEADER.unpack_from(blob)
    at = _HEADER.size
    columns: dict[str, np.ndarray] = {}
    shapes = {"ids": (n,), "roles": (n,), "spans": (spans, 2), "span_offsets": (n + 1,)}
    vectors = np.frombuffer(blob, "<f2", n * dim, at).reshape(n, dim)
    at += vectors.nbytes
    for name, dtype, flag in _COLUMNS:
        if present & flag:
            count = int(np.prod(shapes[name]))
            columns[name] = np.frombuffer(blob, dtype, count, at).reshape(shapes[name])
            at += columns[name].nbytes
    return Tokens(vectors, np.array([0, n], np.int64), **columns)


def in_memory(numbers: np.ndarray, tokens: Tokens) -> Segment:
    """Fresh documents as a segment without files."""
    return Segment(None, tokens.dim, numbers, tokens, {})


def extend(chunks: list[Segment], rows: list[tuple[int, bytes]]) -> list[Segment]:
    """The chunks with more documents, joined so that their sizes fall at least by halves: few parts, each token moved
    a logarithmic number of times."""
    if not rows:
        return chunks
    numbers = np.array([n for n, _ in rows], np.int64)
    grown = [*chunks, in_memory(numbers, concatenate([unpack(blob) for _, blob in rows]))]
    while len(grown) > 1 and len(grown[-2].tokens.vectors) < 2 * len(grown[-1].tokens.vectors) + 1:
        a, b = grown[-2:]
        joined = concatenate([a.tokens, b.tokens])
        grown[-2:] = [in_memory(np.concatenate([a.documents, b.documents]), joined)]
    return grown
