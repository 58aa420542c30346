"""The catalog: one SQLite file that holds documents, fresh writes, tombstones, the list of segments and the parameters.

Its transactions are the only commit points of a collection: a write, a segment folder or a staged batch exists when, and
only when, a committed row says so. Every transaction raises the sequence number `seq`.
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .descriptors import at_limit
from .errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from .view import COUNTERS, DISK, Document, View, checksum, damaged

FORMAT = 4
TERMS_FORMAT, FULL_FORMAT, FIELDS_FORMAT = 2, 3, 4
"""Collections with terms, those with a global vector, contextual lists or another precision than float16, and those with named
term fields have these formats; all others keep format 1, which every plait reads."""
FILE = "catalog.db"
LOCK = "writer.lock"
"""Beside it, of every collection that was ever written to; who holds it writes."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE resources (key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, published INTEGER NOT NULL, documents INTEGER NOT NULL, tokens INTEGER NOT NULL,
    staged TEXT NOT NULL, manifest_crc INTEGER, drift REAL);
CREATE TABLE documents (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, payload TEXT, crc INTEGER NOT NULL);
CREATE TABLE growing (number INTEGER PRIMARY KEY, added REAL NOT NULL, length INTEGER NOT NULL, tokens BLOB NOT NULL);
CREATE TABLE tombstones (number INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
CREATE INDEX tombstones_seq ON tombstones (seq);
"""
_PENDING = (
    "CREATE TABLE IF NOT EXISTS pending (number INTEGER PRIMARY KEY)",
    # Not a line of `bury`: a plait that knows no such table keeps it right as well, so that the format need not rise.
    "CREATE TRIGGER IF NOT EXISTS pending_gone AFTER DELETE ON documents "
    "BEGIN DELETE FROM pending WHERE number = old.number; END",
)
"""Made by the first write that defers something: documents that wait for what a model computes of them."""
# After one of these a later sync may claim success for pages that were lost: nothing more may be written.
_POISON = (*DISK, "SQLITE_CORRUPT")

_BUSY_MS, _RECOVER_MS = 30_000, 1_000
"""How long a transaction waits for those of others, and a recovery for readers."""

_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")
"""The escape of U+0000, not an escaped backslash before such letters."""


class Catalog:
    """Opens views for any number of threads and transactions for one at a time."""

    def __init__(self, folder: Path):
        self.path = folder / FILE
        if not self.path.is_file():
            raise NotFound(f"{folder} is no plait collection: it has no {FILE}")
        self._idle: list[sqlite3.Connection] = []
        self._opened: list[sqlite3.Connection] = []
        weakref.finalize(self, _close_all, self._opened)
        self._write_lock = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self.failure: str | None = None
        """Why this process may write no more; None: it may."""
        self.building = False
        """Whether a bulk write of this process is under way."""
        self.discarding = False
        """Whether what a bulk write staged was discarded, and the disk has not taken that yet."""
        with self.reading() as view:
            stored = view.meta("format")
        if stored > FORMAT:
            raise FailedPrecondition(f"{folder} has format {stored}, this plait reads up to {FORMAT}: upgrade plait")

    @classmethod
    def create(cls, folder: Path, meta: dict[str, Any], indexes: Sequence[str] = ()) -> Catalog:
        """Makes an empty collection. `indexes`: SQL of further indexes. AlreadyExists: there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FILE).exists():
            raise AlreadyExists(f"{folder} already holds a collection; open it, or choose another folder")
        db = _connect(folder / FILE)
        with db:
            db.executescript("BEGIN;" + _SCHEMA + "".join(f"{sql};" for sql in indexes))
            for key, value in {"format": 1, **COUNTERS, **meta}.items():
                put_meta(View(db, folder / FILE), key, value)
        db.close()
        return cls(folder)

    def close(self) -> None:
        self._idle, self._writer = [], None
        _close_all(self._opened)

    def _connect(self) -> sqlite3.Connection:
        db = _connect(self.path)
        self._opened.append(db)
        return db

    @contextmanager
    def reading(self) -> Iterator[View]:
        """One consistent state for as long as the block runs. DataLoss: SQLite finds the file damaged."""
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._connect()
        try:
            db.execute("BEGIN")
            yield View(db, self.path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # SQLite's own messages quote what it found in the file, UTF-8 or not.
            raise damaged(self.path, error) from error
        finally:
            if db.in_transaction:
                db.rollback()
            self._idle.append(db)

    @contextmanager
    def writing(self, durable: bool = True) -> Iterator[View]:
        """One transaction: all of it when the block ends, or none of it.

        Args:
            durable: on the disk when the block ends. Otherwise the system may lose it when the machine (not this
                process) dies; it is faster.

        Raises:
            Unavailable: an earlier write failed on the disk; this process has been read-only since.
        """
        with self._write_lock:
            self._refuse_after_failure()
            db = self._writer = self._writer or self._connect()
            try:
                db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                db.execute("BEGIN IMMEDIATE")
                view = View(db, self.path)
                yield view
                put_meta(view, "seq", view.meta("seq") + 1)
                db.commit()
            except BaseException as error:
                self._abandon(db, error)
                if isinstance(error, sqlite3.DatabaseError):
                    raise damaged(self.path, error) from error
                raise

    @contextmanager
    def files(self) -> Iterator[None]:
        """A block that writes files of a segment.

        Unavailable: the disk is full or fails, now or since an earlier write; or this process may open no file more,
        which passes when others are closed.
        """
        self._refuse_after_failure()
        try:
            yield
        except OSError as error:
            if limit := at_limit(error):
                raise limit from error
            self.fail(str(error))
            raise Unavailable(f"{self.path.parent} cannot be written ({error}); look at the disk") from error

    def _refuse_after_failure(self) -> None:
        if self.failure:
            why = f"{self.path.parent} is read-only here since a write failed ({self.failure})"
            raise Unavailable(f"{why}; open it again when the disk takes writes (a server does so by itself)")

    def _abandon(self, db: sqlite3.Connection, error: BaseException) -> None:
        if isinstance(error, sqlite3.Error) and (error.sqlite_errorname or "").startswith(_POISON):
            self.fail(f"{error.sqlite_errorname}: {error}")
        try:
            db.rollback()
        except sqlite3.Error as second:
            self.fail(str(second))

    def recover(self) -> None:
        """Lets this process write again. The log may hold pages that no disk has, whatever a later sync says: all of it is written
        to the file anew, and that synced, before anything else is.

        Raises:
            Unavailable: the disk still fails, or somebody reads for long. DataLoss: the file is damaged.
        """
        with self._write_lock:
            if not self.failure:
                return
            if self.failure.startswith("SQLITE_CORRUPT"):
                raise DataLoss(f"{self.path} is damaged ({self.failure}); restore it from a copy")
            db = self._connect()
            try:
                db.execute(f"PRAGMA busy_timeout = {_RECOVER_MS}")
                (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                db.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                if busy:
                    raise Unavailable(
                        f"{self.path.parent} is being read, and its log cannot begin anew meanwhile; try again"
                    )
                self._writer, self.failure = db, None
            except sqlite3.Error as error:
                raise Unavailable(f"{self.path.parent} still cannot be written ({error}); look at the disk") from error
            finally:
                if self._writer is not db:
                    db.close()

    def fail(self, reason: str) -> None:
        """Makes this process read-only: what is on the disk is whole, what comes next might not be."""
        self.failure = self.failure or reason
        if self._writer:
            # Closing drops the unfinished transaction, even where a rollback cannot write.
            self._writer.close()
            self._writer = None


def put_meta(view: View, key: str, value: Any) -> None:
    text = json.dumps(value)
    view.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, text, checksum(key, text)))


