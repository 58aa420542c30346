"""Live writes: documents come, change and go one batch at a time, searchable when the call returns."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog.catalog import Catalog, allocate, bury, put_documents, put_meta, put_payload, put_pending
from ..catalog.lock import WriterLock
from ..catalog.schema import Schema
from ..catalog.view import Document, View
from ..codecs.precisions import LEARNING
from ..errors import InvalidArgument, NotFound
from ..filters.sql import Filter, compile
from ..segments.fresh import pack
from ..terms import Terms
from ..tokens import Tokens
from .bulk import agree, checked, columns_of, drop_staged, is_broken, refuse_unfinished
from .gathered import Gathered, Ready
from .learned import encoded_again, may_change, put_originals, store_learned


@dataclass(frozen=True)
class Written:
    """What a write did."""

    seq: int
    """The collection's sequence number after it: a search that sees this number sees the write."""
    count: int
    """Documents written or deleted."""


Batch = tuple[Sequence[str], Tokens | None, Sequence[dict[str, Any]] | None, Terms | Mapping[str, Terms] | None]
"""Ids, tokens, payloads and terms of some documents."""


class LiveWriter:
    """Single transactions on the catalog. Each holds the collection's lock."""

    def __init__(self, path: Path, catalog: Catalog, schema: Schema, lock: WriterLock):
        self._path, self._catalog, self._schema, self._lock = path, catalog, schema, lock

    def upsert(
        self,
        ids: Sequence[str],
        tokens: Tokens | None,
        payloads: Sequence[dict[str, Any]] | None = None,
        durable: bool = True,
        terms: Terms | Mapping[str, Terms] | None = None,
        defer: bool = False,
    ) -> Written:
        """Writes documents; one that is there under the same id is replaced. All of the batch, or none of it.

        Args:
            tokens: None where the collection holds terms alone.
            terms: sparse rows, where the collection holds terms; by field where it holds several.
            durable: the batch is on the disk when this returns; otherwise it may be lost if the machine dies.
            defer: tokens, and terms of the fields that are not given, come later (`complete`). Until then the documents
                have none of these: searches by terms of a field that is given find them, others do not.

        Raises:
            InvalidArgument: NaN, wrong dimension, counts that differ, an id twice in the batch or no non-empty string;
                terms or tokens where the collection has none, or none where it has them.
        """
        return self.upsert_all([(ids, tokens, payloads, terms)], durable, defer)

    def upsert_all(self, batches: Iterable[Batch], durable: bool = True, defer: bool = False) -> Written:
        """Writes the documents of several batches in one transaction: all of them, or none.

        What was made ready waits in memory up to 64 MiB, and beyond that in a file without a name in the collection's
        folder. Other arguments and errors: as of `upsert`.
        """
        with self._lock.held(), Gathered(self._path) as gathered:
            seen: set[str] = set()
            for ids, tokens, payloads, terms in batches:
                _refuse_twice(ids, seen)
                gathered.add(self._ready(ids, tokens, payloads, terms, defer))
            with self._writing(durable) as (view, seq):
                for ready in gathered:
                    self._put(view, ready, defer)
        return Written(seq, len(seen))

    def complete(
        self,
        numbers: np.ndarray,
        tokens: Tokens | None,
        terms: Terms | Mapping[str, Terms] | None = None,
        durable: bool = True,
    ) -> Written:
        """Gives documents that were written with `defer` what they lack. They are written again as they are now,
        payload and all.

        Args:
            numbers: (n,) int64 document numbers. Those that were replaced, deleted or
                completed meanwhile are left alone.
            tokens, terms: of these documents, as `upsert` takes them without `defer`.
        """
        with self._lock.held():
            ready = self._ready([str(n) for n in numbers.tolist()], tokens, None, terms)
            with self._writing(durable) as (view, seq):
                waiting = np.flatnonzero(view.pending_among(numbers))
                if len(waiting):
                    documents = view.by_number(numbers[waiting])
                    self._put(view, _of_documents(ready, waiting, documents))
        return Written(seq, len(waiting))

    def delete(self, ids: Sequence[str], durable: bool = True) -> Written:
        """Deletes documents by id; ids that are not there are ignored, so that a delete can be sent again."""
        with self._writing(durable) as (view, seq):
            found = [d.number for d in view.by_ids(ids).values()]
            bury(view, found)
        return Written(seq, len(found))

    def delete_where(self, filter: Filter, durable: bool = True) -> Written:
        """Deletes all documents that satisfy a filter."""
        with self._writing(durable) as (view, seq):
            found = view.numbers(*compile(filter, view.declared)).tolist()
            bury(view, found)
        return Written(seq, len(found))

    def update_payload(self, id: str, patch: dict[str, Any], durable: bool = True) -> Written:
        """Changes fields of a payload and leaves tokens and terms alone.

        A field that the patch sets to None is removed, and no other (RFC 7396, one level).
        """
        with self._writing(durable) as (view, seq):
            found = view.by_ids([id])
            if not found:
                raise NotFound(f"no document has the id {id!r}")
            merged = {**found[id].payload, **patch}
            for name in [name for name, value in patch.items() if value is None]:
                del merged[name]
            put_payload(view, Document(found[id].number, id, merged))
        return Written(seq, 1)

    def _ready(
        self,
        ids: Sequence[str],
        tokens: Tokens | None,
        payloads: Sequence[dict[str, Any]] | None,
        terms: Terms | Mapping[str, Terms] | None,
        defer: bool = False,
    ) -> Ready:
        codec, given = self._schema.codec, None
        if tokens is not None and isinstance(codec, LEARNING):
            with self._catalog.reading() as view:
                given = Tokens(tokens.vectors, tokens.offsets) if may_change(view) else None
        version = self._schema.keep.version
        batch, payloads = checked(self._schema, ids, tokens, payloads, terms, defer=defer)
        packed = [(size, pack(batch.take([i]), codec)) for i, size in enumerate(batch.sizes.tolist())]
        return Ready(ids, payloads, packed, columns_of(batch.tokens), version, given)

    def _put(self, view: View, ready: Ready, defer: bool = False) -> None:
        """Writes a batch, encoded again if the codebook has become another meanwhile."""
        if not defer:
            agree(view, ready.columns)
            store_learned(view, self._schema.keep)
        packed = ready.packed
        if ready.given is not None and ready.version != self._schema.keep.version:
            packed = encoded_again(packed, ready.given, self._schema.codec)
        numbers = _replace(view, list(view.by_ids(ready.ids).values()), ready.ids, ready.payloads, packed)
        if defer:
            put_pending(view, numbers)
        put_originals(view, numbers, ready.given)

    @contextmanager
    def _writing(self, durable: bool) -> Iterator[tuple[View, int]]:
        """A transaction and the sequence number it will have; refused while a bulk build is under way or waits."""
        self._catalog.refuse_long_log()
        with self._lock.held(), self._catalog.writing(durable) as view:
            if not self._catalog.building and is_broken(view):
                drop_staged(view)
            refuse_unfinished(view, self._catalog.building)
            yield view, view.meta("seq") + 1


