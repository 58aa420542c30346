"""A model of a disk: what files and folders hold, what of it was synced, and what may be left when the machine dies.

A sync of a file keeps its bytes, and a sync of a folder keeps its names. Everything since then may be lost. POSIX
promises no more than this: any of the changes may be kept, in any order, and of a write any of its blocks (ALICE,
OSDI 2014). A journal as that of ext4 keeps names in order, and the beginning of what a file grew by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from random import Random

from .recorder import Event

LOSSES = ("nothing", "everything", "one change", "all but one change", "some changes", "journal")
Keeps = Callable[[int], bool]
"""Whether the change of an event is kept, by its number."""
Image = dict[str, bytes | None]
"""What a disk holds: bytes by the path of a file below the root; None: a folder."""


@dataclass
class File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    """Changes since: number of the event, offset and bytes; or the new size and None."""


@dataclass
class Folder:
    synced: dict[str, int] = field(default_factory=dict)
    """What each name stands for, by key."""
    pending: list[tuple[int, dict[str, int | None]]] = field(default_factory=list)
    """Changes since: number of the event, and what names stand for afterwards; None: a name is gone."""
    now: dict[str, int] = field(default_factory=dict)


class Disk:
    """Takes events one after the other."""

    def __init__(self, root: Path, inode: int, deaf_to: str = ""):
        """
        Args:
            inode: of the root, which is there already.
            deaf_to: this disk ignores syncs of what has a name that matches this pattern (`fnmatch`, below the root).
        """
        self._root, self._deaf_to = str(root), deaf_to
        self.objects: dict[int, File | Folder] = {0: Folder()}
        self._keys = {inode: 0}
        self._count = 0
        self.journal = 0
        """Names that were changed before this event are kept by a journal, which every sync writes out."""

    def take(self, number: int, event: Event) -> None:
        match event.kind:
            case "C":
                self._name(number, {event.first: self._new(event.inode, File())})
            case "M":
                self._name(number, {event.first: self._new(event.inode, Folder())})
            case "U" | "D":
                self._name(number, {event.first: None})
            case "R":
                key = self._find(event.first)
                if self._lookup(event.second) != key:
                    self._name(number, {event.first: None, event.second: key})
            case "L":
                self._name(number, {event.second: self._find(event.first)})
            case "W" | "T":
                if event.inode in self._keys:
                    file = self.objects[self._keys[event.inode]]
                    assert isinstance(file, File)
                    file.pending.append((number, event.offset, event.first if event.kind == "W" else None))
            case "S":
                if event.inode in self._keys:
                    self._sync(number, self._keys[event.inode])
            case "Y":
                names = [name for name, key in self._paths() if key == self._keys.get(event.inode)]
                assert all(name.endswith("-shm") for name in names), f"{names} may be written without being seen"

    def _new(self, inode: int, made: File | Folder) -> int:
        self._count += 1
        self._keys[inode], self.objects[self._count] = self._count, made
        return self._count

    def _sync(self, number: int, key: int) -> None:
        if not self._deaf_to or not any(fnmatch(path, self._deaf_to) for path, k in self._paths() if k == key):
            self._keep(number, self.objects[key])

    def _keep(self, number: int, what: File | Folder) -> None:
        self.journal = number + 1
        if isinstance(what, File):
            what.synced, what.pending = bytearray(_applied(what, lambda _: True, Random(0), 0)), []
        else:
            what.synced, what.pending = dict(what.now), []

    def _name(self, number: int, names: dict[bytes, int | None]) -> None:
        changes: dict[int, dict[str, int | None]] = {}
        for path, key in names.items():
            folder, _, name = path.decode().rpartition("/")
            changes.setdefault(self._find(folder.encode()), {})[name] = key
        for folder, change in changes.items():
            found = self.objects[folder]
            assert isinstance(found, Folder)
            found.pending.append((number, change))
            _change(found.now, change)

    def _below(self, path: bytes) -> str:
        return path.decode().removeprefix(self._root).strip("/")

    def _lookup(self, path: bytes) -> int | None:
        key: int | None = 0
        for name in self._below(path).split("/"):
            folder = None if key is None else self.objects[key]
            key = key if not name else folder.now.get(name) if isinstance(folder, Folder) else None
        return key

    def _find(self, path: bytes) -> int:
        key = self._lookup(path)
        assert key is not None, f"{path.decode()} was made without being seen"
        return key

    def _paths(self, key: int = 0, before: str = "") -> Iterator[tuple[str, int]]:
        """All names with what they stand for, the root's empty."""
        folder = self.objects[key]
        yield before, key
        if isinstance(folder, Folder):
            for name, inner in folder.now.items():
                yield from self._paths(inner, f"{before}/{name}".lstrip("/"))

    def settle(self, number: int) -> None:
        """Everything comes to rest on the disk."""
        for one in self.objects.values():
            self._keep(number, one)

    def pending(self) -> list[int]:
        """Numbers of the events that may be lost."""
        return sorted({number for one in self.objects.values() for number, *_ in one.pending})

    def left(self, loss: str, random: Random) -> Image:
        """What is left of it when the machine dies now."""
        pending = self.pending()
        one = random.choice(pending or [0])
        share, block = random.choice((0.2, 0.5, 0.8)), random.choice((512, 4096))
        cut = random.choice([self.journal, *(number + 1 for number in pending if number >= self.journal)])
        kept = {number for number in pending if random.random() < share}

        def keeps(number: int) -> bool:
            match loss:
                case "nothing":
                    return True
                case "one change":
                    return number != one
                case "all but one change":
                    return number == one
                case "some changes":
                    return number in kept
                case "journal":
                    return number < cut
            return False

        def content(file: File) -> bytes:
            if loss == "journal":
                return _grown(file, random, block)
            torn = block if loss == "some changes" else 0
            return _applied(file, (lambda _: True) if torn and share == 0.5 else keeps, random, torn)

        return self._image(0, "", keeps, content)

    def _image(self, key: int, path: str, keeps: Keeps, content: Callable[[File], bytes]) -> Image:
        folder = self.objects[key]
        assert isinstance(folder, Folder)
        names, image = dict(folder.synced), Image()
        for number, change in folder.pending:
            if keeps(number):
                _change(names, change)
        for name, inner in sorted(names.items()):
            found, inner_path = self.objects[inner], f"{path}/{name}".lstrip("/")
            if isinstance(found, Folder):
                image[inner_path] = None
                image |= self._image(inner, inner_path, keeps, content)
            elif not name.endswith("-shm"):  # the memory that SQLite's connections share; no disk need keep it
                image[inner_path] = content(found)
        return image


