"""What is open of a collection, for every view of its catalog: its segments, each opened once, and fresh documents."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from ..catalog.catalog import Catalog
from ..catalog.schema import Schema
from ..catalog.view import Size, View
from ..codecs.codec import Codec
from ..codecs.precisions import codec as codec_of
from ..codecs.product import LEARNED, Keep
from ..errors import DataLoss, PlaitError, Unavailable
from ..late.exact import ExactStore
from ..search.part import Part, TokenStore
from ..segments.fresh import extend, shed
from ..segments.scrub import Scrubber
from ..segments.segment import Segment, segment_folder
from ..stores import open_codes, open_store, open_terms
from .structure import require

_TRIES = 8

Place = Callable[[Segment, TokenStore], TokenStore]
"""Called with a segment and its store when it is opened: the store to search it through."""


@dataclass(frozen=True, eq=False)
class State:
    """What the segments and fresh documents were at one sequence number, open for search."""

    seq: int
    sealed: int
    """Documents with greater numbers that came one by one are in `fresh`."""
    published: dict[int, Part]
    """By segment number."""
    fresh: list[Segment]
    dead: np.ndarray
    """(n,) int64 rising numbers of those that died, of the documents in `fresh`."""
    codec: Codec
    """Of all records."""
    learned: int | None = None
    """CRC-32 of what the codec has learned; None: nothing yet."""

    def check(self, again: bool = False) -> None:
        """DataLoss: a file of a segment is not what it was when it was opened (`Files.check`)."""
        for part in self.published.values():
            part.segment.files.check(again)

    @cached_property
    def parts(self) -> list[Part]:
        grown = [mark(Part(s, ExactStore(s), terms=open_terms(s)), self.dead) for s in self.fresh]
        return [*self.published.values(), *grown]


def _nothing(codec: Codec, learned: int | None = None) -> State:
    return State(-1, -1, {}, [], np.zeros(0, np.int64), codec, learned)


class Loader:
    """Brings the state up to date with the catalog, opening only what is new. Shared by the threads of a process."""

    def __init__(
        self,
        path: Path,
        schema: Schema,
        device: str,
        threads: int | None,
        verify: bool,
        place: Place | None = None,
    ):
        self._path, self._schema, self._device, self._threads = path, schema, device, threads
        self._verify, self._place = verify, place
        self._lock = threading.Lock()
        self._state = _nothing(schema.codec)
        self._size: Size | None = None
        self._scrubber = Scrubber(lambda: {n: part.segment.files for n, part in self._state.published.items()})

    @contextmanager
    def pinned(self, catalog: Catalog) -> Iterator[tuple[View, State]]:
        """A view of the catalog and the state that it sees, for as long as the block runs.

        Raises:
            DataLoss: a segment is damaged, or became so while the block ran: what was read there is not to be believed.
            Unavailable: merges replaced segments faster than they could be opened.
        """
        for _ in range(_TRIES):
            with catalog.reading() as view:
                try:
                    state = self.load(view)
                except DataLoss:
                    # A merge may have replaced a segment after this view began: then a new view sees other segments.
                    if _named_still(view, catalog):
                        raise
                    continue
                try:
                    yield view, state
                finally:
                    state.check(again=True)
                return
        raise Unavailable(f"{self._path} was merged {_TRIES} times while it was opened; try again")

    def load(self, view: View) -> State:
        """The state that a view sees. DataLoss: a segment is damaged, or was merged away since the view began."""
        state = self._load(view)
        state.check()
        return state

    def close(self) -> None:
        """Lets go of all that is open: it is unmapped when nobody reads it any more."""
        with self._lock:
            self._size = self.size
            self._state = _nothing(self._schema.codec)

    def scrub(self) -> bool:
        """Compares some more of what is open with its checksums, as fast as the process may
        (`index/segments/scrub.py`)."""
        return self._scrubber.step()

    def look(self, catalog: Catalog) -> None:
        """Notes the size of the collection, if it can be read."""
        with suppress(PlaitError), catalog.reading() as view:
            self._size = view.size()

    @property
    def size(self) -> Size | None:
        """What the collection held when it was last noted or searched. Reads nothing; None: neither has happened."""
        state, noted = self._state, self._size
        return noted if noted and noted.seq > state.seq else _held(state) if state.seq >= 0 else None

    @property
    def damage(self) -> list[str]:
        """What has become of open segments since they were opened; searches raise it."""
        return [d for part in self._state.published.values() if (d := part.segment.files.damage) is not None]

    def _load(self, view: View) -> State:
        with self._lock:
            state, seq, learned = self._state, view.meta("seq"), view.resource_crc(LEARNED)
            # A view that began before the newest state still gets what it saw; records of another codebook are read
            # anew.
            base = state if state.seq <= seq and state.learned == learned else _nothing(self._at(view), learned)
            if base.seq == seq:
                return base
            new = self._advance(base, view, seq)
            if seq > state.seq:
                self._state = new
            return new

    def _at(self, view: View) -> Codec:
        """The codec with what it had learned when the view began."""
        data = view.resource(LEARNED)
        return codec_of(self._schema.codec.precision, self._schema.codec.dim, Keep(lambda: data))

    def _advance(self, state: State, view: View, seq: int) -> State:
        newly_dead, published = view.tombstones(after=state.seq), {}
        for row in view.segments():
            if not row.published:
                continue
            part = state.published.get(row.number)
            if part is None:
                segment = Segment.open(segment_folder(self._path, row.number), row.manifest_crc or 0, state.codec)
                if self._verify:
                    segment.verify()
                    require(segment, self._schema)
                store = open_store(segment, self._device, self._threads)
                if self._place is not None:
                    store = self._place(segment, store)
                part = mark(
                    Part(segment, store, terms=open_terms(segment), codes=open_codes(segment)), view.tombstones()
                )
            published[row.number] = mark(part, newly_dead)
        sealed, dead = view.meta("sealed"), np.union1d(state.dead, newly_dead)
        fresh = shed([s for s in state.fresh if s.documents[0] > sealed], dead, state.codec)
        last = max([sealed, *(int(s.documents[-1]) for s in fresh)])
        fresh = extend(fresh, view.fresh(after=last), state.codec)
        # Published parts know their dead: kept here, they would grow for as long as the process lives.
        held = np.isin(dead, np.concatenate([np.zeros(0, np.int64), *(s.documents for s in fresh)]), assume_unique=True)
        return replace(state, seq=seq, sealed=sealed, published=published, fresh=fresh, dead=dead[held])


def _held(state: State) -> Size:
    """What a state holds, from what is in memory."""
    parts = state.published.values()
    sealed = sum(len(p.segment.documents) if p.allowed is None else int(p.allowed.sum()) for p in parts)
    live = [s.tokens.lengths[~np.isin(s.documents, state.dead)] for s in state.fresh]
    tokens = sum(len(p.segment.tokens.vectors) for p in parts) + sum(int(lengths.sum()) for lengths in live)
    return Size(state.seq, sealed + sum(map(len, live)), tokens)


def _named_still(seen: View, catalog: Catalog) -> bool:
    """Whether the collection has every segment that a view sees."""
    with catalog.reading() as view:
        return {row.number for row in seen.segments()} <= {row.number for row in view.segments()}


def mark(part: Part, dead: np.ndarray) -> Part:
    """The part without some documents more."""
    numbers = part.segment.documents
    if not len(dead) or not len(numbers):
        return part
    at = np.searchsorted(numbers, dead)
    hit = at[(at < len(numbers)) & (numbers[np.minimum(at, len(numbers) - 1)] == dead)]
    if not len(hit):
        return part
    allowed = np.ones(len(numbers), bool) if part.allowed is None else part.allowed.copy()
    allowed[hit] = False
    return replace(part, allowed=allowed)
