"""The catalog: one SQLite file that holds documents, fresh writes, tombstones, the list of segments and the parameters.

Its transactions are the only commit points of a collection: a write, a segment folder or a staged batch exists when,
and only when, a committed row says so. Every transaction raises the sequence number `seq`.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ..disk.descriptors import at_limit
from ..disk.failpoints import reach
from ..disk.paths import founding
from ..errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, PlaitError, Unavailable
from ..payload import encoded
from .connections import Connections, Loan
from .database import DAMAGE, Conflict, Error, add_checksums, checkpoint, code, connect, has_checksums, poisons, told
from .unwritable import Unwritable
from .view import COUNTERS, Document, View, checksum
from .write_ahead import WriteAheadLog

FORMAT = 5
TERMS_FORMAT, FULL_FORMAT, FIELDS_FORMAT, CHECKED_FORMAT = 2, 3, 4, 5
"""What new collections have: checksums on the catalog's pages (5). Older ones have the format that they were made with:
with named term fields 4; with a global vector, contextual lists or another precision than float16 3; with terms 2;
otherwise 1."""
FILE = "catalog.db"
LOCK = "writer.lock"
"""Beside it, of every collection that was ever written to; who holds it writes (index/catalog/lock.py)."""
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
_RECOVER_MS = 1_000
"""How long a recovery waits for readers."""


class Catalog:
    """Opens views for any number of threads and transactions for one at a time."""

    def __init__(self, folder: Path):
        self.path = Path(os.path.abspath(folder)) / FILE
        if not self.path.is_file():
            raise NotFound(f"{folder} is no plait collection: it has no {FILE}")
        self._writable = os.access(self.path.parent, os.W_OK)
        opener = partial(connect, self.path) if self._writable else Unwritable(self.path).connect
        self._connections = Connections(self.path, opener)
        self._log = WriteAheadLog(self.path)
        self._write_lock = threading.RLock()
        self.failure: str | None = None
        """Why this process may write no more; None: it may."""
        self.written = -1
        """The sequence number of the last transaction through this handle; -1: there was none."""
        self.building = False
        """Whether a bulk write of this process is under way."""
        with self.reading() as view:
            stored = view.meta("format")
            if stored > FORMAT:
                raise FailedPrecondition(
                    f"{folder} has format {stored}, this plait reads up to {FORMAT}: upgrade plait"
                )
            if stored >= CHECKED_FORMAT and not has_checksums(view.db):
                raise DataLoss(f"{self.path}: its header says that pages have no checksums; restore it from a copy")

    @classmethod
    def create(cls, folder: Path, meta: dict[str, Any], indexes: Sequence[str] = ()) -> Catalog:
        """Makes an empty collection in a new or empty folder. `indexes`: SQL of further indexes.

        A process that is killed meanwhile leaves a whole collection, or a folder in which the next can make one.

        Raises:
            AlreadyExists: the folder holds something.
        """
        with founding(Path(os.path.abspath(folder)), FILE) as draft:
            db = connect(draft, new=True)
            try:
                db.execute("BEGIN;" + _SCHEMA + "".join(f"{sql};" for sql in indexes))
                for key, value in {"format": CHECKED_FORMAT, **COUNTERS, **meta}.items():
                    put_meta(View(db, draft), key, value)
                db.execute("COMMIT")
            except Error as error:
                raise told(draft, error) from error
            finally:
                db.close()
        return cls(folder)

    def close(self, wait_s: float | None = None) -> bool:
        """Everything that comes now is refused. Waits for what other threads read and write
        here; whether all of it has ended.

        Args:
            wait_s: the longest wait; None: as long as it takes. What goes on after that ends undisturbed.
        """
        return self._connections.close(wait_s)

    @property
    def closed(self) -> bool:
        """Whether `close` was called: nothing is read or written here any more."""
        return self._connections.closed

    @contextmanager
    def reading(self) -> Iterator[View]:
        """One consistent state for as long as the block runs.

        Raises:
            DataLoss: SQLite finds the file damaged. FailedPrecondition: the collection was closed.
        """
        with self._connections.lent() as loan:
            try:
                loan.db.execute("BEGIN")
                yield View(loan.db, self.path)
            except (Error, UnicodeDecodeError) as error:
                # SQLite's own messages quote what it found in the file, UTF-8 or not.
                raise told(self.path, error) from error

    @contextmanager
    def writing(self, durable: bool = True) -> Iterator[View]:
        """One transaction: all of it when the block ends, or none of it.

        Args:
            durable: on the disk when the block ends. Otherwise the system may lose it when the machine (not this
                process) dies; it is faster.

        Raises:
            Unavailable: an earlier write failed on the disk; this process has been read-only since. Or another process
                writes. Or this one failed: `done` says whether it may be there all the same.
            FailedPrecondition: the collection was closed, or its folder cannot be written to.
        """
        self.refuse_to_write()
        reach("commit.begin")
        committing = False
        with self._write_lock, self._connections.lent(writing=True) as loan:
            self._refuse_after_failure(loan)
            try:
                loan.db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._log.watch(loan.db)
                loan.db.execute("BEGIN IMMEDIATE")
                view = View(loan.db, self.path)
                yield view
                seq = view.meta("seq") + 1
                put_meta(view, "seq", seq)
                # Another thread may have found the disk failing since this began.
                self._refuse_after_failure(loan)
                reach("commit")
                committing = True
                loan.db.execute("COMMIT")
            except BaseException as error:
                self._abandon(loan, error)
                if isinstance(error, (Error, UnicodeDecodeError)):
                    raise _uncertain(told(self.path, error), committing) from error
                raise
            self.written = seq
            if failure := self._log.committed(loan.db):
                self.fail(failure)
        reach("commit.end")

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

    def refuse_to_write(self) -> None:
        """What no write through this handle can pass. Errors: those of `writing` that last."""
        self._connections.refuse_closed()
        if self._connections.forked:
            raise Unavailable(
                f"{self.path.parent} was opened before this process was forked, and only the parent may write through that; "
                "open it again in the child, or start processes with the method spawn"
            )
        if not self._writable:
            raise FailedPrecondition(
                f"{self.path.parent} is read-only for this process (permissions, or how it is mounted), and was opened to be "
                "searched alone; to write, copy it to a folder of your own"
            )

    def refuse_long_log(self) -> None:
        """Keeps documents out while SQLite's log is as long as it may get. Unavailable names who holds it."""
        if self._log.too_long:
            with self._write_lock, self._connections.lent(writing=True) as loan:
                self._log.refuse(loan.db)

    def log_stats(self) -> dict[str, Any]:
        """`bytes` of SQLite's log on the disk; `oldest_read_s`: for how long the oldest read of this process has held
        its state."""
        return self._log.stats()

    def _refuse_after_failure(self, loan: Loan | None = None) -> None:
        if self.failure:
            if loan:
                # Whoever finds the disk failing only says so: a connection is closed by the thread that has it.
                loan.broken = True
            why = f"{self.path.parent} is read-only here since a write failed ({self.failure})"
            raise Unavailable(f"{why}; open it again when the disk takes writes (a server does so by itself)")

    def _abandon(self, loan: Loan, error: BaseException) -> None:
        if poisons(error):
            self.fail(f"{code(error)}: {error}")
        try:
            if loan.db.in_transaction:
                loan.db.execute("ROLLBACK")
        except Error as second:
            self.fail(str(second))
        # Closing drops an unfinished transaction, even where a rollback cannot write.
        loan.broken = self.failure is not None

    def recover(self) -> None:
        """Lets this process write again. The log may hold pages that no disk has, whatever a later sync says: all of it
        is written to the file anew, and that synced, before anything else is.

        Raises:
            Unavailable: the disk still fails, or somebody reads for long. DataLoss: the file is damaged.
        """
        with self._write_lock:
            if not self.failure:
                return
            if self.failure.startswith(DAMAGE):
                raise DataLoss(f"{self.path} is damaged ({self.failure}); restore it from a copy")
            self._connections.close_writer()
            with self._connections.lent(writing=True) as loan:
                try:
                    emptied = checkpoint(loan.db, _RECOVER_MS)
                except Error as error:
                    loan.broken = True
                    raise Unavailable(
                        f"{self.path.parent} still cannot be written ({error}); look at the disk"
                    ) from error
                if not emptied:
                    raise Unavailable(
                        f"{self.path.parent} is being read, and its log cannot begin anew meanwhile; try again"
                    )
            self.failure = None

    def fail(self, reason: str) -> None:
        """Makes this process read-only: what is on the disk is whole, what comes next might not be."""
        self.failure = self.failure or reason


