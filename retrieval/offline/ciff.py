"""The Common Index File Format (Lin et al. 2020, arXiv 2003.08276), read and written without a protobuf library.

A file is a sequence of messages, each behind its length as a varint: a header, posting lists by rising term, one record
per document. A posting has the gap to the document before it (the first its number) and an integer weight: a term
frequency or a quantised impact. Fields are those of CommonIndexFileFormat.proto, version 1.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ...index.errors import InvalidArgument, NotFound
from ...index.terms import Terms
from ..sparse.analyzer import KEYS, key_of
from .vectors import Vectors, named, rows_of

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_LARGEST = 2**31 - 1


def read_ciff(path: str | Path, vocabulary: Mapping[str, int] | None = None) -> tuple[Vectors, np.ndarray]:
    """An index as vectors in the order of its document numbers, and (documents,) int64 document lengths.

    Args:
        path: a .ciff file, perhaps gzipped (.gz).
        vocabulary: as for `read_jsonl`.

    Raises:
        NotFound: no such file.
        InvalidArgument: a cut or malformed file, or a term that the vocabulary lacks.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no file {path}")
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        return _read(memoryview(data), vocabulary)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise InvalidArgument(f"{path} is no CIFF file, or is cut off: {error}") from error


def write_ciff(
    path: str | Path, ids: Sequence[str], terms: Terms, names: Mapping[int, str], lengths: Sequence[int] | None = None
) -> None:
    """Writes whole positive weights; `lengths`: document lengths, None for the sum of a document's weights.

    Raises:
        InvalidArgument: token rows, weights that are not integers from 1 to 2^31 - 1 (quantise them first), a key
            without a name.
    """
    rows = terms.rows
    if terms.offsets is not None or len(ids) != len(terms):
        raise InvalidArgument(f"{len(ids)} ids for {len(terms)} documents; CIFF holds one row per id, not token rows")
    if len(rows.data) and (
        (rows.data != np.rint(rows.data)).any() or rows.data.min() < 1 or rows.data.max() > _LARGEST
    ):
        raise InvalidArgument(f"CIFF holds whole weights from 1 to {_LARGEST}; quantise the weights first")
    sums = np.asarray(rows.sum(axis=1)).ravel().astype(np.int64).tolist()
    measured = sums if lengths is None else list(lengths)
    postings = _lists(rows, names)
    with Path(path).open("wb") as file:
        header = [(1, 1), (2, len(postings)), (3, len(ids)), (4, len(postings)), (5, len(ids)), (6, sum(measured))]
        average = sum(measured) / max(1, len(ids))
        head = b"".join(_field(number, value) for number, value in header)
        file.write(_delimited(head + b"\x39" + struct.pack("<d", average) + _field(8, "plait")))
        for term, documents, weights in postings:
            gaps = np.diff(documents, prepend=0).tolist()
            pairs = [_field(1, gap) + _field(2, weight) for gap, weight in zip(gaps, weights, strict=True)]
            body = _field(1, term) + _field(2, len(gaps)) + _field(3, sum(weights))
            file.write(_delimited(body + b"".join(_field(4, pair) for pair in pairs)))
        for number, (name, length) in enumerate(zip(ids, measured, strict=True)):
            file.write(_delimited(_field(1, number) + _field(2, name) + _field(3, int(length))))


