"""A server compares its open segments with their checksums all the time (`index/segments/scrub.py`), and logs once what
is damaged.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from ...index.collection import Collection

_EVERY_S = 1.0
_LOG = logging.getLogger("plait.service")


class Scrubbing:
    """A thread that lets each collection's scrubber go on every second, until `close`, at the rate of the process."""

    def __init__(self, opened: Callable[[], Iterable[Collection]], damage: Callable[[], dict[str, str]]):
        """
        Args:
            opened: the collections that are open now.
            damage: what is damaged by now, by the name of a collection or file.
        """
        self._opened, self._damage = opened, damage
        self._told: dict[str, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plait-scrubbing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        first = 0
        while not self._ended.wait(_EVERY_S):
            collections = [*self._opened()]
            # Another begins every time, so that the one whose name is last comes to its turn.
            first = (first + 1) % max(1, len(collections))
            for collection in collections[first:] + collections[:first]:
                collection.scrub()
            self._tell()

    def _tell(self) -> None:
        found = self._damage()
        for name, what in found.items():
            if self._told.get(name) != what:
                _LOG.error("damaged", extra={"fields": {"name": name, "problem": what}})
        self._told = found
