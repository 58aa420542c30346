"""The catalog: one SQLite file that holds documents, the list of segments and the collection's parameters.

Its transactions are the only commit points of a collection: a segment folder or a staged batch exists when, and only
when, a committed row says so.
"""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, Unavailable

FORMAT = 1
FILE = "catalog.db"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE resources (key TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, published INTEGER NOT NULL, documents INTEGER NOT NULL, tokens INTEGER NOT NULL,
    staged TEXT NOT NULL, manifest_crc INTEGER);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, segment INTEGER NOT NULL REFERENCES segments, payload TEXT);
CREATE INDEX documents_segment ON documents (segment);
"""


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


@dataclass(frozen=True)
class Document:
    """A stored document: the user's id, its collection-wide number, and the payload given with it."""

    number: int
    id: str
    payload: dict[str, Any]


class Catalog:
    """An open catalog. Reads may come from any thread; writes happen inside `write()`, under the collection's lock."""

    def __init__(self, folder: Path):
        path = folder / FILE
        if not path.is_file():
            raise NotFound(f"{folder} is no plait collection: it has no {FILE}")
        self.path = path
        self._db = _connect(path)
        try:
            stored = self.meta("format")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise DataLoss(f"{path} is damaged ({error}); restore it from a copy") from None
        if stored > FORMAT:
            raise FailedPrecondition(f"{folder} has format {stored}, this plait reads up to {FORMAT}: upgrade plait")

    @classmethod
    def create(cls, folder: Path, meta: dict[str, Any]) -> Catalog:
        """Makes an empty collection. AlreadyExists: there is one."""
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / FILE).exists():
            raise AlreadyExists(f"{folder} already holds a collection; open it, or choose another folder")
        db = _connect(folder / FILE)
        with db:
            db.executescript("BEGIN;" + _SCHEMA)
            pairs = {"format": FORMAT, **meta}.items()
            db.executemany("INSERT INTO meta VALUES (?, ?)", [(k, json.dumps(v)) for k, v in pairs])
        db.close()
        return cls(folder)

    def close(self) -> None:
        self._db.close()

    def meta(self, key: str, default: Any = None) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return default if row is None else json.loads(row[0])

    def resource(self, key: str) -> bytes | None:
        """A binary object that belongs to the collection (projection, statistics, codebook)."""
        row = self._db.execute("SELECT value FROM resources WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def resource_bytes(self) -> int:
        return int(self._db.execute("SELECT coalesce(sum(length(value)), 0) FROM resources").fetchone()[0])

    def segments(self) -> list[SegmentRow]:
        """All segments in order of their numbers, the unpublished one (if any) last."""
        rows = self._db.execute(
            "SELECT number, published, documents, tokens, staged, manifest_crc FROM segments ORDER BY number"
        )
        return [SegmentRow(n, bool(p), d, t, json.loads(s), c) for n, p, d, t, s, c in rows]

    def state(self) -> int:
        """Changes whenever another connection has committed; equal values mean nothing is new."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def by_number(self, numbers: Sequence[int] | np.ndarray) -> list[Document]:
        """The documents with these numbers, in this order. DataLoss: a segment names one that the catalog lacks."""
        found: dict[int, Document] = {}
        wanted = [int(n) for n in numbers]
        for some in _slices(wanted, 500):
            marks = ",".join("?" * len(some))
            for n, i, p in self._db.execute(
                f"SELECT number, id, payload FROM documents WHERE number IN ({marks})", some
            ):
                found[n] = Document(n, i, json.loads(p) if p else {})
        lost = [n for n in wanted if n not in found]
        if lost:
            raise DataLoss(
                f"{self.path} has no document number {lost[0]}, which a segment holds; restore it from a copy"
            )
        return [found[n] for n in wanted]

    def by_id(self, id: str) -> Document:
        """NotFound: no published document has this id."""
        row = self._db.execute(
            "SELECT d.number, d.id, d.payload FROM documents d JOIN segments s ON s.number = d.segment "
            "WHERE d.id = ? AND s.published",
            (id,),
        ).fetchone()
        if row is None:
            raise NotFound(f"no document has the id {id!r}")
        return Document(row[0], row[1], json.loads(row[2]) if row[2] else {})

    def staged_ids(self, segment: int) -> list[str]:
        """The ids of a segment's documents in the order in which they came."""
        return [
            r[0] for r in self._db.execute("SELECT id FROM documents WHERE segment = ? ORDER BY number", (segment,))
        ]

    def next_number(self) -> int:
        return int(self._db.execute("SELECT coalesce(max(number), -1) + 1 FROM documents").fetchone()[0])

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: all of it is on the disk when the block ends, or none of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.rollback()
            raise
        self._db.commit()


def put_meta(db: sqlite3.Connection, key: str, value: Any) -> None:
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))


def put_resource(db: sqlite3.Connection, key: str, value: bytes) -> None:
    db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?)", (key, value))


def put_documents(db: sqlite3.Connection, segment: int, documents: Iterable[Document]) -> None:
    """Inserts documents. AlreadyExists names the first id that is taken."""
    for d in documents:
        payload = json.dumps(d.payload, ensure_ascii=False) if d.payload else None
        try:
            db.execute("INSERT INTO documents VALUES (?, ?, ?, ?)", (d.number, d.id, segment, payload))
        except sqlite3.IntegrityError:
            raise AlreadyExists(f"the id {d.id!r} occurs twice; ids must be unique in a collection") from None


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Makes this process the collection's only writer. The system releases the lock when the process ends, however it ends.

    Raises Unavailable when another writer holds it.
    """
    lock: IO[str] = open(folder / "writer.lock", "w")  # noqa: SIM115
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(f"another process is writing to {folder}; wait for it to end") from None
        yield
    finally:
        lock.close()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except sqlite3.DatabaseError as error:
        db.close()
        raise DataLoss(f"{path} is damaged ({error}); restore it from a copy") from None
    return db


def _slices(items: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
