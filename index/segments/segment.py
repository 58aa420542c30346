"""One immutable segment: a folder of flat little-endian arrays, memory-mapped, each with length and checksum.

A segment is written once, from front to back, by `SegmentWriter`, sealed by `seal`, and read by `Segment`. Whether a
folder counts is decided by the catalog alone, so an unfinished one does no harm.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..catalog.schema import Schema
from ..codecs.codec import Codec, Decoded, Vectors
from ..codecs.precisions import codec as codec_of
from ..disk.paths import sync
from ..errors import DataLoss, InvalidArgument
from ..representations import Representations
from ..term_rows import TermRows
from ..tokens import Tokens, ragged_rows
from . import term_columns
from .files import Files, digest, open_files
from .manifest import FORMAT as FORMAT
from .manifest import MANIFEST, Manifest, read_manifest

_COLUMNS: dict[str, str] = {
    "documents": "<i8",  # (documents,) collection-wide document numbers, rising
    "offsets": "<i8",  # (documents + 1,)
    "vectors": "",  # (tokens, width) records; index/codecs/codec.py says of what type
    "ids": "<u4",  # (tokens,) vocabulary ids
    "roles": "|u1",  # (tokens,)
    "spans": "<u4",  # (spans, 2)
    "span_offsets": "<i8",  # (tokens + 1,), only where some token has not exactly one span
}
_GLOBALS = {"globals": "<f2"}  # (documents, width) global vectors, only where the collection has them


class SegmentWriter:
    """Appends batches of documents to column files. `sync` returns lengths to which
    `resume` can go back after a crash."""

    def __init__(self, folder: Path, schema: Schema):
        self.folder, self.schema, self.columns = folder, schema, columns(schema)
        folder.mkdir(parents=True, exist_ok=True)
        sync(folder.parent)
        with ExitStack() as opened:
            self._files = {name: opened.enter_context(open(folder / name, "ab")) for name in self.columns}
            opened.pop_all()  # all are open: from here on `close` gives them up
        self._ends = {name: 0 for name in self.columns if name.endswith("offsets")}
        """The last value of each column of offsets, which begins with a zero of its own."""
        self._last = -1
        for name in self._ends:
            if not self._files[name].tell():
                self._files[name].write(np.zeros(1, "<i8").tobytes())

    @classmethod
    def resume(cls, folder: Path, schema: Schema, lengths: dict[str, int]) -> SegmentWriter:
        """Cuts every file back to a synced length and goes on from there. DataLoss: a file is shorter than that."""
        for name in columns(schema):
            path = folder / name
            have = path.stat().st_size if path.exists() else 0
            if have < lengths[name]:
                raise DataLoss(f"{path} has {have} bytes of the {lengths[name]} that were synced; start the build anew")
            if have:
                os.truncate(path, lengths[name])
        writer = cls(folder, schema)
        writer._ends = {name: _last_value(folder / name) for name in writer._ends}
        writer._last = _last_value(folder / "documents", -1)
        return writer

    def append(self, numbers: np.ndarray, batch: Representations) -> None:
        """Adds documents under rising collection-wide numbers. Every batch must have the same columns."""
        if len(numbers) != len(batch) or (np.diff(numbers) <= 0).any() or (len(numbers) and numbers[0] <= self._last):
            raise InvalidArgument("document numbers must rise, one for each document")
        if not len(numbers):
            return
        self._last = int(numbers[-1])
        self._write("documents", numbers)
        self._append_tokens(batch.tokens)
        for name, rows in batch.terms.items():
            self._append_terms(term_columns.prefix(name), rows)

    def _append_tokens(self, tokens: Tokens) -> None:
        self._extend("offsets", tokens.offsets)
        self._write("vectors", tokens.vectors)
        self._write("ids", tokens.ids)
        self._write("roles", tokens.roles)
        self._write("spans", tokens.spans)
        if self.schema.vector:
            self._write("globals", tokens.globals_)
        if tokens.spans is not None:
            plain = np.arange(len(tokens.vectors) + 1) if tokens.span_offsets is None else tokens.span_offsets
            self._extend("span_offsets", plain)

    def _append_terms(self, prefix: str, terms: TermRows) -> None:
        self._extend(prefix + term_columns.OFFSETS, terms.offsets)
        self._write(prefix + term_columns.KEYS, terms.keys)
        self._write(prefix + term_columns.WEIGHTS, terms.weights)
        if terms.row_offsets is not None:
            self._extend(prefix + term_columns.ROW_OFFSETS, terms.row_offsets)

    def _extend(self, name: str, offsets: np.ndarray) -> None:
        """Offsets of a batch, which begin with 0, go on where those before ended."""
        self._write(name, offsets[1:] + self._ends[name])
        self._ends[name] += int(offsets[-1])

    def _write(self, name: str, values: np.ndarray | None) -> None:
        if values is not None:
            self._files[name].write(np.ascontiguousarray(values, self.columns[name]).tobytes())

    def sync(self) -> dict[str, int]:
        """Puts everything on the disk, names included; returns the byte length of each column file."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        sync(self.folder)
        return {name: file.tell() for name, file in self._files.items()}

    def vectors(self) -> Vectors:
        """(tokens, dim) of all that was synced, memory-mapped."""
        codec = self.schema.codec
        return Decoded(codec, _map(self.folder / "vectors", codec.dtype, (self._ends["offsets"], codec.width)))

    def offsets(self) -> np.ndarray:
        """(documents + 1,) int64 token offsets of all that was synced, memory-mapped."""
        return self._mapped("offsets")

    def terms(self) -> dict[str, TermRows]:
        """The sparse rows of all that was synced, memory-mapped, by the name of their field."""
        return term_columns.rows_of({name: self._mapped(name) for name in term_columns.columns(self.schema.terms)})

    def ids(self) -> np.ndarray:
        """(tokens,) uint32 vocabulary ids of all that was synced, memory-mapped; empty where the tokens have none."""
        return self._mapped("ids")

    def globals_(self) -> np.ndarray:
        """(documents, width) float16 global vectors of all that was synced, memory-mapped."""
        return self._mapped("globals").reshape(-1, self.schema.vector)

    @property
    def size(self) -> int:
        """As in `Representations.size`."""
        if self.schema.dim:
            return self._ends["offsets"]
        weights = [self._ends[term_columns.prefix(name) + term_columns.OFFSETS] for name in self.schema.terms]
        return sum(weights) if weights else self._mapped("documents").size

    def _mapped(self, name: str) -> np.ndarray:
        path, dtype = self.folder / name, self.columns[name]
        return _map(path, dtype, (path.stat().st_size // np.dtype(dtype).itemsize,))

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the files up; nobody counts on what was not synced."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()


def seal(writer: SegmentWriter, extra: tuple[str, ...] = ()) -> int:
    """Closes a segment for ever by writing its manifest. Returns the manifest's CRC-32.

    `extra` names further files in the folder (a store's index) that belong to the segment. Columns that say nothing are
    not listed; `folders.tidy` removes them once the segment is committed, so that until then the writer can be resumed.
    """
    lengths = writer.sync()
    writer.close()
    folder = writer.folder
    arrays = {n: (d, lengths[n] // np.dtype(d).itemsize) for n, d in writer.columns.items() if lengths[n]}
    plain = not lengths["spans"] or bool(
        (np.diff(_map(folder / "span_offsets", "<i8", (arrays["span_offsets"][1],))) == 1).all()
    )
    if plain:
        arrays.pop("span_offsets", None)
    codec = writer.schema.codec
    width = {"vectors": codec.width, "spans": 2, "globals": writer.schema.vector}
    for name in extra:
        sync(folder / name)
    files = {name: digest(folder / name) for name in (*arrays, *extra)}
    for name, (dtype, count) in arrays.items():
        shape = (count // width[name], width[name]) if name in width else (count,)
        files[name] = replace(files[name], dtype=dtype, shape=shape)
    text = Manifest(codec.dim, codec.precision, writer.schema.vector, files).to_bytes()
    with open(folder / MANIFEST, "wb") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    sync(folder)
    return zlib.crc32(text)


@dataclass(frozen=True, eq=False)
class Segment:
    """A sealed segment, open for reading. Arrays are memory-mapped: opening costs nothing,
    pages come as they are read."""

    folder: Path | None
    """None: fresh documents in memory, never written as a segment."""
    codec: Codec
    """Of the records that `tokens.vectors` holds."""
    documents: np.ndarray
    """(documents,) int64 collection-wide numbers, rising."""
    tokens: Tokens
    files: Files
    terms: Mapping[str, TermRows] = field(default_factory=dict)
    """By the name of their field."""

    @property
    def contents(self) -> Representations:
        return Representations(self.tokens, self.terms)

    @classmethod
    def open(cls, folder: Path, manifest_crc: int, codec: Codec | None = None) -> Segment:
        """Maps all files of a segment after comparing their sizes (`verify` compares the contents).

        `codec` is the collection's; without it, records of a precision that learns can be copied but not read.

        Raises:
            DataLoss: a file is missing or cut, or the manifest is not the one that was published.
            FailedPrecondition: a newer plait wrote it.
            Unavailable: this process may open no file more.
        """
        manifest = read_manifest(folder, manifest_crc)
        files = open_files(folder, manifest)
        codec = _codec(folder, manifest, codec)
        arrays = _arrays(files, codec, manifest.vector)
        globals_ = arrays.get("globals", np.zeros((0, manifest.vector), np.float16)) if manifest.vector else None
        tokens = Tokens(
            arrays.get("vectors", np.zeros((0, codec.width), codec.dtype)),
            arrays["offsets"],
            arrays.get("ids"),
            arrays.get("spans"),
            arrays.get("span_offsets"),
            roles=arrays.get("roles"),
            globals_=globals_,
        )
        numbers = arrays.get("documents", np.zeros(0, np.int64))
        return cls(folder, codec, numbers, tokens, files, term_columns.rows_of(arrays))

    def verify(self) -> None:
        """Reads every byte. DataLoss names the file whose checksum differs."""
        self.files.verify()

    def document(self, position: int) -> Tokens:
        """The tokens of one document, their vectors as (n, dim) float32."""
        tokens = self.tokens.take([position])
        return tokens.with_vectors(self.codec.floats(tokens.vectors))

    def owners_of(self, rows: np.ndarray) -> np.ndarray:
        """The position of the document that owns each token row."""
        return np.searchsorted(self.tokens.offsets, rows, side="right") - 1

    @property
    def dim(self) -> int:
        return self.codec.dim

    def gather(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Token vectors (n, dim) float32 and offsets of the documents at these rising positions."""
        all_offsets = self.tokens.offsets
        if len(positions) and positions[-1] - positions[0] == len(positions) - 1:
            offsets = all_offsets[positions[0] : positions[-1] + 2]
            return self.codec.floats(self.tokens.vectors[offsets[0] : offsets[-1]]), offsets - offsets[0]
        rows, offsets = ragged_rows(self.tokens.offsets, positions)
        return self.codec.floats(self.tokens.vectors[rows]), offsets

    def blocks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Document ranges [first, last) of about `rows` tokens each; a longer document stands alone."""
        offsets, first = self.tokens.offsets, 0
        while first < len(self.documents):
            last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
            last = max(first + 1, last)
            yield first, last
            first = last


def segment_folder(collection: Path, number: int) -> Path:
    return collection / f"segment-{number:06d}"


def columns(schema: Schema) -> dict[str, str]:
    plain = {**_COLUMNS, **(_GLOBALS if schema.vector else {}), "vectors": schema.codec.dtype}
    return plain | term_columns.columns(schema.terms)


def _arrays(files: Files, codec: Codec, vector: int) -> dict[str, np.ndarray]:
    """The columns among the files. DataLoss: one has a type or a shape that it never has."""
    types = {**_COLUMNS, **_GLOBALS, "vectors": codec.dtype}
    widths = {"vectors": codec.width, "spans": 2, "globals": vector}
    arrays = {}
    for name, file in files.items():
        said = file.entry
        if said.dtype is None:
            continue
        shape = (-1, widths[name]) if name in widths else (-1,)
        if said.dtype != types.get(name, term_columns.dtype_of(name)) or said.shape[1:] != shape[1:] or not said.shape:
            raise DataLoss(
                f"{file.path} is said to be {said.dtype!r} {said.shape}, as it never is; restore it from a copy"
            )
        arrays[name] = files.array(name, said.dtype, said.shape)
    files.data("offsets")
    return arrays


def _codec(folder: Path, manifest: Manifest, codec: Codec | None) -> Codec:
    """The collection's codec, if the segment is of its precision and dimension; without one, that of the manifest."""
    try:
        codec = codec or codec_of(manifest.precision, manifest.dim)
    except InvalidArgument as error:
        raise DataLoss(
            f"{folder / MANIFEST} names a precision that there is not ({error}); restore it from a copy"
        ) from None
    if (codec.precision, codec.dim) != (manifest.precision, manifest.dim):
        raise DataLoss(f"{folder} is of another precision or dimension than its collection; restore it from a copy")
    return codec


def _map(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, "r", shape=shape).view(np.ndarray)


def _last_value(path: Path, default: int = 0) -> int:
    size = path.stat().st_size if path.exists() else 0
    if not size:
        return default
    with open(path, "rb") as file:
        file.seek(size - 8)
        return int(np.frombuffer(file.read(8), "<i8")[0])
