"""What happens to written documents later: fresh ones are sealed into segments, segments are merged, the dead dropped.

As in FreshDiskANN (arXiv 2105.09613): fresh, sealed, merged; a delete is a tombstone until a merge drops it. Each step
writes a new segment beside the others and ends in one transaction; before it the old state holds, after it the new one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..catalog.catalog import Catalog, put_meta, put_segment
from ..catalog.lock import WriterLock
from ..catalog.schema import Schema
from ..catalog.view import SegmentRow, View
from ..disk.descriptors import NoDescriptors
from ..disk.failpoints import reach
from ..errors import InvalidArgument, PlaitError
from ..representations import Representations, concatenate
from ..segments.folders import confirm, new_segment, put_away, tidy
from ..segments.fresh import unpack
from ..segments.segment import Segment, SegmentWriter, seal, segment_folder
from ..stores import build_codes, build_store, build_terms, segment_files
from .bulk import refuse_unfinished
from .learned import Relearned, due

_LOG = logging.getLogger("plait.index")
_BATCH = 4096
_LULL_S = 0.05
_NUMBERS = {"documents"}
_WAITING = 64
"""Tokens that a document counts for which has none yet: its terms are searched exactly until it is sealed."""


@dataclass(frozen=True)
class Policy:
    """When fresh documents are sealed and which segments are merged."""

    seal_tokens: int = 1 << 18
    """Seal when fresh documents hold so many tokens; in a collection of terms alone, so many term weights. Larger:
    fewer, larger segments; fresh ones are searched exactly, so search slows, and a reader that opens the collection
    loads them all."""
    seal_age_s: float = 300.0
    """Seal when the oldest fresh document is so old, even if there are few."""
    fanout: int = 4
    """Merge when so many segments have about the same size (sizes within a factor of `fanout`). Larger: less rewriting,
    more segments to search."""
    dead_share: float = 0.2
    """Rewrite a segment when more than this share of its documents is dead. Smaller: less dead weight, more rewriting.
    """

    def __post_init__(self) -> None:
        if self.seal_tokens < 1 or self.fanout < 2 or not 0 < self.dead_share <= 1:
            raise InvalidArgument(f"a policy needs seal_tokens >= 1, fanout >= 2, 0 < dead_share <= 1; got {self}")


class Maintenance:
    """Seals and merges a collection, one thread at a time. It holds the collection's lock while it does.

    Live writes go on meanwhile: what dies while a segment is written keeps its tombstone, what comes is not in it.
    """

    def __init__(
        self,
        path: Path,
        catalog: Catalog,
        schema: Schema,
        store: str,
        device: str,
        threads: int | None,
        lock: WriterLock,
    ):
        self._path, self._catalog, self._schema, self._store = path, catalog, schema, store
        self._device, self._threads, self._lock = device, threads, lock
        self.alone = threading.RLock()
        """Held while a segment is made; bulk builds make segments too."""

    def seal(self) -> int:
        """Moves all fresh documents into a segment. Returns how many."""
        with self._lock.held(), self.alone:
            return self._seal()

    def _seal(self) -> int:
        with self._catalog.reading() as view:
            refuse_unfinished(view)
            rows, upto = view.fresh(), view.meta("next") - 1
        if not rows:
            with self._catalog.writing() as view:
                put_meta(view, "sealed", upto)
            return 0
        reach("seal")
        number = new_segment(self._path, self._catalog)
        batches = (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
        codec = self._schema.codec
        unpacked = (
            (np.array([n for n, _ in b], np.int64), concatenate([unpack(t, codec) for _, t in b])) for b in batches
        )
        with self._write(number, unpacked) as written:
            with self._catalog.writing() as view:
                written.confirm()
                put_segment(view, number, *written.row)
                view.db.execute("DELETE FROM growing WHERE number <= ?", (upto,))
                put_meta(view, "sealed", upto)
            written.keep()
        return len(rows)

    def merge(self, numbers: Iterable[int], retrain: bool = False) -> None:
        """Replaces segments by one that holds their living documents, by rising document number.

        Args:
            retrain: train the store's codebook anew on this segment, for it and all later ones.
        """
        with self._lock.held(), self.alone:
            self._merge(set(numbers), retrain)

    def _merge(self, wanted: set[int], retrain: bool) -> None:
        with self._catalog.reading() as view:
            refuse_unfinished(view)
            rows, dead, sealed = view.segments(), view.tombstones(), view.meta("sealed")
            again = learns_again(view, rows) and wanted == {row.number for row in rows}
        reach("merge")
        number = new_segment(self._path, self._catalog)
        segments = [self._open(row) for row in rows if row.number in wanted]
        others = [self._open(row) for row in rows if row.number not in wanted]
        for segment in segments:
            segment.verify()  # what is copied gets a new checksum, so damage would not be found any more
        for segment in others:
            segment.files.verify(_NUMBERS)
        merged, kept = _numbers(segments), _numbers(others)
        # Nobody looks for the merged dead any more, nor for those that died before they were sealed.
        gone = dead[np.isin(dead, merged) | ((dead <= sealed) & ~np.isin(dead, kept))]
        relearned = self._relearned(segments, dead) if again else None
        batches, moves = _living(segments, dead), [] if again else _moves(segments, dead)
        if relearned:
            batches = relearned.encoded(batches)
        with self._write(number, batches, retrain, moves, relearned and relearned.schema) as written:
            for segment in segments:
                segment.files.check()
            with self._catalog.writing() as view:
                view.db.executemany("DELETE FROM segments WHERE number = ?", [(n,) for n in wanted])
                if written.row[0]:
                    written.confirm()
                    put_segment(view, number, *written.row)
                if relearned:
                    relearned.commit(view)
                view.db.executemany("DELETE FROM tombstones WHERE number = ?", [(n,) for n in gone.tolist()])
            if written.row[0]:
                written.keep()
        if relearned:
            self._schema.keep.replace(relearned.schema.keep)
        for old in segments:
            # Readers that have it open keep their maps; others will not look for it any more.
            assert old.folder is not None
            put_away(old.folder)

    def _relearned(self, segments: list[Segment], dead: np.ndarray) -> Relearned:
        with self._catalog.reading() as view:
            vectors = sum(len(s.tokens.vectors) for s in segments)
            return Relearned(view, self._schema, _living(segments, dead), vectors)

    def due(self, policy: Policy) -> list[int]:
        """Numbers of the segments that should be merged now, or none."""
        with self._catalog.reading() as view:
            rows, dead = [r for r in view.segments() if r.published], view.tombstones()
            if learns_again(view, rows):
                return [r.number for r in rows]
        tiers: dict[int, list[int]] = {}
        for row in rows:
            size = max(1, row.tokens, row.documents)
            tiers.setdefault(int(np.log(size) / np.log(policy.fanout)), []).append(row.number)
        for _, numbers in sorted(tiers.items()):
            if len(numbers) >= policy.fanout:
                return numbers
        # After the sizes, because a merge drops the dead too; all together, because each is rewritten anyway.
        return [r.number for r in rows if len(dead) and self._dead(r, dead) > policy.dead_share * r.documents]

    def step(self, policy: Policy, now: float | None = None) -> bool:
        """Does the next thing that is due; False when nothing is, or while a bulk build waits."""
        with self._lock.held(), self.alone:  # or a bulk build could begin between the look and the work
            with self._catalog.reading() as view:
                if view.meta("next") > view.meta("visible"):
                    return False
                _, tokens, oldest = view.fresh_size()
                tokens += _WAITING * view.count_pending(after=view.meta("sealed"))
            aged = oldest is not None and (time.time() if now is None else now) - oldest >= policy.seal_age_s
            if (tokens >= policy.seal_tokens or aged) and self.seal():
                return True
            if due := self.due(policy):
                self.merge(due)
                return True
            return False

    def _dead(self, row: SegmentRow, dead: np.ndarray) -> int:
        return int(np.isin(dead, self._open(row).documents, assume_unique=True).sum())

    def _open(self, row: SegmentRow) -> Segment:
        return Segment.open(segment_folder(self._path, row.number), row.manifest_crc or 0)

    def _write(
        self,
        number: int,
        batches: Iterable[tuple[np.ndarray, Representations]],
        retrain: bool = False,
        sources: Sequence[tuple[Path, np.ndarray]] = (),
        schema: Schema | None = None,
    ) -> _Written:
        """A sealed segment that nobody names yet, with records of the schema; None: the collection's."""
        written = _Written(segment_folder(self._path, number), self._catalog, schema or self._schema)
        try:
            with self._catalog.files(), SegmentWriter(written.folder, written.schema) as writer:
                documents = 0
                for numbers, batch in batches:
                    writer.append(numbers, batch)
                    documents += len(numbers)
                writer.sync()
                machine = self._device, self._threads
                extra, drift = build_store(self._catalog, self._store, writer, *machine, None, retrain, sources)
                crc = seal(writer, (*extra, *build_terms(writer), *build_codes(writer)))
                written.row = documents, writer.size, crc, drift
        except BaseException:
            written.drop()
            raise
        return written


