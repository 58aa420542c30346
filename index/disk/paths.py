"""Paths that stay what they are, and names that are on the disk when a write says so."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import AlreadyExists
from .failpoints import reach

_DRAFT = ".new"
"""Ends the name of a file that is being made; SQLite adds its own endings to that."""


def absolute(path: str | Path) -> Path:
    """The same place whatever the working directory becomes, `~` expanded."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def sync(path: Path) -> None:
    """Makes a file's contents, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> list[Path]:
    """Makes a folder and those above it that are missing. Returns what it made, the uppermost first.

    When it returns, the folder's name and those of all it made are on the disk.
    """
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    made = []
    for one in reversed(missing):
        if one.is_dir():
            with suppress(PermissionError):  # somebody else's folder, in which this one has been for long
                sync(one.parent)
            continue
        one.mkdir(exist_ok=True)
        made.append(one)
        sync(one.parent)
    return made


def is_free(folder: Path) -> bool:
    """Whether something new may be made here: nothing is there, or no more than what a killed process was making."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and all(_DRAFT in path.name for path in folder.iterdir())


@contextmanager
def founding(folder: Path, name: str) -> Iterator[Path]:
    """A new or empty folder gets its first file, which the block makes at the path it is given.

    The file appears under its name when it is whole and synced. Killed at any moment, this
    leaves the file or a free folder.

    Raises:
        AlreadyExists: the folder holds something.
    """
    if folder.exists() and not folder.is_dir():
        raise AlreadyExists(f"{folder} is a file; choose another path")
    made, draft = make_folder(folder), folder / (name + _DRAFT)
    try:
        with _alone(folder):
            if not is_free(folder):
                if (folder / name).exists():
                    raise AlreadyExists(f"{folder} already holds a collection; open it, or choose another folder")
                raise AlreadyExists(f"{folder} holds other things ({_some(folder)}); choose a new or empty folder")
            try:
                _clear(folder)
                yield draft
                sync(draft)
                reach("create")
                draft.rename(folder / name)
                reach("create.end")
                sync(folder)
            except BaseException:
                (folder / name).unlink(missing_ok=True)
                _clear(folder)
                raise
    except BaseException:
        with suppress(OSError):  # somebody has put something there meanwhile
            for one in reversed(made):
                one.rmdir()
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else founds something here meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks of folders
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if _DRAFT in path.name:
            path.unlink()


def _some(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.iterdir())[:3])


@contextmanager
def undone_on_error(collection: Path) -> Iterator[None]:
    """Removes a collection that was just made if the block fails: the next try finds a free place."""
    try:
        yield
    except BaseException:
        shutil.rmtree(collection, ignore_errors=True)
        raise
