"""SQLite through APSW, which brings its own version of it: how connections are opened,
and what errors mean to a caller.

Nothing else opens a catalog. Two libraries in one process that have the same file open drop each other's locks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import apsw
import apsw.sqlite_extra
from apsw import Connection, Error
from apsw import ConstraintError as Conflict

from ..disk.descriptors import met_limit
from ..errors import DataLoss, FailedPrecondition, InvalidArgument, PlaitError, Unavailable

__all__ = [
    "BUSY_MS",
    "DAMAGE",
    "LOG_KEPT",
    "VERSION",
    "Conflict",
    "Connection",
    "Error",
    "add_checksums",
    "checkpoint",
    "code",
    "connect",
    "copy",
    "has_checksums",
    "on_commit",
    "poisons",
    "problem",
    "temporary",
    "told",
]

VERSION = apsw.sqlite_lib_version()
BUSY_MS = 30_000
"""How long a transaction waits for those of others."""
LOG_KEPT = 16 << 20
"""Bytes to which the log's file is cut when it begins anew."""

PAGE = 4096
_RESERVED = 8
"""Bytes at the end of every page, where its checksum is."""
_SOUND = (3, 51, 3)
_EXTENSION, _VFS = "cksumvfs", "cksmvfs"
DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR_DATA", "SQLITE_IOERR_CORRUPTFS")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")


def connect(path: Path, *, new: bool = False, immutable: bool = False) -> Connection:
    """A connection to a catalog, in the mode in which one writes while many read.

    Args:
        path: absolute, or SQLite would look for the log in what is the working directory by then.
        new: the file is made, with checksums on its pages.
        immutable: nobody changes the file for as long as it is open. SQLite then makes no files
            beside it and takes no locks.

    Raises:
        DataLoss: the file is damaged. Unavailable: it cannot be read now.
            FailedPrecondition: this APSW lacks the checksums.
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if new else 0)
    name = str(path)
    if immutable:
        flags, name = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI, f"{path.as_uri()}?immutable=1"
    db = None
    try:
        db = Connection(name, flags=flags, vfs=_checksums())
        db.set_busy_timeout(BUSY_MS)
        if new:
            db.reserve_bytes("main", _RESERVED)
        if not immutable:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute(f"PRAGMA journal_size_limit = {LOG_KEPT}")
    except (Error, UnicodeDecodeError) as error:
        if db:
            db.close()
        raise told(path, error) from error
    return db


def temporary() -> Connection:
    """A database of its own that SQLite keeps in a nameless temporary file, without
    transactions that anybody waits for."""
    db = Connection("")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA journal_mode = OFF")
    return db


def has_checksums(db: Connection) -> bool:
    """Whether every page of its file ends in a checksum, which is compared whenever the page is read."""
    return db.reserve_bytes("main") == _RESERVED and db.execute("PRAGMA checksum_verification").get == "1"


def add_checksums(db: Connection) -> None:
    """Writes the file anew with checksums on its pages. Nobody else may have it open, and this connection must be
    closed next."""
    db.reserve_bytes("main", _RESERVED)
    db.execute("VACUUM")
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def copy(source: Connection, target: Path) -> None:
    """Makes a new file of the state that a connection reads: page by page, so that it has
    checksums if the source has."""
    try:
        db = Connection(str(target), vfs=_checksums())
        try:
            with db.backup("main", source, "main") as backup:
                backup.step()
        finally:
            db.close()
    except Error as error:
        raise told(target, error) from error


def checkpoint(db: Connection, wait_ms: int | None = None) -> bool:
    """Moves pages from the log to the file. Whether the log is empty now, or begins anew with the next write.

    Args:
        wait_ms: how long to wait for readers that need the log; then it is cut to nothing. None: waits for nobody, and
            moves what it can.
    """
    if wait_ms is None:
        pages, moved = db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return pages == moved
    db.set_busy_timeout(wait_ms)
    try:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        return True
    except apsw.BusyError:
        return False
    finally:
        db.set_busy_timeout(BUSY_MS)


def on_commit(db: Connection, told: Callable[[int], None]) -> None:
    """Calls `told` after each transaction with the bytes of the log. SQLite then moves
    no pages to the file by itself."""

    def hook(_: Connection, __: str, pages: int) -> int:
        told(pages * PAGE)
        return apsw.SQLITE_OK

    db.set_wal_hook(hook)


def code(error: BaseException) -> str:
    """SQLite's name of an error, `SQLITE_IOERR_DATA`; empty: the error is not SQLite's."""
    number = getattr(error, "extendedresult", 0)
    name = apsw.mapping_extended_result_codes.get(number) or apsw.mapping_result_codes.get(number & 0xFF, "")
    return name if isinstance(error, Error) and number else ""  # type: ignore[return-value]


def poisons(error: BaseException) -> bool:
    """Whether a write must be the last: after this error a later sync may claim success for pages that were lost."""
    return code(error).startswith((*_DISK, *DAMAGE))


def told(path: Path, error: Exception) -> PlaitError | Exception:
    """An error of SQLite, or of what it read, as plait's own: by what the caller can do."""
    name = code(error)
    if name.startswith(DAMAGE):
        return DataLoss(f"{path} is damaged ({error}: {name}); restore it from a copy")
    if name.startswith(_BUSY):
        return Unavailable(f"{path} is held by another process for longer than {BUSY_MS // 1000} s; try again")
    if name.startswith("SQLITE_CANTOPEN") and (limit := met_limit()):
        return limit
    if name.startswith(_DISK):
        return Unavailable(f"{path} cannot be read or written ({name}: {error}); look at the disk, then try again")
    if name == "SQLITE_NOMEM":
        return Unavailable(f"{path}: SQLite got no memory; free some, then try again")
    if name == "SQLITE_TOOBIG":
        return InvalidArgument(f"{path}: a value has more than SQLite's 1,000,000,000 bytes; write smaller documents")
    if isinstance(error, Error) and not name:
        return error  # a fault of plait's own, such as a connection in two threads
    return DataLoss(f"{path} is damaged ({error}); restore it from a copy")


def problem() -> str | None:
    """What is wrong with this SQLite; None: nothing."""
    try:
        _checksums()
    except FailedPrecondition as error:
        return str(error)
    if tuple(map(int, VERSION.split("."))) < _SOUND:
        return f"APSW uses SQLite {VERSION}, which can damage a catalog when its log begins anew (mended in 3.51.3)"
    return None


@cache
def _checksums() -> str:
    """The name under which SQLite knows the file layer that computes and compares checksums of pages."""
    db = Connection(":memory:")
    try:
        apsw.sqlite_extra.load(db, _EXTENSION)
    except (Error, LookupError, apsw.sqlite_extra.NotAvailable) as error:
        raise FailedPrecondition(
            f"this APSW ({apsw.apsw_version()}) cannot load SQLite's extension {_EXTENSION} ({error}), which checks the "
            "pages of catalog.db; install one from PyPI: pip install --force-reinstall --only-binary=:all: apsw"
        ) from None
    finally:
        db.close()
    return _VFS
