"""Live writes: documents come, change and go one batch at a time, searchable when the call returns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .builder import agree, checked, refuse_unfinished
from .catalog import Catalog, allocate, bury, put_documents, put_meta, put_payload, put_pending
from .errors import InvalidArgument, NotFound, Unavailable
from .filters import Filter, compile
from .growing import pack
from .representations import Representations, Schema
from .terms import Terms
from .tokens import Tokens
from .view import Document, View


@dataclass(frozen=True)
class Written:
    """What a write did."""

    seq: int
    """The collection's sequence number after it: a search that sees this number sees the write."""
    count: int
    """Documents written or deleted."""


class LiveWriter:
    """Single transactions on the catalog. The collection's lock must be held by this process."""

    def __init__(self, catalog: Catalog, schema: Schema):
        self._catalog, self._schema = catalog, schema

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
            defer: tokens, and terms of the fields that are not given, come later (`complete`). Until then the documents have
                none of these: searches by terms of a field that is given find them, others do not.

        Raises:
            InvalidArgument: NaN, wrong dimension, counts that differ, an id twice in the batch or no non-empty string;
                terms or tokens where the collection has none, or none where it has them.
        """
        batch, payloads = checked(self._schema, ids, tokens, payloads, terms, defer=defer)
        if len(set(ids)) < len(ids):
            twice = next(id for i, id in enumerate(ids) if id in ids[:i])
            raise InvalidArgument(f"the id {twice!r} occurs twice in this batch; which of the two is meant?")
        packed = self._packed(batch)
        with self._writing(durable) as (view, seq):
            if not defer:
                agree(view, batch.tokens)
            numbers = _replace(view, list(view.by_ids(ids).values()), ids, payloads, packed)
            if defer:
                put_pending(view, numbers)
        return Written(seq, len(ids))

    def complete(
        self,
        numbers: np.ndarray,
        tokens: Tokens | None,
        terms: Terms | Mapping[str, Terms] | None = None,
        durable: bool = True,
    ) -> Written:
        """Gives documents that were written with `defer` what they lack. They are written again as they are now, payload and all.

        Args:
            numbers: (n,) int64 document numbers. Those that were replaced, deleted or completed meanwhile are left alone.
            tokens, terms: of these documents, as `upsert` takes them without `defer`.
        """
        batch = self._schema.check(tokens, terms, len(numbers))
        packed = self._packed(batch)
        with self._writing(durable) as (view, seq):
            waiting = np.flatnonzero(view.pending_among(numbers))
            documents = view.by_number(numbers[waiting])
            if documents:
                agree(view, batch.tokens)
            ids, payloads = [d.id for d in documents], [d.payload for d in documents]
            _replace(view, documents, ids, payloads, [packed[i] for i in waiting])
        return Written(seq, len(documents))

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
        """Changes fields of a payload and leaves tokens and terms alone; a field set to None is removed (RFC 7396, one level)."""
        with self._writing(durable) as (view, seq):
            found = view.by_ids([id])
            if not found:
                raise NotFound(f"no document has the id {id!r}")
            merged = {k: v for k, v in {**found[id].payload, **patch}.items() if v is not None}
            put_payload(view, Document(found[id].number, id, merged))
        return Written(seq, 1)

    def _packed(self, batch: Representations) -> list[tuple[int, bytes]]:
        """The size of each document, and the document as bytes."""
        sizes, codec = batch.sizes.tolist(), self._schema.codec
        return [(size, pack(batch.take([i]), codec)) for i, size in enumerate(sizes)]

    @contextmanager
    def _writing(self, durable: bool) -> Iterator[tuple[View, int]]:
        """A transaction and the sequence number it will have; refused while a bulk build is under way or waits."""
        self._catalog.refuse_long_log()
        with self._catalog.writing(durable) as view:
            if self._catalog.building and view.staged:
                raise Unavailable(
                    f"a bulk write of {view.staged} documents so far is under way; try again when it has ended"
                )
            refuse_unfinished(view)
            yield view, view.meta("seq") + 1


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
