"""The bulk writer: streams batches straight into a segment, resumable at every batch, visible all at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog.catalog import Catalog, allocate, put_documents, put_meta, put_pending, put_resource
from ..catalog.schema import Schema
from ..catalog.view import Document, View
from ..disk.failpoints import reach
from ..errors import DataLoss, FailedPrecondition, InvalidArgument, Unavailable
from ..payload import check_id, check_ids
from ..representations import Representations
from ..segments.folders import confirm, left_behind, new_segment, put_away, tidy
from ..segments.segment import SegmentWriter, seal, segment_folder
from ..stores import Progress, build_codes, build_store, build_terms, check_store, segment_files, store_files
from ..terms import Terms
from ..tokens import Tokens
from .learned import put_originals, store_learned

_OPTIONAL = ("ids", "roles", "spans")
_STAGED_BY = "staged_by"
BUILD, WRITE = "build", "write"
"""Who staged documents, as the catalog keeps it: `plait build`, which goes on where it was interrupted; or a write that
is whole or nothing, of which nothing is kept. What nobody signed can be gone on with, too."""


class Builder:
    """Adds documents to a segment that nobody sees until `publish`.

    Every `add` is durable when it returns: its tokens are synced first, then one transaction names them. After a crash
    the files are cut back to what the last transaction named, and `staged_ids` tells what need not be added again.
    """

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        schema: Schema,
        store: str,
        *,
        device: str = "cpu",
        threads: int | None = None,
        signed: str | None = None,
    ):
        """`signed`: who stages documents here, BUILD or WRITE."""
        check_store(store, schema.dim)  # before a document is encoded that could not be sealed
        self._path, self._catalog, self._schema, self._store = path, catalog, schema, store
        self._device, self._threads, self._signed = device, threads, signed
        self._segment: SegmentWriter | None = None
        drop_broken(path, catalog)
        with catalog.reading() as view:
            rows = view.segments()
        unfinished = [r for r in rows if not r.published]
        self._number = unfinished[0].number if unfinished else 0
        if unfinished:
            with catalog.files():
                self._segment = SegmentWriter.resume(self._folder, schema, unfinished[0].staged)
            for name in store_files(schema):
                (self._folder / name).unlink(missing_ok=True)

    @property
    def _folder(self) -> Path:
        return segment_folder(self._path, self._number)

    @property
    def staged_ids(self) -> list[str]:
        """Ids already added to the unpublished segment, in order: what an interrupted build has behind it."""
        with self._catalog.reading() as view:
            return view.staged_ids() if self._segment else []

    def add(
        self,
        ids: Sequence[str],
        tokens: Tokens | None,
        payloads: Sequence[dict[str, Any]] | None = None,
        terms: Terms | Mapping[str, Terms] | None = None,
        encoded: bool = False,
        defer: bool = False,
    ) -> None:
        """Adds a batch of documents; durable when it returns. A refused batch leaves everything as it was.

        Args:
            tokens: None where the collection holds terms alone.
            terms: sparse rows, where the collection holds terms; by field where it holds several.
            encoded: the tokens' vectors are records of the collection's codec already (index/codecs/codec.py), kept as
                they are.
            defer: as in `LiveWriter.upsert`.

        Raises:
            AlreadyExists: an id occurs twice or is in the collection.
            InvalidArgument: NaN, wrong dimension, counts that differ, an id that is no non-empty string; terms or
                tokens where the collection has none, or none where it has them.
        """
        batch, payloads = checked(self._schema, ids, tokens, payloads, terms, encoded, defer)
        self._catalog.refuse_long_log()
        if not ids:
            return
        fresh = self._segment is None
        if fresh:
            self._number = new_segment(self._path, self._catalog)
        with self._catalog.files():
            segment = self._segment = self._segment or SegmentWriter(self._folder, self._schema)
            before = segment.sync()
        try:
            with self._catalog.writing() as view:
                numbers = allocate(view, len(ids))
                if defer:
                    put_pending(view, numbers)
                else:
                    agree(view, columns_of(batch.tokens))
                    store_learned(view, self._schema.keep)
                    put_originals(view, numbers, None if encoded else tokens)
                with self._catalog.files():
                    segment.append(np.array(numbers, np.int64), batch)
                    staged = segment.sync()
                    reach("add")
                if fresh:
                    put_meta(view, _STAGED_BY, self._signed)
                    view.db.execute("INSERT INTO segments VALUES (?, 0, 0, 0, '{}', NULL, NULL)", (self._number,))
                put_documents(view, map(Document, numbers, ids, payloads))
                view.db.execute(
                    "UPDATE segments SET documents = documents + ?, tokens = tokens + ?, staged = ? WHERE number = ?",
                    (len(ids), batch.size, json.dumps(staged), self._number),
                )
        except BaseException:
            self._undo(fresh, before)
            raise

    def _undo(self, fresh: bool, before: dict[str, int]) -> None:
        assert self._segment is not None
        self._segment.close()
        if self._catalog.failure:
            # The failed transaction may yet turn out to be on the disk: the next writer knows what to keep.
            return
        if fresh:
            self._segment = None
            put_away(self._folder)
        else:
            self._segment = SegmentWriter.resume(self._folder, self._schema, before)

    def refuse_unfinished(self) -> None:
        """FailedPrecondition: an interrupted build waits to be finished or discarded."""
        with self._catalog.reading() as view:
            refuse_unfinished(view)

    def put(self, meta: dict[str, Any] | None = None, resources: dict[str, bytes] | None = None) -> None:
        """Stores values beside the documents, durably, in one transaction."""
        with self._catalog.writing() as view:
            for key, value in (meta or {}).items():
                put_meta(view, key, value)
            for key, blob in (resources or {}).items():
                put_resource(view, key, blob)

    def discard(self) -> None:
        """Drops everything that was added and not published. Nothing of it is kept, even if this is interrupted."""
        if self._segment is None:
            return
        reach("discard")
        with self._catalog.writing() as view:
            drop_staged(view)
        self._segment.close()
        self._segment = None
        put_away(self._folder)

    def publish(self, progress: Progress | None = None) -> int:
        """Builds the store's index, seals the segment and makes its documents visible at once. Returns their number."""
        if self._segment is None:
            return 0
        with self._catalog.files():
            extra, drift = build_store(self._catalog, self._store, self._segment, self._device, self._threads, progress)
            crc = seal(self._segment, (*extra, *build_terms(self._segment), *build_codes(self._segment)))
        reach("publish")
        with self._catalog.writing() as view:
            reach("put_segment")
            confirm(self._folder, crc)
            view.db.execute(
                "UPDATE segments SET published = 1, staged = '{}', manifest_crc = ?, drift = ? WHERE number = ?",
                (crc, drift, self._number),
            )
            put_meta(view, "visible", view.meta("next"))
            count = int(view.db.execute("SELECT documents FROM segments WHERE number = ?", (self._number,)).get)
        self._segment = None
        tidy(self._folder, segment_files(self._schema))
        return count

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()