def renew(folder: Path, meta: dict[str, Any]) -> None:
    """Writes an older catalog as one of today's format, with checksums on its pages. Nobody else may have it open.

    Args:
        meta: what says in today's format what the collection is made of (`Schema.meta`).
    """
    path = Path(os.path.abspath(folder)) / FILE
    db = connect(path)
    try:
        db.execute("BEGIN")
        for key, value in meta.items():
            put_meta(View(db, path), key, value)
        db.execute("COMMIT")
        add_checksums(db)
    except Error as error:
        raise told(path, error) from error
    finally:
        db.close()


def put_meta(view: View, key: str, value: Any) -> None:
    text = json.dumps(value)
    view.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, text, checksum(key, text)))


def put_resource(view: View, key: str, value: bytes) -> None:
    view.db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?)", (key, value, zlib.crc32(value)))


def put_documents(view: View, documents: Iterable[Document]) -> None:
    """Inserts documents. AlreadyExists names the first id that is taken."""
    for d in documents:
        payload = encoded(d.id, d.payload)
        row = d.number, d.id, payload, checksum(d.number, d.id, payload or "")
        try:
            view.db.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", row)
        except Conflict:
            raise AlreadyExists(f"the id {d.id!r} occurs twice; ids must be unique in a collection") from None


def put_payload(view: View, document: Document) -> None:
    """Replaces the payload of a document that is there."""
    payload = encoded(document.id, document.payload)
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


def _uncertain(error: PlaitError | Exception, committing: bool) -> Exception:
    """The error of a transaction, which says so where the transaction may be on the disk all the same."""
    if not committing or not isinstance(error, Unavailable):
        return error
    uncertain = Unavailable(f"{error}. Whether this write was done shows when the collection is opened again")
    uncertain.done = None
    return uncertain
