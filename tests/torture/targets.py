"""What is fuzzed: readers of files, text and messages, as functions of bytes that end well or with an error of plait.

Bytes that a checksum would turn away get the right one, so that what lies behind it is reached.
"""

from __future__ import annotations

import json
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from plait.index.codecs import pq4, residual
from plait.index.codecs.precisions import codec
from plait.index.collection import Collection
from plait.index.errors import PlaitError
from plait.index.filters import sql as filters
from plait.index.reading.structure import require
from plait.index.recall.calibration import Calibration
from plait.index.segments import fresh as fresh_documents
from plait.index.segments.manifest import MANIFEST
from plait.index.segments.segment import Segment
from plait.index.tokens import from_matrices
from plait.retrieval import corpus
from plait.retrieval.offline import ciff
from plait.retrieval.reducers import recipe
from plait.service import keys
from plait.service.hosting.aliases import FILE as ALIASES
from plait.service.hosting.aliases import Aliases
from plait.service.limits import Limits
from plait.service.messages import filters as wire_filters
from plait.service.messages import tensors
from plait.service.messages.options import read_options, write_options
from plait.service.messages.queries import read_queries
from plait.service.wire import documents_pb2, filter_pb2, search_pb2

Target = Callable[[bytes], None]
ENDS_WELL = (PlaitError, DecodeError)
"""What a target may raise: the caller, or the file, is named."""

_LIMITS = Limits(query_tokens=64, document_tokens=64, dim=64, sparse_keys=256)
_DIM = 4


@cache
def scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="plait-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))


@cache
def _collection() -> Collection:
    """A few documents, some of them in a segment."""
    made = Collection.create(scratch() / "collection", _DIM, fields=["n"])
    vectors = from_matrices([np.eye(_DIM, dtype=np.float16)[: i + 1] for i in range(3)])
    made.live.upsert(["a", "b", "c"], vectors, [{"n": 1, "t": "x"}, {"n": None, "l": [1, "x"]}, {"o": {"p": 2.5}}])
    made.seal()
    return made


def _json(data: bytes) -> Any:
    """What JSON says, or None."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def conditions(data: bytes) -> None:
    """Filters as JSON: parsed, written, parsed again, and asked of a collection."""
    if isinstance(value := _json(data), dict):
        filter = filters.parse(value)
        assert filters.parse(filters.to_json(filter)) == filter
        with _collection().snapshot() as snapshot:
            snapshot.view.numbers(*filters.compile(filter, snapshot.view.declared))


def recipes(data: bytes) -> None:
    steps = recipe.parse(data.decode(errors="replace").split("\n"))
    assert recipe.parse([step.spec for step in steps]) == steps


def key_file(data: bytes) -> None:
    path = scratch() / "keys.json"
    path.write_bytes(data)
    keys.read(path)


def aliases(data: bytes) -> None:
    root = scratch() / "root"
    root.mkdir(exist_ok=True)
    (root / ALIASES).write_bytes(data)
    Aliases(root).all()


def documents(data: bytes) -> None:
    """A corpus: lines of JSON, or of cells after a first byte that is even."""
    path = scratch() / ("corpus.tsv" if data[:1] and data[0] % 2 == 0 else "corpus.jsonl")
    path.write_bytes(data[1:])
    list(corpus.read_documents(path))


def ciff_file(data: bytes) -> None:
    path = scratch() / "index.ciff"
    path.write_bytes(data)
    ciff.read_ciff(path)


def calibration(data: bytes) -> None:
    if isinstance(value := _json(data), dict):
        made = Calibration.from_json(value)
        assert Calibration.from_json(json.loads(json.dumps(made.to_json()))) == made


def fresh(data: bytes) -> None:
    """A document of the log, its checksum made right."""
    fresh_documents.unpack(struct.pack("<I", zlib.crc32(data)) + data, codec("float16", _DIM))


def codebooks(data: bytes) -> None:
    for read in (residual.Buckets.from_bytes, pq4.Codebook.from_bytes):
        try:
            read(data)
        except PlaitError:
            continue


def segment(data: bytes) -> None:
    """A segment whose manifest, or one of whose files, is replaced, its checksums made right."""
    whole, folder = _segment(), scratch() / "segment"
    folder.mkdir(exist_ok=True)
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    manifest = whole[MANIFEST]
    names = sorted(whole.keys() - {MANIFEST})
    which = data[0] % (len(names) + 1) if data else 0
    if which < len(names):
        (folder / names[which]).write_bytes(data[1:])
        said = json.loads(manifest)
        said["files"][names[which]] |= {"bytes": len(data) - 1, "crc32": zlib.crc32(data[1:])}
        manifest = json.dumps(said).encode()
    else:
        manifest = data[1:]
    (folder / MANIFEST).write_bytes(manifest)
    opened = Segment.open(folder, zlib.crc32(manifest))
    opened.verify()
    require(opened, _collection().schema)
    for position in range(min(3, len(opened.documents))):
        opened.document(position)


@cache
def _segment() -> dict[str, bytes]:
    (folder,) = _collection().path.glob("segment-*")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def messages(data: bytes) -> None:
    """A message by its first byte: decoded, read as a handler reads it, and where it can be, written and read again."""
    kind, body = data[0] % 4 if data else 0, data[1:]
    if kind == 0:
        search = read_options(search_pb2.SearchOptions.FromString(body), _LIMITS)
        again = read_options(write_options(search), _LIMITS)
        assert repr(again) == repr(search)
    elif kind == 1:
        filter = wire_filters.read_filter(filter_pb2.Filter.FromString(body), _LIMITS)
        assert wire_filters.read_filter(wire_filters.write_filter(filter, filter_pb2.Filter()), _LIMITS) == filter
    elif kind == 2:
        read_queries([search_pb2.EncodedQuery.FromString(body)], _LIMITS, "query")
    else:
        given = documents_pb2.Document.FromString(body)
        if given.HasField("tokens"):
            read = tensors.read_tokens([given.tokens], _LIMITS, "document_tokens", "tokens")
            tensors.write_tokens(read, 0)
        if given.HasField("vector"):
            tensors.read_vectors([given.vector], _LIMITS, "vector")


TARGETS: dict[str, Target] = {
    target.__name__: target
    for target in (
        *(conditions, recipes, key_file, aliases, documents, ciff_file),
        *(calibration, fresh, codebooks, segment, messages),
    )
}
