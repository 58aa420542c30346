"""`check`: every checksum and every invariant of a collection, and the name of what is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import stores
from ..catalog.catalog import Catalog
from ..catalog.database import Error
from ..catalog.schema import Schema
from ..catalog.view import REQUIRED, SegmentRow, View
from ..codecs.product import Keep
from ..disk.paths import absolute
from ..errors import DataLoss, PlaitError
from ..segments.folders import left_behind
from ..segments.fresh import unpack
from ..segments.segment import Segment, segment_folder
from ..stores import segment_files
from . import structure
from .agreement import disagreements


def check_collection(path: Path) -> list[str]:
    """What is wrong, in words; empty when all is well. Reads everything once; writes nothing.

    Invariants: SQLite's own; files as their manifests say; offsets rise, keys too; every document lives in exactly one
        place (a
    segment, or among the fresh ones); what a segment holds beyond that has a tombstone; counts agree; documents that
    wait for their tokens have none. What looks like a segment and cannot be one of this collection is named too.
    """
    path = absolute(path)
    try:
        catalog = Catalog(path)
    except PlaitError as error:
        return [str(error)]
    try:
        while True:
            with catalog.reading() as view:
                problems, seq = _problems(path, view), view.meta("seq")
            with catalog.reading() as view:
                # A merge may have removed a segment while it was looked at: then a new state is looked at.
                if not problems or view.meta("seq") == seq:
                    return problems
    except PlaitError as error:
        return [str(error)]
    finally:
        catalog.close()


def _problems(path: Path, view: View) -> list[str]:
    problems = [f"{view.path}: {row[0]}" for row in view.db.execute("PRAGMA integrity_check") if row[0] != "ok"]
    if problems:
        return problems
    for key in {*REQUIRED, *(row[0] for row in view.db.execute("SELECT key FROM meta"))}:
        view.meta(key)
    for (key,) in view.db.execute("SELECT key FROM resources").fetchall():
        view.resource(str(key))
    schema = Schema.of(view, Keep(lambda: view.resource("precision")))
    places: list[np.ndarray] = []
    pending = view.pending()
    for row in view.segments():
        if not row.published:
            continue
        try:
            segment = _segment(path, row, schema)
            faults = _faults(segment, row, schema)
        except PlaitError as error:
            problems.append(str(error))
            continue
        problems += faults
        if faults:
            continue
        places.append(segment.documents)
        early = segment.documents[(segment.tokens.lengths > 0) & np.isin(segment.documents, pending)]
        problems += [_early(view, number) for number in early.tolist()]
    problems += _documents(view, schema)
    if not problems:
        problems += _balance(view, places)
    problems += [
        f"{foreign} is not of this collection, and plait leaves it alone; move it elsewhere"
        for foreign in left_behind(path, view, segment_files(schema))[1]
    ]
    return problems


def _segment(path: Path, row: SegmentRow, schema: Schema) -> Segment:
    segment = Segment.open(segment_folder(path, row.number), row.manifest_crc or 0, schema.codec)
    segment.verify()
    return segment


def _faults(segment: Segment, row: SegmentRow, schema: Schema) -> list[str]:
    """What is wrong behind right checksums. What the rows say is compared only where they can be read."""
    if faults := structure.faults(segment, schema):
        return faults
    stores.open_store(segment, "cpu", None)
    faults = disagreements(segment, row.drift)
    counts, said = (len(segment.documents), segment.contents.size), (row.documents, row.tokens)
    if counts != said:
        faults.append(
            f"{segment.folder}: holds {counts[0]} documents of size {counts[1]}, "
            f"the catalog says {said[0]} of {said[1]}"
        )
    return faults


def _documents(view: View, schema: Schema) -> list[str]:
    """Every payload and every fresh document against its checksum."""
    problems, after = [], ""
    try:
        while page := view.page(after, 1000):
            after = page[-1].id
    except (DataLoss, Error, UnicodeDecodeError) as error:
        problems.append(str(error))
    pending = set(view.pending().tolist())
    for number, blob in view.fresh():
        try:
            document = unpack(blob, schema.codec)
            if number in pending and len(document.tokens.vectors):
                problems.append(_early(view, number))
            if (held := document.terms).keys() != schema.terms.keys():
                said = f"has {_said(held)} and the collection {_said(schema.terms)}"
                problems.append(f"{view.path}: document number {number} {said}")
        except DataLoss as error:
            problems.append(f"{view.path}: document number {number}: {error}")
    return problems


def _said(fields: Mapping[str, object]) -> str:
    return f"terms ({', '.join(sorted(fields))})" if fields else "no terms"


def _early(view: View, number: int) -> str:
    return f"{view.path}: document number {number} waits for its tokens and has some"


def _balance(view: View, places: list[np.ndarray]) -> list[str]:
    fresh = np.array([n for n, _ in view.fresh()], np.int64)
    held = np.concatenate([*places, fresh]) if places or len(fresh) else fresh
    dead, living = view.tombstones(), view.numbers("1")
    problems = []
    if len(np.unique(held)) < len(held):
        problems.append("a document lives in two places")
    if len(lost := np.setdiff1d(living, held)):
        problems.append(f"{len(lost)} documents have no tokens anywhere, first number {lost[0]}")
    if len(extra := np.setdiff1d(np.setdiff1d(held, dead), living)):
        problems.append(f"{len(extra)} documents have tokens but no entry and no tombstone, first number {extra[0]}")
    if len(gone := np.setdiff1d(view.pending(), living)):
        problems.append(f"{len(gone)} documents wait for their tokens and are not there, first number {gone[0]}")
    if len(both := np.intersect1d(dead, living)):
        problems.append(f"{len(both)} documents are alive and dead, first number {both[0]}")
    return problems
