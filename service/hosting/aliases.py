"""The aliases of a server's collections, in one small file with a checksum: read again whenever it has changed."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

from ...index.errors import DataLoss
from ..messages.durable import checksum, replace

FILE = "aliases.json"
_LOG = logging.getLogger("plait.service")


class Aliases:
    """Names that stand for collections. While the file is damaged none counts, and who needs one is told."""

    def __init__(self, root: Path):
        self._path, self._lock = root / FILE, threading.Lock()
        self._version: tuple[int, int, int] | None = None
        self._known: dict[str, str] = {}
        self._damage: str | None = None
        self.changed()

    def changed(self) -> bool:
        """Whether the file is another one than when it was last looked at; from now on it counts."""
        with self._lock:
            version = _version(self._path)
            if version == self._version:
                return False
            self._version, self._known, self._damage = version, {}, None
            try:
                self._known = _read(self._path)
            except (DataLoss, OSError) as error:
                self._damage = str(error)
                _LOG.error("aliases not read", extra={"fields": {"file": str(self._path), "error": self._damage}})
            return True

    @property
    def damage(self) -> str | None:
        """Why no alias counts now; None: they do."""
        self.changed()
        return self._damage

    def all(self) -> dict[str, str]:
        """Alias to collection. DataLoss: the file is damaged."""
        self.changed()
        if self._damage is not None:
            raise DataLoss(self._damage)
        return dict(self._known)

    def find(self, name: str) -> str | None:
        """The collection that a name stands for; None: it is no alias. DataLoss: that cannot be known."""
        self.changed()
        if self._damage is not None:
            raise DataLoss(self._damage)
        return self._known.get(name)

    def write(self, aliases: dict[str, str]) -> None:
        """Replaces them all, durably."""
        text = json.dumps({"aliases": aliases, "sha256": checksum(aliases)}, indent=1, sort_keys=True)
        replace(self._path, text + "\n")
        self.changed()


def _read(path: Path) -> dict[str, str]:
    """DataLoss: the file is not what was written. One of an older plait has no checksum: the bare aliases, by name."""
    try:
        said = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DataLoss(_said(path, f"it is no JSON: {error}")) from None
    if not isinstance(said, dict):
        raise DataLoss(_said(path, f"it holds a {type(said).__name__}"))
    aliases = said
    if any(not isinstance(value, str) for value in said.values()):
        aliases = said.get("aliases")
        if said.keys() != {"aliases", "sha256"} or not isinstance(aliases, dict) or checksum(aliases) != said["sha256"]:
            raise DataLoss(_said(path, "it is not what was written"))
    if any(not isinstance(value, str) for value in aliases.values()):
        raise DataLoss(_said(path, "an alias stands for something that is no name"))
    return aliases


def _said(path: Path, why: str) -> str:
    return (
        f"{path} is damaged, and no alias counts ({why}); restore it from a copy, or remove it and set the aliases anew"
    )


def _version(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of the last change; zeros: there is no such file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns
