"""The live recall probe: every n-th search is answered exactly as well, in the background, and the two are compared."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

from ...index.errors import Unavailable
from ...index.stopping import stopping
from .metrics import Metrics

WINDOW = 100
"""Probes that the gauge is the mean of. Larger: a steadier value, slower to change."""
_MOST = 1_000
"""Collections remembered, those probed last."""
_LEAVE_S = 5.0
_LOG = logging.getLogger("plait.service")


@dataclass(frozen=True)
class _Probe:
    collection: str
    found: Sequence[str]
    exactly: Callable[[], Sequence[str] | None]


def recall(found: Sequence[str], exact: Sequence[str]) -> float:
    """The share of the exact top k that was found; 1 if there is nothing to find."""
    return len(set(found) & set(exact)) / len(exact) if exact else 1.0


class RecallProbe:
    """Takes searches from any thread and never makes one wait: while a probe runs or rests, others are skipped.

    After a probe that took t seconds the thread rests t * (1 - share) / share, so that it uses that share of one core.
    """

    def __init__(self, every: int, share: float, metrics: Metrics):
        self._every, self._rest = every, (1 - share) / share
        self._metrics = metrics
        self._recalls: OrderedDict[str, deque[float]] = OrderedDict()
        self._searches, self._next = 0, None
        self._changed = threading.Condition()
        self._free, self._stopped = True, threading.Event()
        self._thread = threading.Thread(target=self._run, name="plait-probe", daemon=True)
        self._thread.start()

    def offer(self, collection: str, found: Sequence[str], exactly: Callable[[], Sequence[str] | None]) -> None:
        """Notes a search; every n-th is compared with `exactly()`: the ids that an exact search finds, or None (then it
        is not)."""
        with self._changed:
            self._searches += 1
            if self._searches % self._every:
                return
            if not self._free:
                self._metrics.skipped()
                return
            self._free, self._next = False, _Probe(collection, list(found), exactly)
            self._changed.notify()

    def stop(self) -> None:
        self._stopped.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(_LEAVE_S)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise Unavailable("the server ends")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._next or self._stopped.is_set())
                probe, self._next = self._next, None
            if probe is None:
                return
            started = perf_counter()
            try:
                with stopping(self._go_on):
                    exact = probe.exactly()
                if exact is not None:
                    self._note(probe.collection, recall(probe.found, exact))
            except Exception as error:  # whatever it is, searches go on; the collection may be gone by now
                _LOG.warning(
                    "probe failed", extra={"fields": {"collection": probe.collection, "error": type(error).__name__}}
                )
            self._stopped.wait((perf_counter() - started) * self._rest)
            with self._changed:
                self._free = True

    def _note(self, collection: str, value: float) -> None:
        latest = self._recalls.setdefault(collection, deque(maxlen=WINDOW))
        self._recalls.move_to_end(collection)
        if len(self._recalls) > _MOST:
            self._recalls.popitem(last=False)
        latest.append(value)
        self._metrics.probed(collection, sum(latest) / len(latest))