def put_resource(view: View, key: str, value: bytes) -> None:
    view.db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?)", (key, value, zlib.crc32(value)))


def put_documents(view: View, documents: Iterable[Document]) -> None:
    """Inserts documents. AlreadyExists names the first id that is taken."""
    for d in documents:
        payload = _json(d)
        row = d.number, d.id, payload, checksum(d.number, d.id, payload or "")
        try:
            view.db.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise AlreadyExists(f"the id {d.id!r} occurs twice; ids must be unique in a collection") from None


def put_payload(view: View, document: Document) -> None:
    """Replaces the payload of a document that is there."""
    payload = _json(document)
    crc = checksum(document.number, document.id, payload or "")
    view.db.execute("UPDATE documents SET payload = ?, crc = ? WHERE number = ?", (payload, crc, document.number))


def put_pending(view: View, numbers: Iterable[int]) -> None:
    """Documents wait from now on, until they are written again or deleted."""
    for sql in _PENDING:
        view.db.execute(sql)
    view.db.executemany("INSERT INTO pending VALUES (?)", [(n,) for n in numbers])


def allocate(view: View, count: int) -> range:
    """The next document numbers."""
    first = view.meta("next")
    put_meta(view, "next", first + count)
    return range(first, first + count)


def next_segment(catalog: Catalog) -> int:
    """A segment number that no reader can have seen: like those of documents, they are never used twice."""
    with catalog.writing() as view:
        number = view.meta("segment") + 1
        put_meta(view, "segment", number)
    return number


def bury(view: View, numbers: Sequence[int]) -> None:
    """Documents die: their rows and fresh tokens go, a tombstone hides what a segment still holds. O(1) for each."""
    seq, rows = view.meta("seq") + 1, [(n,) for n in numbers]
    view.db.executemany("DELETE FROM documents WHERE number = ?", rows)
    view.db.executemany("DELETE FROM growing WHERE number = ?", rows)
    view.db.executemany("INSERT INTO tombstones VALUES (?, ?)", [(n, seq) for n in numbers])


def put_segment(view: View, number: int, documents: int, tokens: int, crc: int, drift: float | None) -> None:
    """A sealed segment becomes part of the collection."""
    view.db.execute("INSERT INTO segments VALUES (?, 1, ?, ?, '{}', ?, ?)", (number, documents, tokens, crc, drift))


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    # Text that is no longer UTF-8 must reach the checksums, which name what is damaged.
    db.text_factory = lambda text: text.decode(errors="replace")
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        db.close()
        raise damaged(path, error) from error
    return db


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _json(document: Document) -> str | None:
    """A payload as strict JSON, which SQLite's own functions can read. InvalidArgument: it is none."""
    if not document.payload:
        return None
    try:
        text = json.dumps(document.payload, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"the payload of document {document.id!r} is no JSON: {error}") from None
    if _NUL.search(text):
        raise InvalidArgument(f"the payload of document {document.id!r} holds U+0000, at which SQLite would cut it")
    return text
