"""Catalogs in folders that this process may not write to: other people's, read-only mounts, images.

SQLite wants two files beside a catalog, its log and an index of that. Where it cannot make them, the catalog is read as
a file that never changes.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import Unavailable
from .database import Connection, connect


class Unwritable:
    """Opens one catalog."""

    def __init__(self, path: Path):
        self._path = path
        self._copy: TemporaryDirectory[str] | None = None

    def connect(self) -> Connection:
        """Reads beside a writer that has it open; otherwise what is there now, and nothing that is written later.

        Errors: those of `database.connect`.
        """
        log = self._path.with_name(self._path.name + "-wal")
        if self._copy is None:
            try:
                return connect(self._path)
            except Unavailable:
                if not log.exists() or not log.stat().st_size:
                    return connect(self._path, immutable=True)
            # A writer was killed: its last transactions are in the log alone, which belongs to the file's own folder.
            self._copy = TemporaryDirectory(prefix="plait-catalog-")
            for file in (self._path, log):
                shutil.copyfile(file, Path(self._copy.name) / file.name)
        return connect(Path(self._copy.name) / self._path.name)
