"""Snapshots of a collection: whole copies in another folder, taken while it is being written to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..catalog.catalog import CHECKED_FORMAT, FILE, LOCK, Catalog, put_meta, renew
from ..catalog.database import Error, connect, copy, told
from ..catalog.schema import Schema
from ..catalog.view import SegmentRow, View
from ..disk.failpoints import reach
from ..disk.making import PART, empty, making, put, remove
from ..disk.paths import absolute, is_free, sync
from ..errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, PlaitError, Unavailable
from ..segments.manifest import MANIFEST, read_manifest
from ..segments.segment import Segment, segment_folder

_TRIES = 20
_LOG = f"{FILE}-wal"

Progress = Callable[[int, int], None]
"""Called after each file as progress(bytes done, bytes in all). What it raises ends the work and leaves nothing behind.
"""


@dataclass(frozen=True)
class Backup:
    """What `list_snapshots` says of a snapshot."""

    name: str
    """Of its folder."""
    seq: int = 0
    """The state that it holds."""
    documents: int = 0
    problem: str = ""
    """Not empty: it cannot be read, and this is why."""


def create_snapshot(collection: Path, target: Path, progress: Progress | None = None) -> int:
    """Copies one consistent state to a new folder, durably. Returns its sequence number.

    Writes go on meanwhile. Segment files are hard links where both folders lie on one file system: they never change,
    so a link is as good as a copy until the disk fails. An unfinished bulk build is not part of a snapshot.

    Args:
        progress: told of the bytes linked or copied. They begin anew where a merge replaced a segment meanwhile.

    Raises:
        AlreadyExists: there is something at the target.
        Unavailable: merges replaced segments faster than they could be copied; or somebody makes the same snapshot.
    """
    collection, target = absolute(collection), absolute(target)
    if target.exists():
        raise AlreadyExists(f"{target} is there already; choose another folder")
    source = Catalog(collection)
    try:
        with making(target) as part:
            for _ in range(_TRIES):
                empty(part)
                if (seq := _copy(source, collection, part, progress)) is not None:
                    reach("snapshot")
                    put(part, target)
                    return seq
        raise Unavailable(f"{collection} was merged {_TRIES} times while it was copied; try again")
    finally:
        source.close()


def restore_snapshot(snapshot: Path, collection: Path, progress: Progress | None = None) -> int:
    """Makes a collection from a snapshot: a full copy, every byte compared with its
    checksum. Returns its sequence number.

    Args:
        progress: told of the bytes copied, then of those of segments compared: each of these counts twice.

    Raises:
        NotFound: no snapshot there, or it was deleted meanwhile.
        AlreadyExists: there is something at the collection's place.
        DataLoss: the snapshot is damaged; nothing is left at the collection's place.
    """
    snapshot, collection = absolute(snapshot), absolute(collection)
    _there(snapshot)
    if not is_free(collection):
        raise AlreadyExists(f"{collection} is there already; choose another folder")
    with making(collection) as part:
        seq = _copy_back(snapshot, part, progress)
        for path in [*part.rglob("*"), part]:
            sync(path)
        if collection.exists():
            shutil.rmtree(collection)  # empty, or what a killed process was making
        reach("restore")
        put(part, collection)
    return seq


def list_snapshots(folder: Path) -> list[Backup]:
    """The snapshots in a folder, by rising name: copies that nobody has written to."""
    found = []
    for path in sorted(path.parent for path in folder.glob(f"*/{FILE}")):
        if path.suffix == PART or (path / LOCK).exists():
            continue
        try:
            found.append(describe_snapshot(path))
        except NotFound:
            continue  # deleted meanwhile
        except PlaitError as error:
            found.append(Backup(path.name, problem=str(error)))
    return found


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
    remove(snapshot)


def _there(snapshot: Path) -> None:
    if not (snapshot / FILE).is_file():
        raise NotFound(f"{snapshot} is no snapshot: it has no {FILE}")


def _copy(source: Catalog, collection: Path, part: Path, progress: Progress | None) -> int | None:
    """The catalog, then the segments that the copy names; None when one of them is gone by now."""
    with source.reading() as view:
        copy(view.db, part / FILE)
    _forget_unfinished(part / FILE)
    catalog = Catalog(part)
    with catalog.reading() as view:
        rows, seq = view.segments(), view.meta("seq")
    catalog.close()
    try:
        sizes = _files(collection, rows)
        count = _counting(progress, (part / FILE).stat().st_size, sum(sizes.values()))
        for file, size in sizes.items():
            (part / file.parent.name).mkdir(exist_ok=True)
            _link(file, part / file.parent.name / file.name)
            count(size)
        for row in rows:
            Segment.open(segment_folder(part, row.number), row.manifest_crc or 0)
            sync(segment_folder(part, row.number))
    except (FileNotFoundError, DataLoss):
        # Merged away since the catalog was copied; if all are still named there, the collection itself is damaged.
        with source.reading() as view:
            if {row.number for row in rows} <= {row.number for row in view.segments()}:
                raise
        return None
    sync(part / FILE)
    sync(part)
    return seq


def _copy_back(snapshot: Path, part: Path, progress: Progress | None) -> int:
    try:
        shutil.copyfile(snapshot / FILE, part / FILE)
        with suppress(FileNotFoundError):  # SQLite's log comes and goes while somebody reads
            shutil.copyfile(snapshot / _LOG, part / _LOG)
        catalog = Catalog(part)
        try:
            with catalog.reading() as view:
                seq = _copy_segments(snapshot, part, view, progress)
                old, meta = view.meta("format") < CHECKED_FORMAT, Schema.of(view).meta
        finally:
            catalog.close()
    except FileNotFoundError:
        _there(snapshot)
        raise
    if old:
        renew(part, meta)
    return seq


def _copy_segments(snapshot: Path, part: Path, view: View, progress: Progress | None) -> int:
    """What the manifests list, and nothing else; every byte is compared."""
    rows = view.segments()
    try:
        sizes = _files(snapshot, rows)
        count = _counting(progress, (part / FILE).stat().st_size, 2 * sum(sizes.values()))
        for file, size in sizes.items():
            (part / file.parent.name).mkdir(exist_ok=True)
            shutil.copyfile(file, part / file.parent.name / file.name)
            count(size)
    except (FileNotFoundError, DataLoss):
        _there(snapshot)
        raise
    for row in rows:
        folder = segment_folder(part, row.number)
        Segment.open(folder, row.manifest_crc or 0).verify()
        count(sum(file.stat().st_size for file in folder.iterdir()))
    return view.meta("seq")


def _files(collection: Path, rows: Sequence[SegmentRow]) -> dict[Path, int]:
    """Every file that these segments' manifests list, the manifests among them, with its size.

    What else lies there is none of the segment's: columns that say nothing, until the writer tidies up.
    """
    files = {}
    for row in rows:
        folder = segment_folder(collection, row.number)
        manifest = read_manifest(folder, row.manifest_crc or 0)
        files[folder / MANIFEST] = (folder / MANIFEST).stat().st_size
        files |= {folder / name: entry.bytes for name, entry in manifest.files.items()}
    return files


def _counting(progress: Progress | None, done: int, left: int) -> Callable[[int], None]:
    """What is told of each file's bytes and tells how many there were by then."""
    total = done + left

    def count(size: int) -> None:
        nonlocal done
        done += size
        if progress:
            progress(done, total)

    count(0)
    return count


def _forget_unfinished(path: Path) -> None:
    db = connect(path)
    try:
        view = View(db, path)
        visible = view.meta("visible")
        db.execute("BEGIN")
        db.execute("DELETE FROM documents WHERE number >= ?", (visible,))
        db.execute("DELETE FROM segments WHERE NOT published")
        put_meta(view, "next", visible)
        db.execute("COMMIT")
    except Error as error:
        raise told(path, error) from error
    finally:
        db.close()


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)
        sync(target)
