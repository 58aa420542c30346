"""What the catalog says: one of its states, read inside one transaction, every value against its checksum."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataLoss, NotFound
from ..payload import check_ids
from ..stopping import steps
from .database import Connection, told

COUNTERS = {"seq": 0, "next": 0, "visible": 0, "sealed": -1, "segment": 0}
REQUIRED = {"format", "dim", "store", *COUNTERS}
"""Values without which there is no collection."""


@dataclass(frozen=True)
class SegmentRow:
    """What the catalog knows of a segment."""

    number: int
    published: bool
    documents: int
    tokens: int
    """Its size: token vectors; term weights in a collection without vectors."""
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


@dataclass(frozen=True)
class Size:
    """How much a collection holds, as somebody saw it last."""

    seq: int
    """The sequence number at which this was so."""
    documents: int
    tokens: int
    """Token vectors, those of dead documents in segments included; in a collection without them, term weights."""
    exact: bool = True
    """Whether no dead documents are counted."""


class View:
    """One state of the catalog, read over one connection inside one transaction."""

    def __init__(self, db: Connection, path: Path):
        self.db, self.path = db, path

    def meta(self, key: str, default: Any = None) -> Any:
        row = self.db.execute("SELECT value, crc FROM meta WHERE key = ?", (key,)).fetchone()
        if (row is None and key in REQUIRED) or (row is not None and checksum(key, row[0]) != row[1]):
            raise DataLoss(f"{self.path}: {key!r} has changed since it was written; restore it from a copy")
        return default if row is None else json.loads(row[0])

    @property
    def declared(self) -> list[str]:
        """Payload fields with an index."""
        return self.meta("fields", [])

    @property
    def staged(self) -> int:
        """Documents of a bulk write that are not yet visible."""
        return self.meta("next") - self.meta("visible")

    def resource(self, key: str) -> bytes | None:
        """A binary object that belongs to the collection (projection, statistics, codebook)."""
        row = self.db.execute(
            "SELECT coalesce(CAST(value AS BLOB), x''), crc FROM resources WHERE key = ?", (key,)
        ).fetchone()
        if row is not None and zlib.crc32(row[0]) != row[1]:
            raise DataLoss(f"{self.path}: {key!r} has changed since it was written; restore it from a copy")
        return None if row is None else row[0]

    def resource_crc(self, key: str) -> int | None:
        """The CRC-32 of a binary object, without reading it; None: there is none."""
        row = self.db.execute("SELECT crc FROM resources WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def segments(self) -> list[SegmentRow]:
        """All segments in order of their numbers, an unpublished one (if any) among them."""
        rows = self.db.execute("SELECT * FROM segments ORDER BY number")
        try:
            return [SegmentRow(int(n), bool(p), int(d), int(t), json.loads(s), c, f) for n, p, d, t, s, c, f in rows]
        except (TypeError, ValueError) as error:
            raise told(self.path, error) from error

    def count(self, where: str = "1", values: Sequence[Any] = ()) -> int:
        """Documents that are there, or those among them that satisfy an SQL condition."""
        sql = f"SELECT count(*) FROM documents WHERE +number < ? AND ({where})"
        return int(self.db.execute(sql, (self.meta("visible"), *values)).get)

    def size(self) -> Size:
        """What its segments and fresh documents amount to, without counting documents one by one."""
        rows = [row for row in self.segments() if row.published]
        fresh, tokens, _ = self.fresh_size()
        died = self.db.execute("SELECT 1 FROM tombstones LIMIT 1").fetchone()
        documents = sum(row.documents for row in rows) + fresh
        return Size(self.meta("seq"), documents, sum(row.tokens for row in rows) + tokens, died is None)

    def numbers(self, where: str, values: Sequence[Any] = ()) -> np.ndarray:
        """(n,) int64 rising numbers of the documents that satisfy an SQL condition."""
        # The plus keeps SQLite from walking row numbers where an index of a declared field would do.
        sql = f"SELECT number FROM documents WHERE +number < ? AND ({where})"
        found = self.db.execute(sql, (self.meta("visible"), *values)).fetchall()
        return np.sort(np.array(found, np.int64).reshape(-1))

    def page(self, after: str, limit: int, where: str = "1", values: Sequence[Any] = ()) -> list[Document]:
        """Documents by rising id, from the first whose id is greater than `after`."""
        return list(self.each_after(after, limit, where, values))

    def each_after(self, after: str, limit: int, where: str = "1", values: Sequence[Any] = ()) -> Iterator[Document]:
        """As `page`, but only one document at a time is in memory."""
        check_ids([after])
        sql = f"SELECT * FROM documents WHERE id > ? AND number < ? AND ({where}) ORDER BY id LIMIT ?"
        yield from map(self._document, self.db.execute(sql, (after, self.meta("visible"), *values, limit)))

    def by_number(self, numbers: Sequence[int] | np.ndarray) -> list[Document]:
        """The documents with these numbers, in this order. DataLoss: a segment names one that the catalog lacks."""
        found = {d.number: d for d in self.each_number(numbers)}
        return [found[int(n)] for n in numbers]

    def each_number(self, numbers: Sequence[int] | np.ndarray) -> Iterator[Document]:
        """As `by_number`, each document once and in any order, so that only one at a time is in memory."""
        wanted = [int(n) for n in numbers]
        lost = set(wanted)
        for document in self._where("number", wanted):
            lost.discard(document.number)
            yield document
        if lost:
            raise DataLoss(
                f"{self.path} has no document number {min(lost)}, which a segment holds; restore it from a copy"
            )

    def by_ids(self, ids: Sequence[str]) -> dict[str, Document]:
        """Those of the documents that are there, by id."""
        visible = self.meta("visible")
        return {d.id: d for d in self._where("id", check_ids(ids)) if d.number < visible}

    def each_id(self, ids: Iterable[str]) -> Iterator[Document | None]:
        """The document of each id, in this order, so that only one at a time is in memory; None: there is none."""
        visible = self.meta("visible")
        for id in steps(ids):
            found = next(self._where("id", [id]), None)
            yield found if found and found.number < visible else None

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

    def fresh(self, after: int = -1) -> list[tuple[int, bytes]]:
        """Numbers and packed tokens of fresh documents with a greater number, rising."""
        sql = "SELECT number, coalesce(CAST(tokens AS BLOB), x'') FROM growing WHERE number > ? ORDER BY number"
        return [(number, tokens) for number, tokens in self.db.execute(sql, (after,))]

    def fresh_size(self) -> tuple[int, int, float | None]:
        """Fresh documents, their tokens (terms alone: term weights), and when the oldest
        was added (seconds since 1970)."""
        count, length, added = self.db.execute("SELECT count(*), coalesce(sum(length), 0), min(added) FROM growing").get
        return count, length, added

    def tombstones(self, after: int = -1) -> np.ndarray:
        """(n,) int64 rising numbers of documents that died in a transaction later than `after`."""
        return self._integers("SELECT number FROM tombstones WHERE seq > ? ORDER BY number", (after,))

    def pending(self, limit: int = -1) -> np.ndarray:
        """(n,) int64 rising numbers of documents that wait for what a model computes of them; below 0: all of them."""
        sql = "SELECT number FROM pending WHERE number < ? ORDER BY number LIMIT ?"
        return self._integers(sql, (self.meta("visible"), limit)) if self._deferring else np.zeros(0, np.int64)

    def pending_among(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) bool: which of the documents with these numbers wait."""
        sql = "SELECT value FROM json_each(?) WHERE value IN (SELECT number FROM pending)"
        found = self._integers(sql, (json.dumps(numbers.tolist()),)) if self._deferring else ()
        return np.isin(numbers, found)

    def count_pending(self, after: int = -1) -> int:
        """Documents that wait, of those with greater numbers."""
        sql = "SELECT count(*) FROM pending WHERE number > ? AND number < ?"
        return int(self.db.execute(sql, (after, self.meta("visible"))).get) if self._deferring else 0

    @property
    def _deferring(self) -> bool:
        """Whether anything was ever deferred."""
        return self.db.execute("SELECT 1 FROM sqlite_master WHERE name = 'pending'").fetchone() is not None

    def _integers(self, sql: str, values: Sequence[Any]) -> np.ndarray:
        try:
            return np.array(self.db.execute(sql, values).fetchall(), np.int64).reshape(-1)
        except (TypeError, ValueError) as error:
            raise told(self.path, error) from error

    def _where(self, column: str, values: list[Any]) -> Iterator[Document]:
        for start in steps(range(0, len(values), 500)):
            some = values[start : start + 500]
            marks = ",".join("?" * len(some))
            for row in self.db.execute(f"SELECT * FROM documents WHERE {column} IN ({marks})", some):
                yield self._document(row)

    def _document(self, row: tuple[int, str, str | None, int]) -> Document:
        number, id, payload, crc = row
        if checksum(number, id, payload or "") != crc:
            raise DataLoss(f"{self.path}: document {id!r} has changed since it was written; restore it from a copy")
        return Document(number, id, json.loads(payload) if payload else {})


def checksum(*values: object) -> int:
    return zlib.crc32("\0".join(map(str, values)).encode())
