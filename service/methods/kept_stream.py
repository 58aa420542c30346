"""What has come of a bulk write, on the disk until its last message is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from ...index.catalog.database import Conflict, Connection, Error, temporary
from ...index.errors import AlreadyExists, Unavailable
from ..rpc.calls import Call
from ..wire import documents_pb2 as wire


@contextmanager
def kept_stream(folder: Path) -> Iterator[KeptStream]:
    """Keeps messages in a nameless file in the folder, and their ids where SQLite has its temporary files."""
    with TemporaryFile(dir=folder) as file, closing(temporary()) as ids:
        ids.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, message INTEGER) WITHOUT ROWID")
        yield KeptStream(file, ids)


class KeptStream:
    """The messages so far, and the ids in them. Neither takes memory that grows."""

    def __init__(self, file: IO[bytes], ids: Connection):
        self._file, self._ids = file, ids

    def keep(self, request: wire.IngestDocumentsRequest, number: int) -> None:
        """Keeps message `number`. AlreadyExists: it repeats an id. Unavailable: the disk does not take it."""
        with _taken_by_the_disk():
            for i, document in enumerate(request.documents):
                self._seen(document.id, i, number)
            serialize_length_prefixed(request, self._file)  # type: ignore[arg-type]  (any file will do)
            self._file.flush()

    def batches(self, call: Call) -> Iterator[Sequence[wire.Document]]:
        """The documents of each message. Errors: `Call.check`."""
        self._file.seek(0)
        kind: Any = wire.IngestDocumentsRequest
        while (request := parse_length_prefixed(kind, self._file)) is not None:  # type: ignore[arg-type]
            call.check()
            yield request.documents

    def _seen(self, id: str, i: int, number: int) -> None:
        try:
            self._ids.execute("INSERT INTO ids VALUES (?, ?)", (id, number))
        except Conflict:
            ((first,),) = self._ids.execute("SELECT message FROM ids WHERE id = ?", (id,))
            raise AlreadyExists(
                f"documents[{i}] of message {number} has the id {id!r}, which came in message {first} of this stream; "
                "a bulk write only adds, so give each id once"
            ) from None


@contextmanager
def _taken_by_the_disk() -> Iterator[None]:
    try:
        yield
    except (OSError, Error) as error:
        raise Unavailable(f"the disk of the server does not take this bulk write ({error}); try again later") from None
