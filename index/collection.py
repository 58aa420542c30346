"""A collection on disk: catalog and segments in one folder, searched through a pinned snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from . import faiss_store
from .builder import Builder
from .catalog import Catalog, Document, writer_lock
from .errors import InvalidArgument
from .exact import ExactTokens
from .hits import Hits
from .kernels import widen
from .scoring import Scoring, SearchParams
from .search import Alignment, Part, explain, locate, search
from .segment import Segment, segment_folder
from .tokens import Tokens, check

MAX_DIM = 4096


class Collection:
    """Documents as token vectors, under stable string ids.

    Open it any number of times, in any number of processes; one of them at a time may write. A search sees the segments
    that were published when it began.
    """

    def __init__(self, path: Path, *, device: str = "cpu"):
        self.path, self.device = Path(path), device
        self.catalog = Catalog(self.path)
        self.dim = int(self.catalog.meta("dim"))
        self.store = str(self.catalog.meta("store"))
        self._parts: dict[int, Part] = {}
        self._snapshot: tuple[int, list[Part]] | None = None

    @classmethod
    def create(
        cls, path: Path, dim: int, store: str = "exact", meta: dict[str, Any] | None = None, device: str = "cpu"
    ) -> Collection:
        """Makes an empty collection in a new or empty folder.

        Args:
            dim: dimensions of every token vector, 1 to 4096.
            store: `exact`, or `faiss:` and a factory string (`faiss:IVF1024,PQ64x4fs`).
            meta: further JSON values to keep with the collection.
        """
        if not 1 <= dim <= MAX_DIM:
            raise InvalidArgument(f"dim is {dim}; it must lie between 1 and {MAX_DIM}")
        if store != "exact":
            kind, _, factory = store.partition(":")
            if kind != "faiss" or not factory:
                raise InvalidArgument(f"store is {store!r}; it must be 'exact' or 'faiss:' and a factory string")
            faiss_store.parse(factory, dim)
        Catalog.create(Path(path), {"dim": dim, "store": store, **(meta or {})}).close()
        return cls(path, device=device)

    def close(self) -> None:
        self.catalog.close()

    def __len__(self) -> int:
        return sum(s.documents for s in self.catalog.segments() if s.published)

    @contextmanager
    def writer(self, *, threads: int | None = None) -> Iterator[Builder]:
        """The bulk writer: `add` batches, then `publish`. What was added before an interruption is there again.

        Raises Unavailable while another process writes.
        """
        with writer_lock(self.path):
            builder = Builder(self.path, self.catalog, self.dim, self.store, device=self.device, threads=threads)
            try:
                yield builder
            finally:
                builder.close()

    def snapshot(self) -> list[Part]:
        """The published segments, opened. The list never changes; a later call sees what was published since."""
        state = self.catalog.state()
        if self._snapshot is None or self._snapshot[0] != state:
            rows = [s for s in self.catalog.segments() if s.published]
            for row in rows:
                if row.number not in self._parts:
                    segment = Segment.open(segment_folder(self.path, row.number), row.manifest_crc or 0)
                    self._parts[row.number] = Part(segment, self._open_store(segment))
            self._snapshot = state, [self._parts[row.number] for row in rows]
        return self._snapshot[1]

    def search(
        self,
        queries: Tokens,
        k: int = 10,
        scoring: Scoring = Scoring(),
        params: SearchParams = SearchParams(),
        threads: int | None = None,
        exact: bool = False,
    ) -> list[Hits]:
        """The k best documents of every query; fewer when fewer were retrieved.

        Args:
            threads: CPU threads of the matrix products; None leaves the process's setting.
            exact: compare with every stored token, whatever the store.
        """
        check(queries, self.dim)
        with _blas_threads(threads):
            return search(self._plan(exact), queries, k, scoring, params)

    def explain(
        self,
        query: Tokens,
        doc: int,
        scoring: Scoring = Scoring(),
        params: SearchParams = SearchParams(),
        exact: bool = False,
    ) -> Alignment:
        """Why document number `doc` has its score for the one query given."""
        check(query, self.dim)
        if len(query) != 1:
            raise InvalidArgument(f"explain takes one query, got {len(query)}")
        return explain(self._plan(exact), widen(query.vectors), doc, scoring, params)

    def documents(self, numbers: Sequence[int] | np.ndarray) -> list[Document]:
        """Ids and payloads of the documents with these numbers."""
        return self.catalog.by_number(numbers)

    def document(self, id: str) -> Document:
        """NotFound: no document has this id."""
        return self.catalog.by_id(id)

    def tokens(self, number: int) -> Tokens:
        """The stored tokens of one document."""
        part, position = locate(self.snapshot(), number)
        return part.segment.tokens.take([position])

    def verify(self) -> None:
        """Reads every byte of every published segment. DataLoss names the damaged file."""
        for part in self.snapshot():
            part.segment.verify()

    def info(self) -> dict[str, Any]:
        """Counts and bytes: documents, tokens, segments, bytes on disk by what they are for."""
        parts = self.snapshot()
        sizes: dict[str, int] = {}
        for part in parts:
            for name, file in part.segment.files.items():
                sizes[name] = sizes.get(name, 0) + file["bytes"]
        tokens = sum(len(p.segment.tokens.vectors) for p in parts)
        catalog = sum(f.stat().st_size for f in self.path.glob("catalog.db*"))
        total = sum(sizes.values()) + catalog
        return {
            "documents": len(self),
            "tokens": tokens,
            "segments": len(parts),
            "dim": self.dim,
            "store": self.store,
            "bytes": {**sizes, "catalog": catalog, "total": total},
            "bytes_per_token": round(total / tokens, 1) if tokens else None,
            "bytes_per_document": round(total / len(self), 1) if len(self) else None,
        }

    def _plan(self, exact: bool) -> list[Part]:
        parts = self.snapshot()
        return [Part(p.segment, ExactTokens(p.segment)) for p in parts] if exact else parts

    def _open_store(self, segment: Segment) -> Any:
        if self.store == "exact" or not len(segment.tokens.vectors):
            return ExactTokens(segment)
        return faiss_store.FaissStore.open(segment.folder / faiss_store.FILE, device=self.device)


@cache
def _pools() -> ThreadpoolController:
    return ThreadpoolController()


def _blas_threads(threads: int | None):
    if threads is not None and threads < 1:
        raise InvalidArgument(f"threads is {threads}; it must be at least 1")
    return nullcontext() if threads is None else _pools().limit(limits=threads, user_api="blas")