class _Written:
    """A new segment folder; dropped at the end of the block unless kept."""

    def __init__(self, folder: Path, catalog: Catalog, schema: Schema):
        self.folder, self.schema, self._catalog, self._kept = folder, schema, catalog, False
        self.row: tuple[int, int, int, float | None] = (0, 0, 0, None)
        """Documents, size, CRC of the manifest, drift."""

    def confirm(self) -> None:
        """In the transaction that names the segment: its files are there. DataLoss: they are not."""
        reach("put_segment")
        confirm(self.folder, self.row[2])

    def keep(self) -> None:
        self._kept = True
        tidy(self.folder, segment_files(self.schema))

    def drop(self) -> None:
        put_away(self.folder)

    def __enter__(self) -> _Written:
        return self

    def __exit__(self, *_: object) -> None:
        # A transaction that failed on the disk may yet turn out to be there: the next writer knows what to sweep.
        if not self._kept and not self._catalog.failure:
            self.drop()


class Background(threading.Thread):
    """Takes steps whenever one is due, until stopped. What goes wrong is kept in `error` and ends the thread."""

    def __init__(self, steps: Sequence[Callable[[], bool]], look_s: float = 1.0):
        """
        Args:
            steps: each does the next thing that is due, and says whether there was one. A later one is for when all
                before it have nothing to do.
            look_s: seconds after which it looks, though nobody told it to.
        """
        super().__init__(name="plait-maintenance", daemon=True)
        self._steps, self._look_s = steps, look_s
        self._wake, self._stop_now = threading.Event(), False
        self.error: Exception | None = None

    def notify(self) -> None:
        """A write happened: look whether something is due."""
        self._wake.set()

    def run(self) -> None:
        while not self._stop_now:
            self._wake.wait(self._look_s)
            # A look takes milliseconds where many are dead: one answers for all writes of this time.
            time.sleep(_LULL_S)
            self._wake.clear()
            try:
                while not self._stop_now and any(step() for step in self._steps):
                    pass
            except NoDescriptors as error:
                # Nothing was lost: the step is due again at the next look, when others may have closed files.
                _LOG.warning("background work waits: %s", error)
            except (PlaitError, OSError) as error:
                self.error = error
                return

    def stop(self) -> None:
        """Waits until the step that it is in has ended."""
        self._stop_now = True
        self._wake.set()
        # A step may have been the last to know the collection, whose end stops this thread.
        if threading.current_thread() is not self:
            self.join()


