"""Query texts of requests that come at the same time, encoded together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from typing import Any

from ...index.stopping import stopping

_TOGETHER = 64
"""Texts of one batch. Larger: more throughput where an encoder gains by batches; the first of them waits longer."""


class Batcher:
    """Nobody waits for company: a text is encoded at once while a lane is free, and otherwise with all that gathered.

    Args of `encode`: a key and texts; it returns a result for each. Texts are batched with those of an equal key.
    """

    def __init__(self, encode: Callable[[Any, list[str]], Sequence[Any]], lanes: int = 1):
        """
        Args:
            lanes: batches encoded side by side: 1 where the encoder uses the whole device by itself.
        """
        self._encode, self._lanes = encode, lanes
        self._lock = threading.Lock()
        self._waiting: list[tuple[Hashable, str, Future]] = []

    def __call__(self, key: Hashable, text: str) -> Any:
        """The result for one text; raises what `encode` raised for its batch."""
        mine: Future = Future()
        with self._lock:
            self._waiting.append((key, text, mine))
            leads = self._lanes > 0
            if leads:
                self._lanes -= 1
        if leads:
            self._drain()
        return mine.result()

    def _drain(self) -> None:
        """Encodes until nothing waits. The leader's own text is in its first batch or in another leader's."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._lanes += 1
                    return
                key = self._waiting[0][0]
                batch = [entry for entry in self._waiting if entry[0] == key][:_TOGETHER]
                taken = {id(entry) for entry in batch}
                self._waiting = [entry for entry in self._waiting if id(entry) not in taken]
            try:
                # The leader's deadline is not that of the others in the batch.
                with stopping(_goes_on):
                    results = self._encode(key, [text for _, text, _ in batch])
            except BaseException as error:
                for _, _, future in batch:
                    future.set_exception(error)
            else:
                for (_, _, future), result in zip(batch, results, strict=True):
                    future.set_result(result)


def _goes_on() -> None:
    """Never stops anything."""
