"""A collection on disk: opened by any number of processes, written by one, searched through pinned snapshots."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from .catalog.catalog import Catalog, put_meta
from .catalog.lock import WriterLock
from .catalog.schema import Schema, TermField, kept_in, needs_ids, term_fields
from .catalog.view import Size
from .codecs.codec import DEFAULT
from .codecs.precisions import codec
from .disk.paths import absolute, undone_on_error
from .errors import FailedPrecondition, InvalidArgument, Unavailable
from .filters.sql import check_indexed, index_sql, unindex_sql
from .kernels.threads import limited
from .params import Bm25, SearchParams, TermParams
from .reading.loader import Loader, Place
from .reading.snapshot import Snapshot
from .reading.stats import collection_stats
from .recall.calibration import Calibration, calibrate, coded_documents
from .recall.frontier import DEPTHS
from .recall.term_calibration import calibrate_terms, inverted_documents
from .stores import check_store
from .terms import Terms
from .tokens import Tokens
from .writing.bulk import Builder, drop_broken, is_broken, sweep
from .writing.live import LiveWriter
from .writing.maintenance import Background, Maintenance, Policy, learns_again

MAX_DIM = 4096


class Collection:
    """Documents as token vectors, one global vector, sparse terms, or several of these, under stable string ids.

    Open it any number of times, in any number of processes. The first write makes this process the only writer until
    `close` (bulk writes: until their block ends).
    """

    def __init__(
        self,
        path: str | Path,
        *,
        device: str = "cpu",
        threads: int | None = None,
        policy: Policy | None = None,
        verify: bool = True,
        place: Place | None = None,
        chore: Callable[[], bool] | None = None,
    ):
        """
        Args:
            device: where FAISS runs.
            threads: CPU threads of searches and builds; None leaves the libraries' own choice.
            policy: when to seal and merge in the background; None: only when told to (`seal`, `compact`).
            verify: compare every segment's checksums when it is opened. Reads all of it once; without, a damaged
                file of the right size is found by `check` alone.
            place: puts segments elsewhere as they are opened (`plait.device.placement.Placement`).
            chore: further work for the background, done whenever sealing and merging have nothing to do; it says
                whether it did something. None: there is none.
        """
        self.path = absolute(path)
        self.catalog = Catalog(self.path)
        with self.catalog.reading() as view:
            self.schema = Schema.of(view, kept_in(self.catalog))
            self.store = str(view.meta("store"))
        self._device, self._threads, self._policy, self._chore = device, threads, policy, chore
        self._loader = Loader(self.path, self.schema, device, threads, verify, place)
        begin = partial(_begin, self.path, self.catalog, self.schema)
        self._lock = WriterLock(self.path, self.catalog.refuse_to_write, begin)
        self.maintenance = Maintenance(self.path, self.catalog, self.schema, self.store, device, threads, self._lock)
        self._starting = threading.Lock()
        weakref.finalize(self, self._lock.release)
        self._background: Background | None = None
        self._loader.look(self.catalog)

    @classmethod
    def create(
        cls,
        path: str | Path,
        dim: int,
        store: str = "exact",
        meta: dict[str, Any] | None = None,
        fields: Sequence[str] = (),
        terms: bool | TermField | Mapping[str, TermField] | None = None,
        vector: int = 0,
        precision: str = DEFAULT,
        **machine: Any,
    ) -> Collection:
        """Makes an empty collection in a new or empty folder. If it fails, or is killed,
        the folder is as free as before.

        Args:
            dim: dimensions of every token vector, 1 to 4096; 0: none, for a collection of
                terms or global vectors alone.
            store: `auto`, `exact`, `flat`, `lists` (or `flat:8`, `lists:32`, ... bytes per token), or `faiss:` and a
                factory string (`faiss:IVF1024,PQ64x4fs`); `index/stores.py` says what they are.
            meta: further JSON values to keep with the collection.
            fields: payload fields to index, so that filters on them are fast; any field can be filtered.
            terms: every document has sparse terms too: a `TermField` says how, True takes its defaults; several by
                name, each with its own keys, weights and statistics. The first is meant where a search names none.
            vector: dimensions of one global vector for each document (`Tokens.globals_`), up to 4096; 0: none.
            precision: how vectors are kept, `float16`; `int8`: half the bytes, faster reranking, 0.997 of the float16
                rows' top 10 on real embeddings; `pq:72`, `pq:64`, `pq:32`: so many bytes, 0.98, 0.97, 0.91;
                `residual:1`, `2`, `4`: as ColBERTv2 (index/codecs/codec.py).
        """
        sparse = term_fields(terms)
        if not (1 <= dim <= MAX_DIM or (dim == 0 and (sparse or vector))):
            raise InvalidArgument(f"dim is {dim}; it must lie between 1 and {MAX_DIM} (0 for terms or a vector alone)")
        if not 0 <= vector <= MAX_DIM:
            raise InvalidArgument(f"vector is {vector}; it must lie between 0 (none) and {MAX_DIM}")
        check_store(store, dim)
        if not dim and store not in ("auto", "exact"):
            raise InvalidArgument(f"store is {store!r}, for token vectors, and dim is 0; leave the store out")
        check_indexed(fields)
        if precision != DEFAULT and (not dim or needs_ids(store)):
            raise InvalidArgument(
                f"precision is {precision!r}, for token vectors that are reranked; with dim {dim} and store {store!r} leave it out"
            )
        schema = Schema(dim, sparse, vector, needs_ids(store), codec(precision, dim).precision)
        values = {**schema.meta, "store": store, "fields": list(fields), **(meta or {})}
        path = absolute(path)
        signature(cls).bind(path, **machine)  # TypeError before anything is made
        Catalog.create(path, values, [index_sql(f) for f in fields]).close()
        with undone_on_error(path):
            return cls(path, **machine)

    @property
    def dim(self) -> int:
        """Dimensions of every token vector; 0: none."""
        return self.schema.dim

    @property
    def vector(self) -> int:
        """Dimensions of every document's global vector; 0: none."""
        return self.schema.vector

    @property
    def size(self) -> Size | None:
        """What it held when it was opened, searched or written in bulk last. Reads
        nothing; None: nobody has seen it."""
        return self._loader.size

    @property
    def failure(self) -> str | None:
        """Why this process can write here no more; None: it can."""
        background = self._background and self._background.error
        return self.catalog.failure or (str(background) if background else None)

    @property
    def damage(self) -> list[str]:
        """What was found of files of open segments, each named; searches raise it. Empty: nothing is known."""
        return self._loader.damage

    def scrub(self) -> bool:
        """Compares some more bytes of open segments with their checksums, at the rate of the process; see `damage`.

        The background does so once something was written, and a server always. Returns False: there is no hurry.
        """
        return self._loader.scrub()

    def recover(self) -> None:
        """Lets this process write again after a failure, as opening the collection again would.

        Unavailable: its cause is not gone, somebody reads, or a bulk write has not ended.
            DataLoss: the catalog is damaged.
        """
        with self._starting:
            background, self._background = self._background, None
        if background:
            background.stop()
        if not self.maintenance.alone.acquire(blocking=False):
            raise Unavailable(f"a bulk write of {self.path} has not ended; try again")
        try:
            self.catalog.recover()
            if self._lock.taken:
                sweep(self.path, self.catalog, self.schema)
        finally:
            self.maintenance.alone.release()

    def discard_broken(self) -> None:
        """Drops what a bulk write staged that was broken off, so that it blocks no other.
        For a server, before it serves.

        What `plait build` staged stays: it goes on when it is run again. Does nothing while another process writes.
        """
        with self.catalog.reading() as view:
            broken = not self.catalog.building and is_broken(view, served=True)
        if broken:
            with suppress(Unavailable), self._lock.held(), self.maintenance.alone:
                drop_broken(self.path, self.catalog, served=True)

    def close(self, wait_s: float | None = None) -> bool:
        """Ends background work, waits for other threads' searches and writes, and gives the write lock back.

        Whatever comes afterwards is refused: FailedPrecondition. A snapshot that this thread is in stays as it is until
        its block ends. The lock stays with a writer that is still at work, until its block ends.

        Args:
            wait_s: the longest wait for others; None: as long as they take. What goes on after that ends undisturbed.

        Returns whether all of them have ended.
        """
        with self._starting:
            background, self._background = self._background, None
        if background:
            background.stop()
        ended = self.catalog.close(wait_s)
        self._loader.close()
        self._lock.release()
        return ended

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        with self.catalog.reading() as view:
            return view.count()

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """One consistent state for as long as the block runs, whatever is written meanwhile.

        Raises:
            DataLoss: a segment is damaged; the message names the file.
        """
        with self._loader.pinned(self.catalog) as (view, state), limited(self._threads):
            yield Snapshot(view, state, self.schema)

    @contextmanager
    def builder(self, signed: str | None = None) -> Iterator[Builder]:
        """The bulk writer: `add` batches, then `publish`. What was added before an interruption is there again.

        The write lock is given back at the end of the block, unless something else in this process is at work by then.

        Args:
            signed: who stages documents here (`index/writing/bulk.py`): of a WRITE that is
                interrupted, nothing is kept.

        Raises Unavailable while another process writes.
        """
        with self._lock.held(), self.maintenance.alone:
            self.catalog.building = True
            try:
                machine = {"device": self._device, "threads": self._threads}
                builder = Builder(self.path, self.catalog, self.schema, self.store, **machine, signed=signed)
                try:
                    yield builder
                finally:
                    builder.close()
            finally:
                self.catalog.building = False
            self._loader.look(self.catalog)

    @property
    def live(self) -> LiveWriter:
        """Upserts, deletes, payload updates. Takes the write lock until `close`; starts
        background work if there is any.

        Raises:
            Unavailable: another process writes, or background work failed.
        """
        self._lock.keep()
        with self._starting:
            if self._background is None and (self._policy or self._chore):
                steps = [partial(self.maintenance.step, self._policy)] if self._policy else []
                look_s = min(1.0, self._policy.seal_age_s) if self._policy else 1.0
                chores = [*([self._chore] if self._chore else []), self._loader.scrub]
                self._background = Background([*steps, *chores], look_s)
                self._background.start()
                weakref.finalize(self, self._background.stop).atexit = False
            background = self._background
        if background:
            if background.error:
                self.catalog.refuse_to_write()  # closed meanwhile: that is what ended it
                raise Unavailable(f"{self.path} is read-only here: background work failed ({background.error})")
            background.notify()
        return LiveWriter(self.path, self.catalog, self.schema, self._lock)

    def seal(self) -> int:
        """Moves fresh documents into a segment now. Returns how many."""
        self._lock.keep()
        return self.maintenance.seal()

    def compact(self, retrain: bool = False) -> None:
        """Seals, then merges everything into one segment without the dead.

        Args:
            retrain: train the store's codebook anew (when the drift in `stats` has grown).
        """
        self._lock.keep()
        with self.maintenance.alone:
            self.maintenance.seal()
            with self.catalog.reading() as view:
                rows, dead = view.segments(), len(view.tombstones())
                needed = len(rows) > 1 or dead or retrain or learns_again(view, rows)
            if needed:
                self.maintenance.merge([row.number for row in rows], retrain)

    def index_fields(self, fields: Sequence[str]) -> None:
        """Makes these the payload fields with an index; indexes of others go. Any field can be filtered, these fast.

        More: filters on them cost less, and every write more. Writers wait while an index is built, readers do not.

        Raises:
            InvalidArgument: a field occurs twice, or its name cannot be declared (keys joined by dots).
        """
        check_indexed(fields)
        self._lock.keep()
        with self._lock.held(), self.catalog.writing() as view:
            before = view.declared
            for sql in [index_sql(f) for f in fields] + [unindex_sql(f) for f in before if f not in fields]:
                view.db.execute(sql)
            put_meta(view, "fields", [*fields])

    @property
    def calibration(self) -> Calibration | None:
        """The recall that was measured last; None: never."""
        with self.catalog.reading() as view:
            stored = view.meta("calibration", None)
        return Calibration.from_json(stored) if stored else None

    def calibrate(
        self,
        queries: Tokens | None = None,
        depths: Sequence[int] = DEPTHS,
        progress: Callable[[int, int], None] | None = None,
        terms: Terms | None = None,
        bm25: Bm25 | None = None,
    ) -> Calibration:
        """Measures recall and time of settings against exact search and keeps the frontier (see `calibrate`).

        Args:
            queries, terms: the two sides of held-out queries, of terms those of the first field; for None, some are
                drawn from the documents.
            bm25: how searches by terms weigh counts.
        """
        with self.builder() as builder:
            with self.snapshot() as snapshot:
                measured = calibrate(snapshot, queries, depths, progress)
                if self.schema.terms:
                    by_terms = calibrate_terms(snapshot, terms, bm25, depths, progress)
                    measured = replace(measured, terms=by_terms)
            builder.put({"calibration": measured.to_json()})
        return measured

    def reaching(self, target_recall: float, k: int, params: SearchParams) -> SearchParams | None:
        """The cheapest parameters that were measured to reach a recall at depth k; None: exact search alone does.

        Raises:
            FailedPrecondition: nothing was measured yet, not as deep as k, or when the collection was half as large.
            InvalidArgument: the target is not within (0, 1].
        """
        with self.catalog.reading() as view:
            coded = coded_documents(view)
        measured = self._measured(target_recall, coded, lambda m: m.coded)
        return measured.choose(target_recall, k, params) if coded else None

    def reaching_terms(self, target_recall: float, k: int) -> TermParams:
        """As `reaching`, of searches by the first term field; the exact search where
        nothing cheaper reached the target."""
        with self.catalog.reading() as view:
            inverted = inverted_documents(view)
        measured = self._measured(target_recall, inverted, lambda m: m.terms.inverted if m.terms else None)
        return measured.terms.choose(target_recall, k) if inverted and measured.terms else TermParams()

    def _measured(self, target: float, now: int, then: Callable[[Calibration], int | None]) -> Calibration:
        """The calibration, if it may speak for what is there `now`: documents whose search may miss something."""
        if not 0 < target <= 1:
            raise InvalidArgument(f"target_recall is {target}; it must be above 0 and at most 1")
        measured = self.calibration
        before = then(measured) if measured else None
        if not now:
            return measured or Calibration((), 0, "", 0, 0)
        if measured is None or before is None:
            raise FailedPrecondition(f"the recall of {self.path} was never measured; calibrate it first")
        if now > 2 * before:
            raise FailedPrecondition(
                f"recall was measured with {before} documents that a search may miss, and {now} are there now; calibrate again"
            )
        return measured

    def stats(self) -> dict[str, Any]:
        """Counts, bytes by what they are for, fresh and dead documents, segments with their drift, SQLite's log."""
        log = self.catalog.log_stats()
        with self.snapshot() as snapshot:
            return {**collection_stats(self.path, snapshot, self.schema, self.store), "log": log}


def _begin(path: Path, catalog: Catalog, schema: Schema) -> None:
    """This process has become the writer: another may have learned meanwhile, or left something behind."""
    schema.keep.forget()
    sweep(path, catalog, schema)
