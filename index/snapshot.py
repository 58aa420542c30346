"""Snapshots: one consistent state of a collection, searched and read from beginning to end."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .exact import ExactStore
from .filters import Filter, compile
from .growing import extend
from .hits import Hits
from .kernels import widen
from .scoring import Scoring, SearchParams
from .search import Alignment, Part, explain, locate, search
from .segment import Segment, segment_folder
from .stores import open_store
from .tokens import Tokens, check
from .view import Document, View


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
    """(n,) int64 rising numbers; some may long be gone from every segment."""

    @property
    def parts(self) -> list[Part]:
        grown = [_mark(Part(s, ExactStore(s)), self.dead) for s in self.fresh]
        return [*self.published.values(), *grown]


class Loader:
    """Brings the state up to date with the catalog, opening only what is new. Shared by the threads of a process."""

    def __init__(self, path: Path, device: str, threads: int | None, verify: bool):
        self._path, self._device, self._threads, self._verify = path, device, threads, verify
        self._lock = threading.Lock()
        self._state = State(-1, -1, {}, [], np.zeros(0, np.int64))

    def load(self, view: View) -> State:
        """The state that a view sees. DataLoss: a segment is damaged, or was merged away since the view began."""
        with self._lock:
            state, seq = self._state, view.meta("seq")
            # A view that began before the newest state still gets what it saw.
            base = state if state.seq <= seq else State(-1, -1, {}, [], np.zeros(0, np.int64))
            if base.seq == seq:
                return base
            new = self._advance(base, view, seq)
            if seq > state.seq:
                self._state = new
            return new

    def _advance(self, state: State, view: View, seq: int) -> State:
        fresh_dead = view.tombstones(after=state.seq)
        dead = np.union1d(state.dead, fresh_dead)
        published = {}
        for row in view.segments():
            if not row.published:
                continue
            part = state.published.get(row.number)
            if part is None:
                segment = Segment.open(segment_folder(self._path, row.number), row.manifest_crc or 0)
                if self._verify:
                    segment.verify()
                part = _mark(Part(segment, open_store(segment, self._device, self._threads)), dead)
            published[row.number] = _mark(part, fresh_dead)
        sealed = view.meta("sealed")
        fresh = [s for s in state.fresh if s.documents[0] > sealed]
        last = max([sealed, *(int(s.documents[-1]) for s in fresh)])
        return State(seq, sealed, published, extend(fresh, view.growing(after=last)), dead)


class Snapshot:
    """A pinned state: every call sees the same documents, whatever is written meanwhile."""

    def __init__(self, view: View, state: State, dim: int, declared: Sequence[str]):
        self.view, self.state, self._dim, self._declared = view, state, dim, declared

    def search(
        self,
        queries: Tokens,
        k: int = 10,
        scoring: Scoring = Scoring(),
        params: SearchParams = SearchParams(),
        filter: Filter | None = None,
        exact: bool = False,
    ) -> list[Hits]:
        """The k best documents of every query among those that satisfy the filter; fewer when fewer were retrieved.

        The filter is applied before anything is scored. `exact` compares with every stored token, whatever the store.
        """
        check(queries, self._dim)
        return search(self.parts(filter, exact), queries, k, scoring, params)

    def explain(
        self,
        query: Tokens,
        doc: int,
        scoring: Scoring = Scoring(),
        params: SearchParams = SearchParams(),
        filter: Filter | None = None,
        exact: bool = False,
    ) -> Alignment:
        """Why document number `doc` has its score for one query. The filter counts: XTR's imputed values depend on it."""
        check(query, self._dim)
        return explain(self.parts(filter, exact), widen(query.vectors), doc, scoring, params)

    def parts(self, filter: Filter | None = None, exact: bool = False) -> list[Part]:
        parts = self.state.parts
        if filter is not None:
            found = self.view.numbers(*compile(filter, self._declared))
            parts = [replace(p, allowed=np.isin(p.segment.documents, found, assume_unique=True)) for p in parts]
        return [replace(p, store=ExactStore(p.segment)) for p in parts] if exact else parts

    def tokens(self, number: int) -> Tokens:
        """The stored tokens of one document."""
        part, position = locate(self.state.parts, number)
        return part.segment.tokens.take([position])

    def documents(self, numbers: Sequence[int] | np.ndarray) -> list[Document]:
        """Ids and payloads of the documents with these numbers, in this order."""
        return self.view.by_number(numbers)


def _mark(part: Part, dead: np.ndarray) -> Part:
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
