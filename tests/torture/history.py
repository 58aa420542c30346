"""What clients were told of single documents, and whether what they read later agrees with it.

One thread writes a document, and any may read it. A write that was answered counts. One that failed may have been done.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

Version = int | None
"""What a document's payload says; None: there is no such document."""


class History:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._possible: dict[str, set[Version]] = {}
        """By id: what may be there now."""
        self._begun: dict[str, list[Version]] = {}
        self.acknowledged = 0

    @contextmanager
    def write(self, versions: Mapping[str, Version]) -> Iterator[None]:
        """A write that is acknowledged when the block ends well."""
        with self._lock:
            for id, version in versions.items():
                self._possible.setdefault(id, {None}).add(version)
                self._begun.setdefault(id, []).append(version)
        yield
        with self._lock:
            self.acknowledged += 1
            for id, version in versions.items():
                self._possible[id] = {version}

    @contextmanager
    def read(self, id: str, seen: list[Version]) -> Iterator[None]:
        """A read that puts what it saw into `seen`. AssertionError: nobody wrote this,
        or it is older than an answer."""
        with self._lock:
            allowed, since = set(self._possible.get(id, {None})), len(self._begun.get(id, []))
        yield
        with self._lock:
            allowed |= {*self._begun.get(id, [])[since:]}
        for version in seen:
            assert version in allowed, f"document {id!r} reads as version {version}; it may be {allowed}"

    def check(self, found: Mapping[str, Version]) -> list[str]:
        """What is wrong with the documents that are there at the end."""
        wrong = [f"{id!r} is there and was never written" for id in found if id not in self._possible]
        for id, possible in self._possible.items():
            if found.get(id) not in possible:
                wrong.append(f"{id!r} is at version {found.get(id)}; it must be one of {possible}")
        return wrong

    def __len__(self) -> int:
        return len(self._possible)