def _read(data: memoryview, vocabulary: Mapping[str, int] | None) -> tuple[Vectors, np.ndarray]:
    messages = _messages(data)
    header = _values(next(messages, memoryview(b"")))
    lists, documents = _whole(header, 2), _whole(header, 3)
    rows: dict[int, dict[int, float]] = {}
    names: dict[int, str] = {}
    for _ in range(lists):
        fields = _values(_next(messages))
        term = _text(fields, 1)
        key = key_of(term) if vocabulary is None else vocabulary.get(term)
        if key is None:
            raise ValueError(f"the vocabulary has no {term!r}; give the index's own vocabulary")
        names[key] = term
        number = 0
        for posting in fields.get(4, []):
            pair = _values(_inner(posting, 4))
            number += _whole(pair, 1)
            row = rows.setdefault(number, {})
            row[key] = row.get(key, 0) + _whole(pair, 2)
    records = sorted((_record(_next(messages)) for _ in range(documents)), key=lambda record: record[0])
    unknown = rows.keys() - {number for number, _, _ in records}
    if unknown:
        raise ValueError(f"a posting names document {min(unknown)}, which has no record")
    keys = KEYS if vocabulary is None else max(vocabulary.values(), default=-1) + 1
    terms = rows_of((rows.get(number, {}) for number, _, _ in records), keys)
    lengths = np.array([length for _, _, length in records], np.int64)
    return Vectors([name for _, name, _ in records], terms, names, [""] * len(records)), lengths


def _record(message: memoryview) -> tuple[int, str, int]:
    fields = _values(message)
    return _whole(fields, 1), _text(fields, 2), _whole(fields, 3)


def _lists(rows: Any, names: Mapping[int, str]) -> list[tuple[str, np.ndarray, list[int]]]:
    """Term, rising document numbers and weights, by rising term. Only columns that occur are visited: there may be
    2^32."""
    entries = sparse.coo_array(rows)
    order = np.lexsort((entries.row, entries.col))
    columns, documents = entries.col[order], entries.row[order].astype(np.int64)
    weights = entries.data[order].astype(np.int64)
    keys, starts = np.unique(columns, return_index=True)
    ends = np.append(starts[1:], len(columns))
    lists = [
        (named(names, int(key)), documents[start:end], weights[start:end].tolist())
        for key, start, end in zip(keys, starts, ends, strict=True)
    ]
    return sorted(lists, key=lambda some: some[0].encode())


def _messages(data: memoryview) -> Iterator[memoryview]:
    at = 0
    while at < len(data):
        size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError(f"a message of {size} bytes starts at {at}, but the file has {len(data)}")
        yield data[at : at + size]
        at += size


def _next(messages: Iterator[memoryview]) -> memoryview:
    message = next(messages, None)
    if message is None:
        raise ValueError("it ends before its last message")
    return message


def _values(message: memoryview) -> dict[int, list[Any]]:
    """Values by field number: integers, and bytes for strings and messages; numbers of 4 and 8 bytes are skipped."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
        elif kind == _BYTES:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError(f"field {number} has {size} bytes, and its message ends before")
            value, at = message[at : at + size], at + size
        elif kind in (_DOUBLE, _FLOAT):
            at += 8 if kind == _DOUBLE else 4
            continue
        else:
            raise ValueError(f"field {number} has the wire type {kind}, which protobuf 3 lacks")
        fields.setdefault(number, []).append(value)
    return fields


def _text(fields: Mapping[int, list[Any]], number: int) -> str:
    return bytes(_inner(fields.get(number, [memoryview(b"")])[0], number)).decode("utf-8")


def _whole(fields: Mapping[int, list[Any]], number: int) -> int:
    """A field that is a number; 0 where it is left out, as protobuf has it."""
    value = fields.get(number, [0])[0]
    if not isinstance(value, int) or value > _LARGEST:
        raise ValueError(f"field {number} must be a whole number up to {_LARGEST}")
    return value


def _inner(value: Any, number: int) -> memoryview:
    """A field that is text or a message of its own."""
    if not isinstance(value, memoryview):
        raise ValueError(f"field {number} is a number, and must be text or a message")
    return value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A little-endian number of 7 bits a byte, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} is longer than 64 bits")


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _number(number << 3 | _VARINT) + _number(value)
    body = value.encode() if isinstance(value, str) else value
    return _number(number << 3 | _BYTES) + _delimited(body)


def _delimited(body: bytes) -> bytes:
    return _number(len(body)) + body


def _number(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    parts.append(value)
    return bytes(parts)
