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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound, Unavailable

FORMAT = 1
FILE = "catalog.db"

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
_COUNTERS = {"seq": 0, "next": 0, "visible": 0, "sealed": -1, "segment": 0}
REQUIRED = {"format", "dim", "store", *_COUNTERS}
"""Values without which there is no collection."""
_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")
# After one of these a later sync may claim success for pages that were lost: nothing more may be written.
_POISON = (*_DISK, "SQLITE_CORRUPT")

_NUL = re.compile(r"(?<!\\)(\\\\)*\\u0000")
"""The escape of U+0000, not an escaped backslash before such letters."""


@dataclass(frozen=True)
class SegmentRow:
    """What the catalog knows of a segment."""

    number: int
    published: bool
    documents: int
    tokens: int
    staged: dict[str, int]
    """Byte length of each column file at the last commit (empty once published)."""
    manifest_crc: int | None
    drift: float | None
    """Mean distance of its tokens from their nearest centroid, where the store has centroids."""


@dataclass(frozen=True)
class Document:
    """A stored document: the user's id, its collection-wide number, and the payload given with it.

    A document written again under its id gets a new number; numbers are never used twice.
    """

    number: int
    id: str
    payload: dict[str, Any]


class View:
    """One state of the catalog, read over one connection inside one transaction."""

    def __init__(self, db: sqlite3.Connection, path: Path):
        self.db, self.path = db, path

    def meta(self, key: str, default: Any = None) -> Any:
        row = self.db.execute("SELECT value, crc FROM meta WHERE key = ?", (key,)).fetchone()
        if (row is None and key in REQUIRED) or (row is not None and _crc(key, row[0]) != row[1]):
            raise DataLoss(f"{self.path}: {key!r} has changed since it was written; restore it from a copy")
        return default if row is None else json.loads(row[0])

    def resource(self, key: str) -> bytes | None:
        """A binary object that belongs to the collection (projection, statistics, codebook)."""
        row = self.db.execute("SELECT CAST(value AS BLOB), crc FROM resources WHERE key = ?", (key,)).fetchone()
        if row is not None and zlib.crc32(row[0]) != row[1]:
            raise DataLoss(f"{self.path}: {key!r} has changed since it was written; restore it from a copy")
        return None if row is None else row[0]

    def segments(self) -> list[SegmentRow]:
        """All segments in order of their numbers, an unpublished one (if any) among them."""
        rows = self.db.execute("SELECT * FROM segments ORDER BY number")
        try:
            return [SegmentRow(n, bool(p), d, t, json.loads(s), c, f) for n, p, d, t, s, c, f in rows]
        except (TypeError, ValueError) as error:
            raise _damaged(self.path, error) from error

    def count(self, where: str = "1", values: Sequence[Any] = ()) -> int:
        """Documents that are there, or those among them that satisfy an SQL condition."""
        sql = f"SELECT count(*) FROM documents WHERE +number < ? AND ({where})"
        return int(self.db.execute(sql, (self.meta("visible"), *values)).fetchone()[0])

    def numbers(self, where: str, values: Sequence[Any] = ()) -> np.ndarray:
        """(n,) int64 rising numbers of the documents that satisfy an SQL condition."""
        # The plus keeps SQLite from walking row numbers where an index of a declared field would do.
        sql = f"SELECT number FROM documents WHERE +number < ? AND ({where})"
        found = self.db.execute(sql, (self.meta("visible"), *values)).fetchall()
        return np.sort(np.array(found, np.int64).reshape(-1))

    def page(self, after: str, limit: int, where: str = "1", values: Sequence[Any] = ()) -> list[Document]:
        """Documents by rising id, from the first whose id is greater than `after`."""
        sql = f"SELECT * FROM documents WHERE id > ? AND number < ? AND ({where}) ORDER BY id LIMIT ?"
        return [self._document(row) for row in self.db.execute(sql, (after, self.meta("visible"), *values, limit))]

    def by_number(self, numbers: Sequence[int] | np.ndarray) -> list[Document]:
        """The documents with these numbers, in this order. DataLoss: a segment names one that the catalog lacks."""
        wanted = [int(n) for n in numbers]
        found = {d.number: d for d in self._where("number", wanted)}
        lost = [n for n in wanted if n not in found]
        if lost:
            raise DataLoss(
                f"{self.path} has no document number {lost[0]}, which a segment holds; restore it from a copy"
            )
        return [found[n] for n in wanted]

    def by_ids(self, ids: Sequence[str]) -> dict[str, Document]:
        """Those of the documents that are there, by id."""
        visible = self.meta("visible")
        return {d.id: d for d in self._where("id", list(ids)) if d.number < visible}

    def by_id(self, id: str) -> Document:
        """NotFound: no document has this id."""
        found = self.by_ids([id])
        if not found:
            raise NotFound(f"no document has the id {id!r}")
        return found[id]

    def staged_ids(self) -> list[str]:
        """The ids of the documents that an unfinished bulk build has added, in order."""
        rows = self.db.execute("SELECT id FROM documents WHERE number >= ? ORDER BY number", (self.meta("visible"),))
        return [row[0] for row in rows]

    def growing(self, after: int = -1) -> list[tuple[int, bytes]]:
        """Numbers and packed tokens of fresh documents with a greater number, rising."""
        return self.db.execute(
            "SELECT number, CAST(tokens AS BLOB) FROM growing WHERE number > ? ORDER BY number", (after,)
        ).fetchall()

    def growing_size(self) -> tuple[int, int, float | None]:
        """Fresh documents, their tokens, and when the oldest was added (seconds since 1970)."""
        return self.db.execute("SELECT count(*), coalesce(sum(length), 0), min(added) FROM growing").fetchone()

    def tombstones(self, after: int = -1) -> np.ndarray:
        """(n,) int64 rising numbers of documents that died in a transaction later than `after`."""
        return self._integers("SELECT number FROM tombstones WHERE seq > ? ORDER BY number", (after,))

    def _integers(self, sql: str, values: Sequence[Any]) -> np.ndarray:
        try:
            return np.array(self.db.execute(sql, values).fetchall(), np.int64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise _damaged(self.path, error) from error

    def _where(self, column: str, values: list[Any]) -> Iterator[Document]:
        for start in range(0, len(values), 500):
            some = values[start : start + 500]
            marks = ",".join("?" * len(some))
            for row in self.db.execute(f"SELECT * FROM documents WHERE {column} IN ({marks})", some):
                yield self._document(row)

    def _document(self, row: tuple[int, str, str | None, int]) -> Document:
        number, id, payload, crc = row
        if _crc(number, id, payload or "") != crc:
            raise DataLoss(f"{self.path}: document {id!r} has changed since it was written; restore it from a copy")
        return Document(number, id, json.loads(payload) if payload else {})


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
        pairs = {"format": FORMAT, **_COUNTERS, **meta}.items()
        with db:
            db.executescript("BEGIN;" + _SCHEMA + "".join(f"{sql};" for sql in indexes))
            for key, value in pairs:
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
            raise _damaged(self.path, error) from error
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
            except sqlite3.DatabaseError as error:
                self._abandon(db, error)
                raise _damaged(self.path, error) from error
            except BaseException as error:
                self._abandon(db, error)
                raise

    @contextmanager
    def files(self) -> Iterator[None]:
        """A block that writes files of a segment. Unavailable: the disk is full or fails, now or since an earlier write."""
        self._refuse_after_failure()
        try:
            yield
        except OSError as error:
            self.fail(str(error))
            raise Unavailable(
                f"{self.path.parent} cannot be written ({error}); look at the disk, open it again"
            ) from error

    def _refuse_after_failure(self) -> None:
        if self.failure:
            raise Unavailable(
                f"{self.path.parent} is read-only here since a write failed ({self.failure}); open it again"
            )

    def _abandon(self, db: sqlite3.Connection, error: BaseException) -> None:
        if isinstance(error, sqlite3.Error) and (error.sqlite_errorname or "").startswith(_POISON):
            self.fail(f"{error.sqlite_errorname}: {error}")
        try:
            db.rollback()
        except sqlite3.Error as second:
            self.fail(str(second))

    def fail(self, reason: str) -> None:
        """Makes this process read-only: what is on the disk is whole, what comes next might not be."""
        self.failure = self.failure or reason
        if self._writer:
            # Closing drops the unfinished transaction, even where a rollback cannot write.
            self._writer.close()
            self._writer = None


def put_meta(view: View, key: str, value: Any) -> None:
    text = json.dumps(value)
    view.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, text, _crc(key, text)))