def _change(names: dict[str, int], change: dict[str, int | None]) -> None:
    for name, key in change.items():
        if key is None:
            names.pop(name, None)
        else:
            names[name] = key


def _applied(file: File, keeps: Keeps, random: Random, torn: int) -> bytes:
    """The content with those changes that are kept; `torn`: of each, blocks of this size are kept or not."""
    content = bytearray(file.synced)
    for number, offset, data in file.pending:
        if not keeps(number):
            continue
        if data is None:
            _resize(content, offset)
            continue
        for start, piece in _blocks(offset, data, torn):
            if not torn or random.random() < 0.7:
                _put(content, start, piece)
    return bytes(content)


def _grown(file: File, random: Random, block: int) -> bytes:
    """Blocks that were there may be old or new; what was added after them is there up to some point."""
    content, cut = bytearray(file.synced), random.randint(0, len(file.pending))
    for at, (_, offset, data) in enumerate(file.pending):
        if data is None:
            if at < cut:
                _resize(content, offset)
            continue
        for start, piece in _blocks(offset, data, block):
            if at < cut if start >= len(file.synced) else random.random() < 0.5:
                _put(content, start, piece)
    return bytes(content)


def _blocks(offset: int, data: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """The pieces of a write by blocks of the disk; of size 0: all of it."""
    at = 0
    while at < len(data):
        end = len(data) if not size else min(len(data), at + size - (offset + at) % size)
        yield offset + at, data[at:end]
        at = end


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def digest(image: Image) -> bytes:
    sum = hashlib.blake2b(digest_size=16)
    for path, content in sorted(image.items()):
        sum.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
        sum.update(content or b"")
    return sum.digest()


def write(image: Image, root: Path) -> None:
    """Makes the files and folders of an image in a new folder."""
    root.mkdir(parents=True)
    for path, content in image.items():
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)
