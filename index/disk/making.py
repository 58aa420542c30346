"""Folders that are being made or deleted: beside their place, marked as plait's own, locked while somebody is at work.

A process that is killed leaves such a folder without the lock. The next one that makes or deletes a folder there
removes it, and so does a server when it starts. A folder without the mark is somebody else's and stays.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Unavailable
from .paths import make_folder, sync

PART = ".part"
"""Ends the name of such a folder."""
_MARK = ".plait-part"


@contextmanager
def making(target: Path) -> Iterator[Path]:
    """An empty folder beside the target, to be filled and then put in its place (`put`); it
    is removed at the end if not.

    Unavailable: somebody else is making one for the same target, or such a folder is there that plait did not make.
    """
    remove_left(target.parent)
    part = _part(target)
    with suppress(OSError):
        part.rmdir()  # empty: whoever made it was killed before it was marked
    make_folder(target.parent)
    with suppress(FileExistsError):
        part.mkdir()
    if any(part.iterdir()) or (lock := _locked(part / _MARK)) is None:
        raise Unavailable(
            f"{part} is there: a copy to {target} is under way, or the folder is not plait's; wait, or remove it"
        )
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(lock)


def empty(part: Path) -> None:
    """Removes what a folder that is being made holds so far."""
    for path in part.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _MARK:
            path.unlink()


def put(part: Path, target: Path) -> None:
    """Gives a finished folder its name, durably."""
    part.rename(target)
    (target / _MARK).unlink()
    sync(target)
    sync(target.parent)


def remove(folder: Path) -> None:
    """Deletes a folder: its name is gone at once and for ever, the files follow."""
    gone = _part(folder)
    remove_left(folder.parent)
    (folder / _MARK).touch()
    folder.rename(gone)
    sync(gone.parent)
    shutil.rmtree(gone)


def remove_left(folder: Path) -> None:
    """Removes the folders that killed processes have left half made or half deleted in a folder."""
    for part in folder.glob(f"*{PART}"):
        if (part / _MARK).is_file() and (lock := _locked(part / _MARK)) is not None:
            shutil.rmtree(part, ignore_errors=True)
            os.close(lock)


def _part(target: Path) -> Path:
    return target.with_name(target.name + PART)


def _locked(mark: Path) -> int | None:
    """A descriptor that holds the lock of a folder; None: another process or thread holds it, or the folder is gone."""
    with suppress(OSError):
        lock = os.open(mark, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except OSError:
            os.close(lock)
    return None
