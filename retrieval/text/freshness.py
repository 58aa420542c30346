"""The freshness tier: documents are found by their terms at once, and what a model computes of them comes later.

SVDR's binary index as a live one (Zhou et al. 2024, arXiv 2405.01924, section 4.2, has it for a corpus): which ids or
words a text has is known in microseconds, embeddings take a model. Until they are there, searches by terms and hybrid
ones find a document, those by token vectors, by vector or by terms of a model do not.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from ...index.errors import FailedPrecondition, InvalidArgument, Unavailable
from ...index.writing.live import Written
from .documents import Batch
from .encoding import SAMPLE
from .learning import Learner, learn, learned
from .term_side import model_free, stored_fields

TOGETHER = 32
"""Documents encoded and committed together. More: fewer commits; a killed process has more to do again."""
_LOG = logging.getLogger("plait.pending")


def at_once(settings: Mapping[str, Any]) -> list[str]:
    """The term fields by which a document is found before a model has seen it, of a collection with these settings.

    Raises:
        InvalidArgument: there is no such field, or nothing would come later.
    """
    encoder = settings["encoder"] is not None
    if settings.get("vector") == "given" or (settings.get("dim") and not encoder):
        raise InvalidArgument("defer is True, and the vectors of this collection are given, not computed; leave it out")
    makers = {field: stored["name"] for field, stored in stored_fields(settings).items()}
    free = [field for field, maker in makers.items() if model_free(maker)]
    if not free:
        held = ", ".join(f"{field} ({maker})" for field, maker in makers.items()) or "no terms"
        raise InvalidArgument(
            f"defer is True, and this collection has {held}: nothing finds a document before a model has seen it; "
            "create one with terms that need none: binary, beta:CHECKPOINT or bm25"
        )
    if not encoder and len(free) == len(makers):
        raise InvalidArgument(f"defer is True, and {', '.join(free)} of this collection need no model; leave it out")
    return free


class Owner(Learner, Protocol):
    """An open collection whose documents may wait for a model. `Retriever` is one."""

    @property
    def seq(self) -> int: ...

    def batches(self, documents: Iterable[dict[str, Any]]) -> Iterator[Batch]: ...


class Pending:
    """The documents of a collection that wait for what a model computes of them. One thread encodes at a time."""

    def __init__(self, owner: Owner):
        # Not a reference: an owner that nobody has any more is to go at once, and with it the lock of writers.
        self._known, self._alone = weakref.ref(owner), threading.Lock()
        self.problem: str | None = None
        """What has ended encoding in the background, until `encode` can."""

    @property
    def _owner(self) -> Owner:
        found = self._known()
        if found is None:
            raise FailedPrecondition("the collection whose documents wait was let go; open it again")
        return found

    def __len__(self) -> int:
        with self._owner.collection.catalog.reading() as view:
            return view.count_pending()

    def encode(self, limit: int | None = None, progress: Callable[[int, int], None] | None = None) -> Written:
        """See `Retriever.encode_pending`."""
        if limit is not None and limit < 1:
            raise InvalidArgument(f"limit is {limit}; it must be at least 1")
        seen, written = 0, Written(self._owner.seq, 0)
        while limit is None or seen < limit:
            with self._alone:
                done, count = self._batch(TOGETHER if limit is None else min(TOGETHER, limit - seen))
            if not count:
                break
            if self.problem:
                self.problem = None
                _LOG.info("encoding in the background goes on", extra=self._which())
            seen, written = seen + count, Written(done.seq, written.count + done.count)
            if progress:
                total = seen + len(self)
                progress(seen, total if limit is None else min(limit, total))
        return written

    def step(self) -> bool:
        """Encodes the next batch, in the background; whether there was one. An error ends it, and nothing else."""
        if self.problem or self._owner.collection.failure:
            return False
        try:
            with self._owner.collection.catalog.reading() as view:
                if view.staged:
                    return False  # a bulk write is under way, or waits to be finished
            with self._alone:
                return self._batch(TOGETHER)[1] > 0
        except Unavailable:
            return False  # a bulk write has begun meanwhile
        except Exception as error:
            _LOG.error(
                "encoding in the background has ended; encode_pending tries again", exc_info=True, extra=self._which()
            )
            self.problem = f"{type(error).__name__}: {error}"
            return False

    def _which(self) -> dict[str, Any]:
        """What a line of the log says beside its message."""
        return {"fields": {"collection": self._owner.collection.path.name}}

    def _batch(self, size: int) -> tuple[Written, int]:
        """What was written, and how many documents no longer wait: those that went meanwhile among them."""
        owner = self._owner
        numbers, documents = self._oldest(size)
        if not documents:
            return Written(0, 0), 0
        self._fit()
        ((_, tokens, _, terms),) = owner.batches(documents)
        return owner.collection.live.complete(numbers, tokens, terms), len(documents)

    def _fit(self) -> None:
        """The recipe is learned from the documents that have waited longest, as `upsert` would have from the same."""
        owner = self._owner
        if learned(owner):
            return
        _, sample = self._oldest(SAMPLE)
        with owner.collection.builder() as builder:
            learn(owner, builder, sample)

    def _oldest(self, count: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Numbers of those that have waited longest, and the documents."""
        with self._owner.collection.catalog.reading() as view:
            numbers = view.pending(count)
            return numbers, [{**d.payload, "id": d.id} for d in view.by_number(numbers)]
