"""Snapshots of a collection: whole copies in another folder, taken while it is being written to."""

from __future__ import annotations

import os
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from .catalog import FILE, LOCK, Catalog, put_meta
from .errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, Unavailable
from .segment import Segment, segment_folder, sync
from .view import View

_TRIES = 20
_PART = ".part"
"""Ends the name of a folder that is being made or deleted."""


@dataclass(frozen=True)
class Backup:
    """What `list_snapshots` says of a snapshot."""

    name: str
    """Of its folder."""
    seq: int
    """The state that it holds."""
    documents: int


def create_snapshot(collection: Path, target: Path) -> int:
    """Copies one consistent state to a new folder, durably. Returns its sequence number.

    Writes go on meanwhile. Segment files are hard links where both folders lie on one file system: they never change, so
    a link is as good as a copy until the disk fails. An unfinished bulk build is not part of a snapshot.

    Raises:
        AlreadyExists: there is something at the target.
        Unavailable: merges replaced segments faster than they could be copied.
    """
    if target.exists():
        raise AlreadyExists(f"{target} is there already; choose another folder")
    source = Catalog(collection)
    part = target.with_name(target.name + _PART)
    try:
        for _ in range(_TRIES):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            if (seq := _copy(source, collection, part)) is not None:
                break
        else:
            raise Unavailable(f"{collection} was merged {_TRIES} times while it was copied; try again")
        part.rename(target)
        sync(target.parent)
        return seq
    finally:
        source.close()
        shutil.rmtree(part, ignore_errors=True)


def restore_snapshot(snapshot: Path, collection: Path) -> int:
    """Makes a collection from a snapshot: a full copy, every byte compared with its checksum. Returns its sequence number.

    Raises:
        NotFound: no snapshot there.
        AlreadyExists: there is something at the collection's place.
        DataLoss: the snapshot is damaged; nothing is left at the collection's place.
    """
    _there(snapshot)
    if collection.exists() and any(collection.iterdir()):
        raise AlreadyExists(f"{collection} is there already; choose another folder")
    part = collection.with_name(collection.name + _PART)
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(snapshot, part)
        catalog = Catalog(part)
        with catalog.reading() as view:
            for row in view.segments():
                Segment.open(segment_folder(part, row.number), row.manifest_crc or 0).verify()
            seq = view.meta("seq")
        catalog.close()
        for path in [*part.rglob("*"), part]:
            sync(path)
        if collection.exists():
            collection.rmdir()
        part.rename(collection)
        sync(collection.parent)
        return seq
    finally:
        shutil.rmtree(part, ignore_errors=True)


def list_snapshots(folder: Path) -> list[Backup]:
    """The snapshots in a folder, by rising name: copies that nobody has written to. DataLoss: one of them is damaged."""
    found = sorted(path.parent for path in folder.glob(f"*/{FILE}") if path.parent.suffix != _PART)
    return [describe_snapshot(path) for path in found if not (path / LOCK).exists()]


def describe_snapshot(snapshot: Path) -> Backup:
    """NotFound: there is none. DataLoss: its catalog is damaged."""
    _there(snapshot)
    catalog = Catalog(snapshot)
    try:
        with catalog.reading() as view:
            return Backup(snapshot.name, view.meta("seq"), view.count())
    finally:
        catalog.close()


def delete_snapshot(snapshot: Path) -> None:
    """Deletes a snapshot's folder.

    Raises:
        NotFound: there is none.
        FailedPrecondition: it was written to, so that it is a collection of its own.
    """
    _there(snapshot)
    if (snapshot / LOCK).exists():
        raise FailedPrecondition(
            f"{snapshot} was written to and is a collection, not a copy of one; remove its folder if you mean it"
        )
    gone = snapshot.with_name(snapshot.name + _PART)
    shutil.rmtree(gone, ignore_errors=True)
    snapshot.rename(gone)
    sync(gone.parent)
    shutil.rmtree(gone)


def _there(snapshot: Path) -> None:
    if not (snapshot / FILE).is_file():
        raise NotFound(f"{snapshot} is no snapshot: it has no {FILE}")


def _copy(source: Catalog, collection: Path, part: Path) -> int | None:
    """The catalog, then the segments that the copy names; None when one of them is gone by now."""
    with source.reading() as view:
        copy = sqlite3.connect(part / FILE, isolation_level=None)
        view.db.backup(copy)
    _forget_unfinished(View(copy, part / FILE))
    copy.close()
    catalog = Catalog(part)
    with catalog.reading() as view:
        rows, seq = view.segments(), view.meta("seq")
    catalog.close()
    for row in rows:
        folder = segment_folder(part, row.number)
        try:
            folder.mkdir()
            for file in segment_folder(collection, row.number).iterdir():
                _link(file, folder / file.name)
            Segment.open(folder, row.manifest_crc or 0)
        except (FileNotFoundError, DataLoss):
            # Merged away since the catalog was copied; if it is still named there, the collection itself is damaged.
            with source.reading() as view:
                if row.number in {r.number for r in view.segments()}:
                    raise
            return None
        sync(folder)
    sync(part / FILE)
    sync(part)
    return seq


def _forget_unfinished(view: View) -> None:
    visible = view.meta("visible")
    with view.db:
        view.db.execute("BEGIN")
        view.db.execute("DELETE FROM documents WHERE number >= ?", (visible,))
        view.db.execute("DELETE FROM segments WHERE NOT published")
        put_meta(view, "next", visible)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
        sync(target)
