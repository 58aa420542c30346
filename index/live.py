"""Live writes: documents come, change and go one batch at a time, searchable when the call returns."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .builder import agree, checked, refuse_unfinished
from .catalog import Catalog, allocate, bury, put_documents, put_meta, put_payload
from .errors import InvalidArgument, NotFound
from .filters import Filter, compile
from .growing import pack
from .representations import Schema
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

    def __init__(self, catalog: Catalog, schema: Schema, declared: Sequence[str]):
        self._catalog, self._schema, self._declared = catalog, schema, declared

    def upsert(
        self,
        ids: Sequence[str],
        tokens: Tokens | None,
        payloads: Sequence[dict[str, Any]] | None = None,
        durable: bool = True,
        terms: Terms | Mapping[str, Terms] | None = None,
    ) -> Written:
        """Writes documents; one that is there under the same id is replaced. All of the batch, or none of it.

        Args:
            tokens: None where the collection holds terms alone.
            terms: sparse rows, where the collection holds terms; by field where it holds several.
            durable: the batch is on the disk when this returns; otherwise it may be lost if the machine dies.

        Raises:
            InvalidArgument: NaN, wrong dimension, counts that differ, an id twice in the batch or no non-empty string;
                terms or tokens where the collection has none, or none where it has them.
        """
        batch, payloads = checked(self._schema, ids, tokens, payloads, terms)
        if len(set(ids)) < len(ids):
            twice = next(id for i, id in enumerate(ids) if id in ids[:i])
            raise InvalidArgument(f"the id {twice!r} occurs twice in this batch; which of the two is meant?")
        codec = self._schema.codec
        sizes, now = batch.sizes.tolist(), time.time()
        blobs = [pack(batch.take([i]), codec) for i in range(len(ids))]
        with self._writing(durable) as (view, seq):
            agree(view, batch.tokens)
            bury(view, [d.number for d in view.by_ids(ids).values()])
            numbers = allocate(view, len(ids))
            put_documents(view, map(Document, numbers, ids, payloads))
            rows = zip(numbers, [now] * len(ids), sizes, blobs, strict=True)
            view.db.executemany("INSERT INTO growing VALUES (?, ?, ?, ?)", rows)
            put_meta(view, "visible", view.meta("next"))
        return Written(seq, len(ids))

    def delete(self, ids: Sequence[str], durable: bool = True) -> Written:
        """Deletes documents by id; ids that are not there are ignored, so that a delete can be sent again."""
        with self._writing(durable) as (view, seq):
            found = [d.number for d in view.by_ids(ids).values()]
            bury(view, found)
        return Written(seq, len(found))

    def delete_where(self, filter: Filter, durable: bool = True) -> Written:
        """Deletes all documents that satisfy a filter."""
        with self._writing(durable) as (view, seq):
            found = view.numbers(*compile(filter, self._declared)).tolist()
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

    @contextmanager
    def _writing(self, durable: bool) -> Iterator[tuple[View, int]]:
        """A transaction and the sequence number it will have; refused while a bulk build waits."""
        with self._catalog.writing(durable) as view:
            refuse_unfinished(view)
            yield view, view.meta("seq") + 1
