"""The files of a sealed segment, all of them mapped before any is used, and watched for as long as they are mapped.

A map needs neither the name nor a descriptor: a merge may remove the folder meanwhile, and readers go on. What
happens to the file itself is seen through the map. So `check` compares size, time of change and inode of each file
with those at the opening before a search believes it; `verify` compares all bytes with their checksums at the
opening, `index/segments/scrub.py` from time to time; and a page that the system cannot give any more marks its file as
lost (`native/mapped.h`).
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..disk.descriptors import at_limit
from ..errors import DataLoss, Unavailable
from ..kernels import _native
from .manifest import Entry, Manifest

BLOCK = 1 << 22
"""Bytes of a file that are compared at a time."""
_SHORT_S = 0.001
"""A shorter read looks at sizes and times before it, not after it: a look costs about a microsecond for each file."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """One file: its name alone may be gone."""

    path: Path
    entry: Entry
    data: np.ndarray
    """(bytes,) uint8, read-only."""
    slot: int | None
    """Of `_native.lost`; None: the file is empty."""
    stat: tuple[int, int, int]
    """Size, time of change in nanoseconds and inode when it was opened."""

    @property
    def bytes(self) -> int:
        return self.entry.bytes


class Files(Mapping[str, Mapped]):
    """The files that a manifest lists, by name."""

    def __init__(self, folder: Path | None, mapped: Mapping[str, Mapped]):
        self.folder, self._mapped = folder, dict(mapped)
        self._paths = b"".join(os.fsencode(file.path) + b"\0" for file in self._mapped.values())
        self._stats = np.array([file.stat for file in self._mapped.values()], np.int64).reshape(-1, 3)
        self._next, self._losses, self._looking = 0.0, _native.losses(), threading.Lock()
        self.damage: str | None = None
        """What has become of a file since the opening; it stays until the segment is opened again."""

    def __getitem__(self, name: str) -> Mapped:
        return self._mapped[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapped)

    def __len__(self) -> int:
        return len(self._mapped)

    def array(self, name: str, dtype: str, shape: tuple[int, ...] = (-1,)) -> np.ndarray:
        """A file as an array, its bytes where they are. DataLoss: it is not there, or does not have such rows."""
        data = self.data(name)
        try:
            return data.view(dtype).reshape(shape)
        except ValueError:
            raise DataLoss(
                f"{self._path(name)} has {len(data)} bytes, which are no {dtype} {shape}; restore it from a copy"
            ) from None

    def data(self, name: str) -> np.ndarray:
        """A file as (bytes,) uint8. DataLoss: the manifest does not list it."""
        if name not in self._mapped:
            raise DataLoss(f"{self._path(name)} is not listed in the manifest; restore the segment from a copy")
        return self._mapped[name].data

    def verify(self, names: Set[str] | None = None) -> None:
        """Compares all bytes of these files, where there are such, with their checksums.
        DataLoss names the one that differs.
        """
        for name in self._mapped if names is None else self._mapped.keys() & names:
            crc = 0
            for block in self.blocks(name):
                crc = zlib.crc32(block.data, crc)
            if problem := self._differs(name, crc):
                raise DataLoss(problem)

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """A file's bytes, piece by piece."""
        data = self.data(name)
        return (data[start : start + BLOCK] for start in range(0, len(data), BLOCK))

    def judge(self, name: str, crc: int) -> None:
        """Condemns a file whose bytes, as they were read now, do not have its checksum."""
        if problem := self._differs(name, crc):
            self.condemn(problem)

    def check(self, again: bool = False) -> None:
        """DataLoss: since the opening a file was cut, overwritten or replaced, or a page of it could not be read.

        A file whose time has changed is compared with its checksum: it may have been touched, and no more.

        Args:
            again: after a read, which began with a check: a short one is not looked at twice.
        """
        if self.damage is None and not (again and time.monotonic() < self._next):
            with self._looking:
                self._look()
                self._next = time.monotonic() + _SHORT_S
        if _native.losses() != self._losses:
            self._losses = _native.losses()
            for file in self._mapped.values():
                if file.slot is not None and _native.lost(file.slot):
                    self.condemn(_unreadable(file.path))
        if self.damage is not None:
            raise DataLoss(self.damage)

    def condemn(self, damage: str) -> None:
        """What was found stays: whoever reads from now on is told."""
        self.damage = self.damage or damage

    def _look(self) -> None:
        files = [*self._mapped.values()]
        while self.damage is None and (at := _native.first_changed(self._paths, self._stats)) < len(files):
            file = files[at]
            try:
                now = _stat(os.stat(file.path))
                size, crc = _digest(file.path)
            except FileNotFoundError:
                return  # removed since: what is mapped stays
            except OSError as error:
                return self.condemn(f"{file.path} cannot be read any more ({error}); restore it from a copy")
            if (size, crc) != (file.entry.bytes, file.entry.crc32):
                return self.condemn(_changed(file.path))
            self._stats[at] = now

    def _differs(self, name: str, crc: int) -> str | None:
        file = self._mapped[name]
        if file.slot is not None and _native.lost(file.slot):
            return _unreadable(file.path)
        return _changed(file.path) if crc != file.entry.crc32 else None

    def _path(self, name: str) -> str:
        return name if self.folder is None else str(self.folder / name)


NO_FILES = Files(None, {})
"""Of fresh documents, which are in no segment yet."""


def open_files(folder: Path, manifest: Manifest) -> Files:
    """Maps every file that the manifest lists, each under a descriptor that is closed at once.

    Raises:
        DataLoss: a file is missing or has another size.
        Unavailable: this user may not read it, or this process may open no file more.
    """
    return Files(folder, {name: _opened(folder / name, entry) for name, entry in manifest.files.items()})


def _opened(path: Path, entry: Entry) -> Mapped:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            stat = _stat(os.fstat(descriptor))
            if stat[0] != entry.bytes:
                raise DataLoss(
                    f"{path} has {stat[0]} bytes, {entry.bytes} were written; "
                    "restore it from a copy or rebuild the collection"
                )
            data, slot = _native.map_file(descriptor, stat[0]) if stat[0] else (np.zeros(0, np.uint8), None)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise DataLoss(f"{path} is missing; restore it from a copy or rebuild the collection") from None
    except PermissionError as error:
        raise Unavailable(f"{path} cannot be opened ({error}); let this user read it") from None
    except OSError as error:
        raise at_limit(error) or DataLoss(f"{path} cannot be opened ({error}); restore it from a copy") from None
    return Mapped(path, entry, data, slot, stat)


def digest(path: Path) -> Entry:
    """Length and checksum of a file as it is now."""
    return Entry(*_digest(path))


def _digest(path: Path) -> tuple[int, int]:
    crc, size = 0, 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            crc, size = zlib.crc32(block, crc), size + len(block)
    return size, crc


def _stat(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ino


def _changed(path: Path) -> str:
    return f"{path} has changed since it was written; restore it from a copy"


def _unreadable(path: Path) -> str:
    return f"{path} was cut while it was open, or the disk does not give it any more; restore it from a copy"