def _of_documents(ready: Ready, some: np.ndarray, documents: Sequence[Document]) -> Ready:
    """Some of a batch, under the ids and with the payloads of these documents."""
    given = None if ready.given is None else ready.given.take(some)
    ids, payloads, packed = [d.id for d in documents], [d.payload for d in documents], [ready.packed[i] for i in some]
    return replace(ready, ids=ids, payloads=payloads, packed=packed, given=given)


def _refuse_twice(ids: Sequence[str], seen: set[str]) -> None:
    for id in ids:
        if id in seen:
            raise InvalidArgument(f"the id {id!r} occurs twice in this write; which of the two is meant?")
        seen.add(id)


def _replace(
    view: View,
    before: Sequence[Document],
    ids: Sequence[str],
    payloads: Sequence[dict[str, Any]],
    packed: Sequence[tuple[int, bytes]],
) -> range:
    """Documents under new numbers, which it returns, instead of those that were there."""
    bury(view, [d.number for d in before])
    numbers, now = allocate(view, len(ids)), time.time()
    put_documents(view, map(Document, numbers, ids, payloads))
    rows = ((number, now, *document) for number, document in zip(numbers, packed, strict=True))
    view.db.executemany("INSERT INTO growing VALUES (?, ?, ?, ?)", rows)
    put_meta(view, "visible", view.meta("next"))
    return numbers
