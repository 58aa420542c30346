"""`check`: every checksum and every invariant of a collection, and the name of what is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from . import stores
from .catalog import Catalog
from .database import Error
from .disk import absolute
from .errors import DataLoss, PlaitError
from .folders import left_behind
from .growing import unpack
from .representations import Schema, TermField
from .segment import Segment, segment_folder
from .term_columns import prefix
from .view import REQUIRED, SegmentRow, View


def check_collection(path: Path) -> list[str]:
    """What is wrong, in words; empty when all is well. Reads everything once; writes nothing.

    Invariants: SQLite's own; files as their manifests say; offsets rise, keys too; every document lives in exactly one place (a
    segment, or among the fresh ones); what a segment holds beyond that has a tombstone; counts agree; documents that wait
    for their tokens have none. What looks like a segment and cannot be one of this collection is named too.
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
    schema = Schema.of(view)
    places: list[np.ndarray] = []
    pending = view.pending()
    for row in view.segments():
        if not row.published:
            continue
        try:
            segment = _segment(path, row)
        except PlaitError as error:
            problems.append(str(error))
            continue
        places.append(segment.documents)
        early = segment.documents[(segment.tokens.lengths > 0) & np.isin(segment.documents, pending)]
        problems += [_early(view, number) for number in early.tolist()]
        problems += [f"{segment.folder}: {fault}" for fault in _faults(segment, row, schema)]
    problems += _documents(view, schema)
    if not problems:
        problems += _balance(view, places)
    problems += [
        f"{foreign} is not of this collection, and plait leaves it alone; move it elsewhere"
        for foreign in left_behind(path, view)[1]
    ]
    return problems


def _segment(path: Path, row: SegmentRow) -> Segment:
    segment = Segment.open(segment_folder(path, row.number), row.manifest_crc or 0)
    segment.verify()
    stores.open_store(segment, "cpu", None)
    return segment


def _faults(segment: Segment, row: SegmentRow, schema: Schema) -> list[str]:
    tokens, faults = segment.tokens, []
    counts = len(segment.documents), segment.contents.size
    if counts != (row.documents, row.tokens):
        said = row.documents, row.tokens
        faults.append(f"holds {counts[0]} documents of size {counts[1]}, the catalog says {said[0]} of {said[1]}")
    if (np.diff(segment.documents) <= 0).any():
        faults.append("document numbers do not rise")
    if (np.diff(tokens.offsets) < 0).any() or tokens.offsets[0] != 0 or tokens.offsets[-1] != len(tokens.vectors):
        faults.append("offsets do not run from 0 to the number of tokens")
    if segment.terms.keys() != schema.terms.keys():
        return [*faults, f"has {_said(segment.terms)} and the collection {_said(schema.terms)}"]
    named = ((name, fault) for name in schema.terms for fault in _term_faults(segment, name, schema.terms[name]))
    terms = [prefix(name) + fault for name, fault in named]
    return faults + _vector_faults(segment, schema) + terms


def _vector_faults(segment: Segment, schema: Schema) -> list[str]:
    whole, ids = segment.tokens.globals_, segment.tokens.ids
    faults = []
    if (None if whole is None else whole.shape) != ((len(segment.documents), schema.vector) if schema.vector else None):
        faults.append("globals are not one vector for each document, as the collection has it")
    elif whole is not None and not np.isfinite(whole).all():
        faults.append("globals hold NaN or infinity")
    if schema.ids and len(segment.tokens.vectors) and ids is None:
        faults.append("tokens have no ids, by which the store lists them")
    return faults


def _said(fields: Mapping[str, object]) -> str:
    return f"terms ({', '.join(sorted(fields))})" if fields else "no terms"


def _term_faults(segment: Segment, name: str, field: TermField) -> list[str]:
    """Each begins with the file that is wrong, where it is one, so that the field's prefix can stand before it."""
    rows = segment.terms[name]
    if (rows.row_offsets is not None) != field.per_token:
        return ["term_row_offsets: a row for each document where the collection has one for each token, or the reverse"]
    documents = rows.offsets if rows.row_offsets is None else rows.row_offsets
    if len(documents) - 1 != len(segment.documents) or not _run(documents, len(rows.offsets) - 1, rows.row_offsets):
        return ["term_row_offsets do not give rows to every document"]
    if not _run(rows.offsets, len(rows.keys), rows.offsets) or len(rows.keys) != len(rows.weights):
        return ["term_offsets do not run from 0 to the number of weights"]
    inside = np.ones(max(0, len(rows.keys) - 1), bool)
    starts = rows.offsets[1:-1]
    inside[starts[(starts > 0) & (starts < len(rows.keys))] - 1] = False
    if (np.diff(rows.keys.astype(np.int64))[inside] <= 0).any():
        return ["term_keys do not rise within a row"]
    if not np.isfinite(rows.weights).all() or (len(rows.keys) and rows.keys.max() >= field.keys):
        return ["term_weights hold NaN or infinity, or term_keys one that lies outside of the key space"]
    return []


def _run(offsets: np.ndarray, last: int, present: np.ndarray | None) -> bool:
    """Offsets never fall, from 0 to `last`."""
    return present is None or (offsets[0] == 0 and offsets[-1] == last and not (np.diff(offsets) < 0).any())


def _documents(view: View, schema: Schema) -> list[str]:
    """Every payload and every fresh document against its checksum."""
    problems, after = [], ""
    try:
        while page := view.page(after, 1000):
            after = page[-1].id
    except (DataLoss, Error, UnicodeDecodeError) as error:
        problems.append(str(error))
    pending = set(view.pending().tolist())
    for number, blob in view.growing():
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


def _early(view: View, number: int) -> str:
    return f"{view.path}: document number {number} waits for its tokens and has some"


def _balance(view: View, places: list[np.ndarray]) -> list[str]:
    fresh = np.array([n for n, _ in view.growing()], np.int64)
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
