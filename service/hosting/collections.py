"""The collections of a server: folders under one root, opened once, and names that stand for them."""

from __future__ import annotations

import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...index.collection import Collection
from ...index.disk.making import remove_left
from ...index.disk.paths import absolute, is_free, make_folder, sync
from ...index.errors import AlreadyExists, DataLoss, FailedPrecondition, NotFound, PlaitError, Unavailable
from ...retrieval.retriever import Retriever
from ...retrieval.routes.find import Queries
from ...retrieval.routes.options import SearchOptions
from ...retrieval.routes.route import Route, Sides
from ..limits import BadField
from ..settings import Settings
from .aliases import FILE as ALIASES
from .aliases import Aliases
from .batcher import Batcher
from .scrubbing import Scrubbing

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_LEAVE_S = 30.0
_LOG = logging.getLogger("plait.service")


def checked_name(name: str, field: str = "collection") -> str:
    """The name. BadField: it could be a path, or is too long."""
    if not _NAME.fullmatch(name):
        shown = f"{name[:70]!r}; 1 to 64 ASCII letters, digits, _ and -, the first a letter or digit"
        raise BadField(field, f"{field} is {shown}")
    return name


class NoCollection(NotFound):
    def __init__(self, name: str):
        super().__init__(f"no collection is called {name!r}")
        self.collection = name


class CollectionThere(AlreadyExists):
    def __init__(self, name: str, what: str = "collection"):
        super().__init__(f"a {what} is called {name!r} already; choose another name, or delete that one first")
        self.collection = name


def full(what: str, there: int, settings: Settings) -> None:
    """FailedPrecondition: there are as many as the limit of this name allows."""
    most = getattr(settings.limits, what)
    if there >= most:
        raise FailedPrecondition(
            f"there are {there:,} {what} here, and the limit ({what}) is {most:,}; delete one first"
        )


def unserved(root: Path) -> list[str]:
    """The folders with a collection whose names the protocol does not allow."""
    names = (path.parent.name for path in root.glob("*/catalog.db"))
    return sorted(name for name in names if not _NAME.fullmatch(name) and not name.startswith("."))


@dataclass(frozen=True)
class Opened:
    """A collection that the server has open."""

    name: str
    retriever: Retriever
    batcher: Batcher
    """(`Route.sides`, text) to `Queries` of one."""

    def encode(self, route: Route, text: str) -> Queries:
        """What a route needs of a text, encoded together with what other calls need of theirs at the same time.

        InvalidArgument: this collection does not make it of texts.
        """
        self.retriever.check_texts(route)
        return self.batcher(route.sides, text)