def checked(
    schema: Schema,
    ids: Sequence[str],
    tokens: Tokens | None,
    payloads: Sequence[dict[str, Any]] | None,
    terms: Terms | Mapping[str, Terms] | None,
    encoded: bool = False,
    defer: bool = False,
) -> tuple[Representations, Sequence[dict[str, Any]]]:
    """Refuses a batch that this collection could not take."""
    if defer and tokens is not None:
        raise InvalidArgument("defer leaves tokens out until later, and tokens are given; leave one of them out")
    for id in check_ids(ids):
        check_id(id)
    batch = schema.deferred(terms, len(ids)) if defer else schema.check(tokens, terms, len(ids), encoded)
    payloads = [{}] * len(ids) if payloads is None else payloads
    if not len(ids) == len(batch) == len(payloads):
        raise InvalidArgument(
            f"{len(ids)} ids, {len(batch)} documents and {len(payloads)} payloads; the counts must agree"
        )
    return batch, payloads


def columns_of(tokens: Tokens) -> list[str]:
    """The optional columns that tokens have."""
    return [name for name in _OPTIONAL if getattr(tokens, name) is not None]


def agree(view: View, has: Sequence[str]) -> None:
    """All documents of a collection have the same columns, so that any of them can share a segment."""
    has = [*has]
    stored = view.meta("columns")
    if stored is None:
        put_meta(view, "columns", has)
    elif stored != has:
        raise InvalidArgument(
            f"this collection's tokens come with {stored or 'vectors only'}, these with {has}; keep to that"
        )


def refuse_unfinished(view: View, building: bool = False) -> None:
    """Refuses what comes after documents that are staged and may yet be published.

    Args:
        building: this process stages them now.

    Raises:
        Unavailable: a bulk write is under way. FailedPrecondition: an interrupted build waits.
    """
    if building and view.staged:
        raise Unavailable(f"a bulk write of {view.staged} documents so far is under way; try again when it has ended")
    if staged := view.staged:
        raise FailedPrecondition(
            f"an interrupted build has {staged} documents waiting here; run the same `plait build` again, with --restart to drop them"
        )


def drop_staged(view: View) -> None:
    """Forgets staged documents. Their segment's folder is named no more."""
    view.db.execute("DELETE FROM documents WHERE number >= ?", (view.meta("visible"),))
    view.db.execute("DELETE FROM segments WHERE NOT published")
    put_meta(view, "visible", view.meta("next"))


def is_broken(view: View, served: bool = False) -> bool:
    """Whether what is staged was to be whole or nothing. Nobody may be staging it now.

    Args:
        served: a server asks. What nobody signed is then a broken write too, unless it may be the first build of an
            older plait.
    """
    if not view.staged:
        return False
    signed = view.meta(_STAGED_BY, None)
    return signed == WRITE or (served and signed is None and view.count() > 0)


def drop_broken(path: Path, catalog: Catalog, served: bool = False) -> None:
    """Drops what a bulk write staged that was broken off, if there is any. Only the writer may do this: see
    `is_broken`."""
    with catalog.reading() as view:
        if not is_broken(view, served):
            return
        numbers = [row.number for row in view.segments() if not row.published]
    reach("discard")
    with catalog.writing() as view:
        drop_staged(view)
    for number in numbers:
        put_away(segment_folder(path, number))


def sweep(path: Path, catalog: Catalog, schema: Schema) -> None:
    """Removes what writers of this collection left and no row names. Only one who has just
    become the writer may do this."""
    reach("sweep")
    drop_broken(path, catalog)
    with catalog.reading() as view:
        rows, (own, _) = view.segments(), left_behind(path, view, segment_files(schema))
    if missing := [row.number for row in rows if not segment_folder(path, row.number).is_dir()]:
        raise DataLoss(
            f"{segment_folder(path, missing[0])} is missing; restore it from a copy or rebuild the collection"
        )
    for folder in own:
        put_away(folder)
    for row in rows:
        if row.published:
            tidy(segment_folder(path, row.number), segment_files(schema))
