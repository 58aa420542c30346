"""Fresh documents: packed into the catalog when written, unpacked into memory to be searched exactly at once."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from ..catalog.catalog import FILE
from ..codecs.codec import Codec
from ..errors import DataLoss
from ..representations import Representations, concatenate
from ..term_rows import TermRows
from ..terms import TERMS
from ..tokens import Tokens
from .files import NO_FILES
from .segment import Segment

_HEADER = struct.Struct("<IIIIB")  # CRC-32 of the rest, rows, width of a record, spans, which columns
_COLUMNS = (("ids", "<u4", 1), ("roles", "|u1", 2), ("spans", "<u4", 4), ("span_offsets", "<i8", 8))
_TERMS, _PER_TOKEN, _WHOLE, _NAMED = 16, 32, 64, 128
_TERM_HEADER = struct.Struct("<II")  # rows, weights
_WIDTH = struct.Struct("<I")
_NAME = struct.Struct("<BB")  # length of a term field's name, whether it has rows for each token


def pack(document: Representations, codec: Codec) -> bytes:
    """One document as bytes: its vectors' records and the columns that a segment stores, its
    global vector, its sparse rows."""
    tokens = document.tokens
    parts = [np.ascontiguousarray(tokens.vectors, codec.dtype).tobytes()]
    present = 0
    for name, dtype, flag in _COLUMNS:
        column = getattr(tokens, name)
        if column is not None:
            present |= flag
            parts.append(np.ascontiguousarray(column, dtype).tobytes())
    if tokens.globals_ is not None:
        present |= _WHOLE
        parts += [_WIDTH.pack(tokens.globals_.shape[1]), np.ascontiguousarray(tokens.globals_, "<f2").tobytes()]
    named = document.terms.keys() - {TERMS}
    for name, terms in document.terms.items():
        per_token = terms.row_offsets is not None
        present |= _NAMED if named else _TERMS | _PER_TOKEN * per_token
        parts += [_NAME.pack(len(name), per_token), name.encode()] if named else []
        parts.append(_TERM_HEADER.pack(len(terms.offsets) - 1, len(terms.keys)))
        columns = (terms.offsets, "<i8"), (terms.keys, "<u4"), (terms.weights, "<f4")
        parts += [np.ascontiguousarray(column, dtype).tobytes() for column, dtype in columns]
    body = b"".join(parts)
    n, width = tokens.vectors.shape
    spans = 0 if tokens.spans is None else len(tokens.spans)
    head = _HEADER.pack(0, n, width, spans, present)[4:]
    return struct.pack("<I", zlib.crc32(head + body)) + head + body


def unpack(blob: bytes, codec: Codec) -> Representations:
    """DataLoss: the bytes are not what was packed."""
    if len(blob) < _HEADER.size or zlib.crc32(blob[4:]) != struct.unpack_from("<I", blob)[0]:
        raise DataLoss(f"{FILE}: a fresh document has changed since it was written; restore the catalog from a copy")
    try:
        return _unpacked(blob, codec)
    except (ValueError, struct.error) as error:
        raise DataLoss(f"{FILE}: a fresh document cannot be read ({error}); restore the catalog from a copy") from None


def _unpacked(blob: bytes, codec: Codec) -> Representations:
    """ValueError, struct.error: the lengths that it names contradict each other or the codec."""
    _, n, width, spans, present = _HEADER.unpack_from(blob)
    if width != codec.width:
        raise ValueError(f"its records are {width} wide, and {codec.precision} has {codec.width}")
    at = _HEADER.size
    columns: dict[str, np.ndarray] = {}
    shapes = {"ids": (n,), "roles": (n,), "spans": (spans, 2), "span_offsets": (n + 1,)}
    vectors = np.frombuffer(blob, codec.dtype, n * width, at).reshape(n, width)
    at += vectors.nbytes
    for name, dtype, flag in _COLUMNS:
        if present & flag:
            count = int(np.prod(shapes[name]))
            columns[name] = np.frombuffer(blob, dtype, count, at).reshape(shapes[name])
            at += columns[name].nbytes
    if present & _WHOLE:
        (width,) = _WIDTH.unpack_from(blob, at)
        columns["globals_"] = np.frombuffer(blob, "<f2", width, at + _WIDTH.size).reshape(1, width)
        at += _WIDTH.size + columns["globals_"].nbytes
    if "span_offsets" in columns:
        _rising(columns["span_offsets"], spans)
    tokens = Tokens(vectors, np.array([0, n], np.int64), **columns)
    if present & _TERMS:
        unnamed, at = _unpack_terms(blob, at, bool(present & _PER_TOKEN))
        _at_end(blob, at)
        return Representations(tokens, {TERMS: unnamed})
    terms = {}
    while present & _NAMED and at < len(blob):
        length, per_token = _NAME.unpack_from(blob, at)
        at += _NAME.size + length
        name = blob[at - length : at].decode()
        terms[name], at = _unpack_terms(blob, at, bool(per_token))
    _at_end(blob, at)
    return Representations(tokens, terms)


def _unpack_terms(blob: bytes, at: int, per_token: bool) -> tuple[TermRows, int]:
    """The rows that begin there, and where they end."""
    rows, n = _TERM_HEADER.unpack_from(blob, at)
    at += _TERM_HEADER.size
    offsets = np.frombuffer(blob, "<i8", rows + 1, at)
    keys = np.frombuffer(blob, "<u4", n, at + offsets.nbytes)
    weights = np.frombuffer(blob, "<f4", n, at + offsets.nbytes + keys.nbytes)
    end = at + offsets.nbytes + keys.nbytes + weights.nbytes
    _rising(offsets, n)
    return TermRows(offsets, keys, weights, np.array([0, rows], np.int64) if per_token else None), end


def _rising(offsets: np.ndarray, end: int) -> None:
    """ValueError: what reads by these offsets could read elsewhere."""
    if offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
        raise ValueError(f"its offsets do not rise from 0 to {end}")


def _at_end(blob: bytes, at: int) -> None:
    if at != len(blob):
        raise ValueError(f"it has {len(blob)} bytes, of which {at} belong to it")


def in_memory(numbers: np.ndarray, contents: Representations, codec: Codec) -> Segment:
    """Fresh documents as a segment without files."""
    return Segment(None, codec, numbers, contents.tokens, NO_FILES, contents.terms)


def shed(chunks: list[Segment], dead: np.ndarray, codec: Codec) -> list[Segment]:
    """The chunks, each of which more than half has died without those: what is rewritten again and again takes at most
    twice the memory of what lives, whenever it is sealed."""
    kept = []
    for chunk in chunks:
        alive = np.flatnonzero(~np.isin(chunk.documents, dead, assume_unique=True))
        if 2 * len(alive) >= len(chunk.documents):
            kept.append(chunk)
        elif len(alive):
            kept.append(in_memory(chunk.documents[alive], chunk.contents.take(alive), codec))
    return kept


def extend(chunks: list[Segment], rows: list[tuple[int, bytes]], codec: Codec) -> list[Segment]:
    """The chunks with more documents, joined so that their sizes fall at least by halves: few parts, each document
    moved a logarithmic number of times."""
    if not rows:
        return chunks
    numbers = np.array([n for n, _ in rows], np.int64)
    grown = [*chunks, in_memory(numbers, concatenate([unpack(blob, codec) for _, blob in rows]), codec)]
    while len(grown) > 1 and _moved(grown[-2]) < 2 * _moved(grown[-1]) + 1:
        a, b = grown[-2:]
        joined = concatenate([a.contents, b.contents])
        grown[-2:] = [in_memory(np.concatenate([a.documents, b.documents]), joined, codec)]
    return grown


def _moved(chunk: Segment) -> int:
    """What joining it moves. Documents that wait for their tokens have a size of 0, and are moved all the same."""
    return len(chunk.documents) + chunk.contents.size