class Collections:
    """Opens each collection once and lends it; a collection is closed only when nobody has it."""

    def __init__(self, settings: Settings, follows: bool = False):
        """Opens all there are. One that cannot be opened raises its error whenever it is asked for.

        Args:
            follows: another process makes, deletes and renames them; what it did is seen by the next call.
        """
        self.root, self._settings, self._follows = absolute(settings.root), settings, follows
        make_folder(self.root)
        for half in self.root.glob(".gone-*") if not follows else ():
            shutil.rmtree(half, ignore_errors=True)
        for folder in (self.root, settings.snapshots or self.root / ".snapshots") if not follows else ():
            remove_left(folder)
        self._files: dict[str, int] = {}
        """The inode of each open catalog. Open, it is not given to another file, so an equal one is the same catalog.
        """
        self._open: dict[str, Opened | PlaitError] = {}
        self._users: dict[str, int] = {}
        self._busy: set[str] = set()
        self._lock = threading.Condition()
        self._aliases = Aliases(self.root)
        for name in self.names():
            try:
                self._open[name] = self._opened(name)
            except PlaitError as error:
                if not follows:
                    self._open[name] = error
        self._scrubbing = Scrubbing(self._collections, self.damage)

    def names(self) -> list[str]:
        return sorted(p.parent.name for p in self.root.glob("*/catalog.db") if _NAME.fullmatch(p.parent.name))

    def aliases_of(self, name: str) -> list[str]:
        """What else a collection is called; nothing while the file of the aliases is damaged, which `damage` tells."""
        if self._aliases.damage is not None:
            return []
        return sorted(alias for alias, stands in self._aliases.all().items() if stands == name)

    def damage(self) -> dict[str, str]:
        """What is known to be damaged: open collections by name, and the file of the aliases."""
        with self._lock:
            opened = [o for o in self._open.values() if isinstance(o, Opened)]
            found = {name: str(o) for name, o in self._open.items() if isinstance(o, DataLoss)}
        found |= {o.name: problems[0] for o in opened if (problems := o.retriever.collection.damage)}
        return found | ({ALIASES: why} if (why := self._aliases.damage) else {})

    @contextmanager
    def use(self, name: str) -> Iterator[Opened]:
        """The collection of this name or alias, open for as long as the block runs.

        Raises:
            BadField, NoCollection: there is none. Unavailable: it is being made or deleted.
            DataLoss: it is damaged, or the file that says what an alias stands for.
        """
        with self._lock:
            if self._aliases.changed() and self._follows:
                self._let_go(*self._open)  # a delete writes the aliases as well: what is gone is not held for ever
            name = self._meant(checked_name(name))
            if self._follows:
                self._let_go(name)
            opened = self._find(name)
            self._users[name] = self._users.get(name, 0) + 1
        try:
            yield opened
        finally:
            with self._lock:
                self._users[name] -= 1
                self._lock.notify_all()

    def create(self, name: str, **settings: Any) -> None:
        """CollectionThere: the name is taken. Errors as of `plait.create`."""
        with self.reserved(name) as folder:
            made = Retriever.create(folder, **settings, **self._machine())
            with self._lock:
                self._open[name] = self._opened(name, made)

    @contextmanager
    def reserved(self, name: str) -> Iterator[Path]:
        """The folder of a new collection, which nobody else makes meanwhile. CollectionThere: the name is taken."""
        checked_name(name)
        with self._lock:
            alias = self._aliases.find(name) is not None
            if not is_free(self.root / name) or alias or name in self._busy:
                raise CollectionThere(name, "alias" if alias else "collection")
            full("collections", len(self.names()) + len(self._busy), self._settings)
            self._busy.add(name)
        try:
            yield self.root / name
        finally:
            with self._lock:
                self._busy.discard(name)

    def delete(self, name: str) -> None:
        """Waits for those who use it, then removes it and its aliases. Unavailable: they take too long."""
        with self._lock:
            if not (self.root / checked_name(name)).is_dir() or name in self._busy:
                raise NoCollection(name)
            self._busy.add(name)
            try:
                if not self._lock.wait_for(lambda: not self._users.get(name), _LEAVE_S):
                    raise Unavailable(f"{name} is still in use after {_LEAVE_S:.0f} s; try again")
                opened = self._open.pop(name, None)
                if isinstance(opened, Opened):
                    opened.retriever.close()
                gone = self.root / f".gone-{name}"
                shutil.rmtree(gone, ignore_errors=True)
                (self.root / name).rename(gone)
                sync(self.root)
                if self._aliases.damage is None:
                    self._aliases.write({a: c for a, c in self._aliases.all().items() if c != name})
            finally:
                self._busy.discard(name)
        shutil.rmtree(gone, ignore_errors=True)

    def set_alias(self, alias: str, name: str | None) -> str | None:
        """Lets the alias stand for a collection, or for none, in one step. Returns what it stood for.

        DataLoss: the file of the aliases is damaged, and writing it would drop all others.
        """
        checked_name(alias, "alias")
        with self._lock:
            if not is_free(self.root / alias) or alias in self._busy:
                raise CollectionThere(alias)
            if name is not None and not (self.root / checked_name(name) / "catalog.db").is_file():
                raise NoCollection(name)
            before = self._aliases.all()
            others = {a: c for a, c in before.items() if a != alias}
            if name is not None:
                full("aliases", len(others), self._settings)
            self._aliases.write(others if name is None else {**others, alias: name})
            return before.get(alias)

    def failures(self) -> dict[str, str]:
        """Why this process can write no more, of every collection where that is so."""
        with self._lock:
            opened = [o for o in self._open.values() if isinstance(o, Opened)]
        found = {o.name: o.retriever.collection.failure for o in opened}
        return {name: why for name, why in found.items() if why}

    def warm(self) -> None:
        """Loads what the collections encode queries with, so that the first search does not wait for it."""
        with self._lock:
            opened = [o for o in self._open.values() if isinstance(o, Opened)]
        for one in opened:
            try:
                one.encode(one.retriever.route(SearchOptions(), None), "a")
            except PlaitError:
                pass  # it takes no texts, or says what is wrong to whoever sends one
            except Exception as error:
                _LOG.warning(
                    "a query cannot be encoded",
                    extra={"fields": {"collection": one.name, "error": type(error).__name__}},
                )

    def recover(self) -> None:
        """Lets those write again where what made writes fail is gone."""
        with self._lock:
            opened = [o for o in self._open.values() if isinstance(o, Opened) and o.retriever.collection.failure]
        for collection in (one.retriever.collection for one in opened):
            with suppress(PlaitError):
                collection.recover()

    def close(self) -> None:
        self._scrubbing.close()
        with self._lock:
            for opened in self._open.values():
                if isinstance(opened, Opened):
                    opened.retriever.close()
            self._open.clear()

    def _collections(self) -> list[Collection]:
        with self._lock:
            return [o.retriever.collection for o in self._open.values() if isinstance(o, Opened)]

    def _find(self, name: str) -> Opened:
        if name in self._busy:
            raise Unavailable(f"{name} is being made or deleted; try again")
        if name not in self._open:
            if not (self.root / name / "catalog.db").is_file():
                raise NoCollection(name)
            self._open[name] = self._opened(name)
        found = self._open[name]
        if isinstance(found, PlaitError):
            raise found
        return found

    def _let_go(self, *names: str) -> None:
        """Forgets those whose catalog is another or gone. Who has one goes on with it; it is
        closed when nobody has it."""
        for name in names:
            if name in self._open and _version(self.root / name / "catalog.db")[0] != self._files[name]:
                del self._open[name]

    def _meant(self, name: str) -> str:
        """The collection that a name stands for. A collection's own name is never an alias:
        it counts without their file.
        """
        if name in self._open or (self.root / name / "catalog.db").is_file():
            return name
        return checked_name(self._aliases.find(name) or name)

    def _opened(self, name: str, made: Retriever | None = None) -> Opened:
        self._files[name] = _version(self.root / name / "catalog.db")[0]
        retriever = made or Retriever(self.root / name, **self._machine(), encoder=self._settings.checkpoints)
        if not self._follows:
            retriever.collection.discard_broken()
        with retriever.collection.snapshot():
            pass  # every segment is opened and verified before the first search comes
        # On a GPU one batch after the other; CPU encoders work side by side.
        lanes = min(self._settings.workers, os.cpu_count() or 1) if self._settings.device == "cpu" else 1
        return Opened(name, retriever, Batcher(partial(_encode, retriever), lanes))

    def _machine(self) -> dict[str, Any]:
        s = self._settings
        encode = s.encode_pending and not self._follows
        return {"device": s.device, "device_memory": s.device_memory, "threads": s.threads, "encode_pending": encode}


def _version(path: Path) -> tuple[int, int]:
    """Inode and time of the last change; (0, 0): there is no such file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_ino, found.st_mtime_ns


def _encode(retriever: Retriever, sides: Sides, texts: Sequence[str]) -> list[Queries]:
    queries = retriever.encoded(sides, texts)
    return [queries.one(i) for i in range(len(texts))]