def learns_again(view: View, rows: Sequence[SegmentRow]) -> bool:
    """Whether a merge of everything is to learn anew what was learned from too few vectors."""
    return bool(rows) and due(view, sum(row.tokens for row in rows))


def _numbers(segments: list[Segment]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *(s.documents for s in segments)])


def _order(segments: list[Segment], dead: np.ndarray) -> np.ndarray:
    """The living documents by rising number, as places in the segments laid end to end."""
    numbers = _numbers(segments)
    order = np.argsort(numbers, kind="stable")
    return order[~np.isin(numbers[order], dead, assume_unique=True)]


def _living(segments: list[Segment], dead: np.ndarray) -> Iterable[tuple[np.ndarray, Representations]]:
    """The living documents of some segments in batches, by rising number."""
    numbers, order = _numbers(segments), _order(segments, dead)
    source = np.repeat(np.arange(len(segments)), [len(s.documents) for s in segments])
    position = np.concatenate([np.zeros(0, np.int64), *(np.arange(len(s.documents)) for s in segments)])
    place = np.empty(len(numbers), np.int64)
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        grouped = [batch[source[batch] == s] for s in range(len(segments))]
        parts = [segments[s].contents.take(position[some]) for s, some in enumerate(grouped) if len(some)]
        if len(parts) == 1:
            # Segments sealed one after the other do not interleave: nothing to join, nothing to reorder.
            yield numbers[batch], parts[0]
            continue
        place[np.concatenate(grouped)] = np.arange(len(batch))
        yield numbers[batch], concatenate(parts).take(place[batch])


def _moves(segments: list[Segment], dead: np.ndarray) -> list[tuple[Path, np.ndarray]]:
    """Where the tokens of each segment go: its folder and the (tokens,) int64 new row of every token, or -1."""
    order = _order(segments, dead)
    lengths = np.concatenate([np.zeros(0, np.int64), *(s.tokens.lengths for s in segments)])
    starts = np.full(len(lengths), -1, np.int64)
    starts[order] = np.cumsum(lengths[order]) - lengths[order]
    moves, first = [], 0
    for segment in segments:
        assert segment.folder is not None
        mine, own = starts[first : first + len(segment.documents)], segment.tokens.lengths
        within = np.arange(int(own.sum())) - np.repeat(segment.tokens.offsets[:-1], own)
        moves.append((segment.folder, np.where(np.repeat(mine, own) < 0, -1, np.repeat(mine, own) + within)))
        first += len(segment.documents)
    return moves
