"""Documents made ready for one transaction: in memory, and beyond a bound in a file
without a name beside the catalog."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from ..errors import Unavailable
from ..payload import encoded
from ..tokens import Tokens

MEMORY = 64 << 20
"""Bytes of packed documents that are kept in memory."""


@dataclass(frozen=True, eq=False)
class Ready:
    """A batch as a transaction writes it."""

    ids: Sequence[str]
    payloads: Sequence[dict[str, Any]]
    packed: Sequence[tuple[int, bytes]]
    """The size of each document, and the document as bytes."""
    columns: Sequence[str]
    """Which optional columns its tokens have."""
    version: int
    """Of the codebook when the records were encoded (`Keep.version`)."""
    given: Tokens | None
    """The vectors as they were given, while the codebook may become another."""


class Gathered:
    """Batches in the order in which they were added. Closing it forgets them."""

    def __init__(self, folder: Path, memory: int = MEMORY):
        self._folder, self._left = folder, memory
        self._batches: list[Ready] = []
        self._file: IO[bytes] | None = None

    def add(self, batch: Ready) -> None:
        """Unavailable: there is no room for what exceeds the memory."""
        self._left -= sum(len(blob) for _, blob in batch.packed)
        if self._left >= 0:
            self._batches.append(batch)
            return
        payloads = map(encoded, batch.ids, batch.payloads)
        plain = [json.loads(text or "{}") for text in payloads]  # refused here, if at all, and not by pickle
        try:
            self._file = self._file or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115
            pickle.dump(replace(batch, payloads=plain), self._file, pickle.HIGHEST_PROTOCOL)
        except OSError as error:
            raise Unavailable(f"{self._folder} has no room for the documents of this call ({error})") from error

    def __iter__(self) -> Iterator[Ready]:
        yield from self._batches
        if self._file is None:
            return
        end = self._file.tell()
        self._file.seek(0)
        while self._file.tell() < end:
            yield pickle.load(self._file)

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
