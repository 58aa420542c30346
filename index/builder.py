"""The bulk writer: streams batches straight into a segment, resumable at every batch, visible all at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import faiss_store
from .catalog import Catalog, Document, put_documents, put_meta, put_resource
from .errors import InvalidArgument
from .kernels import widen
from .segment import SegmentWriter, seal, segment_folder
from .tokens import Tokens, check

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""

_ADD_ROWS = 1 << 16


class Builder:
    """Adds documents to a segment that nobody sees until `publish`.

    Every `add` is durable when it returns: its tokens are synced first, then one transaction names them. After a crash
    the files are cut back to what the last transaction named, and `staged_ids` tells what need not be added again.
    """

    def __init__(
        self, path: Path, catalog: Catalog, dim: int, store: str, *, device: str = "cpu", threads: int | None = None
    ):
        self._path, self._catalog, self._dim, self._store = path, catalog, dim, store
        self._device, self._threads = device, threads
        self._segment: SegmentWriter | None = None
        rows = catalog.segments()
        open_rows = [r for r in rows if not r.published]
        known = {segment_folder(path, r.number) for r in rows}
        for stray in set(path.glob("segment-*")) - known:
            shutil.rmtree(stray)
        self._number = open_rows[0].number if open_rows else (rows[-1].number + 1 if rows else 1)
        if open_rows:
            self._segment = SegmentWriter.resume(segment_folder(path, self._number), dim, open_rows[0].staged)
            (segment_folder(path, self._number) / faiss_store.FILE).unlink(missing_ok=True)
        self._next = catalog.next_number()

    @property
    def staged_ids(self) -> list[str]:
        """Ids already added to the unpublished segment, in order: what an interrupted build has behind it."""
        return self._catalog.staged_ids(self._number) if self._segment else []

    def add(self, ids: Sequence[str], tokens: Tokens, payloads: Sequence[dict[str, Any]] | None = None) -> None:
        """Adds a batch of documents; durable when it returns. A refused batch leaves everything as it was.

        Raises:
            AlreadyExists: an id occurs twice or is in the collection.
            InvalidArgument: NaN, wrong dimension, counts that differ, an id that is no non-empty string.
        """
        tokens = check(tokens, self._dim)
        payloads = [{}] * len(ids) if payloads is None else payloads
        if not len(ids) == len(tokens) == len(payloads):
            raise InvalidArgument(
                f"{len(ids)} ids, {len(tokens)} documents and {len(payloads)} payloads; the counts must agree"
            )
        for id in ids:
            if not isinstance(id, str) or not id:
                raise InvalidArgument(f"the id {id!r} is no non-empty string")
        if not ids:
            return
        fresh = self._segment is None
        segment = self._segment or SegmentWriter(segment_folder(self._path, self._number), self._dim)
        self._segment = segment
        before = segment.sync()
        numbers = np.arange(self._next, self._next + len(ids), dtype=np.int64)
        try:
            segment.append(numbers, tokens)
            staged = segment.sync()
            with self._catalog.write() as db:
                if fresh:
                    db.execute("INSERT INTO segments VALUES (?, 0, 0, 0, '{}', NULL)", (self._number,))
                put_documents(db, self._number, map(Document, numbers.tolist(), ids, payloads))
                db.execute(
                    "UPDATE segments SET documents = documents + ?, tokens = tokens + ?, staged = ? WHERE number = ?",
                    (len(ids), len(tokens.vectors), json.dumps(staged), self._number),
                )
        except BaseException:
            self._undo(fresh, before)
            raise
        self._next += len(ids)

    def _undo(self, fresh: bool, before: dict[str, int]) -> None:
        assert self._segment is not None
        self._segment.close()
        if fresh:
            self._segment = None
            shutil.rmtree(segment_folder(self._path, self._number), ignore_errors=True)
        else:
            self._segment = SegmentWriter.resume(segment_folder(self._path, self._number), self._dim, before)

    def put(self, meta: dict[str, Any] | None = None, resources: dict[str, bytes] | None = None) -> None:
        """Stores values beside the documents, durably, in one transaction."""
        with self._catalog.write() as db:
            for key, value in (meta or {}).items():
                put_meta(db, key, value)
            for key, blob in (resources or {}).items():
                put_resource(db, key, blob)

    def discard(self) -> None:
        """Drops everything that was added and not published."""
        if self._segment is None:
            return
        with self._catalog.write() as db:
            db.execute("DELETE FROM documents WHERE segment = ?", (self._number,))
            db.execute("DELETE FROM segments WHERE number = ?", (self._number,))
        self._segment.close()
        self._segment = None
        shutil.rmtree(segment_folder(self._path, self._number), ignore_errors=True)
        self._next = self._catalog.next_number()

    def publish(self, progress: Progress | None = None) -> int:
        """Builds the store's index, seals the segment and makes its documents visible at once. Returns their number."""
        if self._segment is None:
            return 0
        segment, extra = self._segment, ()
        vectors = segment.vectors()
        if self._store != "exact" and len(vectors):
            self._build_faiss(vectors, segment.folder / faiss_store.FILE, progress)
            extra = (faiss_store.FILE,)
        crc = seal(segment, extra)
        with self._catalog.write() as db:
            db.execute(
                "UPDATE segments SET published = 1, staged = '{}', manifest_crc = ? WHERE number = ?",
                (crc, self._number),
            )
            count = int(db.execute("SELECT documents FROM segments WHERE number = ?", (self._number,)).fetchone()[0])
        self._segment, self._number = None, self._number + 1
        return count

    def _build_faiss(self, vectors: np.ndarray, path: Path, progress: Progress | None) -> None:
        params = faiss_store.parse(self._store.partition(":")[2], self._dim)
        codebook = self._catalog.resource("codebook")
        if codebook is None:
            if progress:
                progress("train", 0, 1)
            size = faiss_store.sample_size(params, len(vectors))
            rows = np.sort(np.random.default_rng(params.seed).choice(len(vectors), size, replace=False))
            sample = widen(vectors[rows])
            codebook = faiss_store.train(sample, params, len(vectors), device=self._device, threads=self._threads)
            self.put(resources={"codebook": codebook})
        blocks = (widen(vectors[s : s + _ADD_ROWS]) for s in range(0, len(vectors), _ADD_ROWS))
        done = (lambda n: progress("add", n, len(vectors))) if progress else None
        faiss_store.build(codebook, blocks, path, device=self._device, threads=self._threads, progress=done)

    def close(self) -> None:
        if self._segment is not None:
            self._segment.close()