def put_resource(view: View, key: str, value: bytes) -> None:
    view.db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?)", (key, value, zlib.crc32(value)))


def put_documents(view: View, documents: Iterable[Document]) -> None:
    """Inserts documents. AlreadyExists names the first id that is taken."""
    for d in documents:
        payload = _json(d)
        row = d.number, d.id, payload, _crc(d.number, d.id, payload or "")
        try:
            view.db.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            raise AlreadyExists(f"the id {d.id!r} occurs twice; ids must be unique in a collection") from None


def put_payload(view: View, document: Document) -> None:
    """Replaces the payload of a document that is there."""
    payload = _json(document)
    crc = _crc(document.number, document.id, payload or "")
    view.db.execute("UPDATE documents SET payload = ?, crc = ? WHERE number = ?", (payload, crc, document.number))


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
    row = number, documents, tokens, crc, drift
    view.db.execute("INSERT INTO segments VALUES (?, 1, ?, ?, '{}', ?, ?)", row)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    # Text that is no longer UTF-8 must reach the checksums, which name what is damaged.
    db.text_factory = _text
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        db.close()
        raise _damaged(path, error) from error
    return db


def _text(text: bytes) -> str:
    return text.decode(errors="replace")


def _close_all(connections: list[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _damaged(path: Path, error: Exception) -> Exception:
    name = getattr(error, "sqlite_errorname", None) or ""
    if name.startswith("SQLITE_BUSY"):
        return Unavailable(f"{path} is held by another process for longer than 30 s; try again")
    if name.startswith(_DISK):
        return Unavailable(f"{path} cannot be read or written ({name}: {error}); look at the disk, then try again")
    return DataLoss(f"{path} is damaged ({error}); restore it from a copy")


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


def _crc(*values: object) -> int:
    return zlib.crc32("\0".join(map(str, values)).encode())
