"""The manifest of a sealed segment: its format, and the length, checksum and, of an array,
type and shape of every file.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..codecs.codec import DEFAULT
from ..disk.descriptors import at_limit
from ..errors import DataLoss, FailedPrecondition

FORMAT = 2
"""Segments of another precision than float16 have this format; all others keep format 1, which every plait reads."""
MANIFEST = "segment.json"


@dataclass(frozen=True)
class Entry:
    """What the manifest says of one file."""

    bytes: int
    crc32: int
    dtype: str | None = None
    """None: no column of the segment but a file of a store, which knows what is in it."""
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Manifest:
    dim: int
    precision: str = DEFAULT
    vector: int = 0
    files: dict[str, Entry] = field(default_factory=dict)
    """By name."""

    def to_bytes(self) -> bytes:
        files: dict[str, dict[str, Any]] = {}
        for name, entry in self.files.items():
            files[name] = {"bytes": entry.bytes, "crc32": entry.crc32}
            if entry.dtype is not None:
                files[name] |= {"dtype": entry.dtype, "shape": [*entry.shape]}
        said: dict[str, Any] = {"format": 1, "dim": self.dim, "files": files}
        if self.precision != DEFAULT:
            said |= {"format": FORMAT, "precision": self.precision}
        if self.vector:
            said["vector"] = self.vector
        return json.dumps(said, indent=1, sort_keys=True).encode()


def read_manifest(folder: Path, crc: int) -> Manifest:
    """The manifest of a segment's folder.

    Raises:
        DataLoss: it is missing, is not the one with this checksum, or says what no manifest says.
        FailedPrecondition: a newer plait wrote it.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise DataLoss(f"{path} is missing; restore it from a copy or rebuild the collection") from None
    except OSError as error:
        raise at_limit(error) or DataLoss(f"{path} cannot be read ({error}); restore it from a copy") from None
    if zlib.crc32(text) != crc:
        raise DataLoss(f"{path} is not the file that was published; restore it from a copy")
    try:
        said = json.loads(text)
        if not isinstance(said["format"], int) or isinstance(said["format"], bool):
            raise ValueError(f"its format is {said['format']!r}")
        if said["format"] <= FORMAT:
            return _parsed(said)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataLoss(f"{path} is no manifest ({type(error).__name__}: {error}); restore it from a copy") from None
    raise FailedPrecondition(f"{folder} has format {said['format']}, this plait reads up to {FORMAT}: upgrade it")


def _parsed(said: dict[str, Any]) -> Manifest:
    precision = said.get("precision", DEFAULT)
    if not isinstance(precision, str):
        raise ValueError(f"its precision is {precision!r}")
    files = {_name(name): _entry(name, entry) for name, entry in said["files"].items()}
    return Manifest(_count(said["dim"]), precision, _count(said.get("vector", 0)), files)


def _name(name: str) -> str:
    """A file of the folder itself: the manifest of a stranger must not reach beyond it."""
    if not name or name in (".", "..", MANIFEST) or "/" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file")
    return name


def _entry(name: str, said: dict[str, Any]) -> Entry:
    size, crc = _count(said["bytes"]), _count(said["crc32"])
    if "dtype" not in said:
        return Entry(size, crc)
    dtype, shape = said["dtype"], tuple(_count(n) for n in said["shape"])
    if not isinstance(dtype, str) or prod(shape) * np.dtype(dtype).itemsize != size:
        raise ValueError(f"{name} has {size} bytes, which are no {dtype!r} of shape {shape}")
    return Entry(size, crc, dtype, shape)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 62:
        raise ValueError(f"{value!r} stands where a count belongs")
    return value
