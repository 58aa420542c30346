"""SnapshotService: copies of collections in one folder, made while they are written to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ...index.catalog.catalog import FILE
from ...index.errors import NotFound
from ...index.reading import backup
from ..hosting.collections import Collections, CollectionThere, Opened, checked_name, full
from ..hosting.operations import Operations, Report, start_on
from ..limits import BadField
from ..rpc.calls import Call
from ..settings import Settings
from ..wire import snapshots_pb2 as wire


class SnapshotMethods:
    def __init__(self, collections: Collections, operations: Operations, settings: Settings):
        self._collections, self._operations, self._settings = collections, operations, settings
        self._folder = settings.snapshots or settings.root / ".snapshots"
        self._start = partial(start_on, operations, collections)
        self._making: set[str] = set()
        self._lock = threading.Lock()

    def create_snapshot(self, request: wire.CreateSnapshotRequest, call: Call) -> wire.CreateSnapshotResponse:
        with ExitStack() as held:
            target = held.enter_context(self._reserved(request.name))

            def work(opened: Opened, report: Report) -> dict[str, Any]:
                backup.create_snapshot(opened.retriever.collection.path, target, report)
                made = backup.describe_snapshot(target)
                return {"name": made.name, "seq": made.seq, "documents": made.documents}

            return wire.CreateSnapshotResponse(operation=self._start("snapshot", request.collection, work, held))

    def list_snapshots(self, request: wire.ListSnapshotsRequest, call: Call) -> wire.ListSnapshotsResponse:
        found = backup.list_snapshots(self._folder)
        return wire.ListSnapshotsResponse(snapshots=[wire.Snapshot(**asdict(one)) for one in found])

    def delete_snapshot(self, request: wire.DeleteSnapshotRequest, call: Call) -> wire.DeleteSnapshotResponse:
        if request.confirm_name != request.name:
            raise BadField("confirm_name", f"confirm_name is {request.confirm_name!r}, name {request.name!r}")
        backup.delete_snapshot(self._there(request.name))
        return wire.DeleteSnapshotResponse()

    def restore_snapshot(self, request: wire.RestoreSnapshotRequest, call: Call) -> wire.RestoreSnapshotResponse:
        snapshot = self._there(request.name)
        with ExitStack() as held:
            folder = held.enter_context(self._collections.reserved(request.collection))

            def work(report: Report) -> dict[str, Any]:
                return {"seq": backup.restore_snapshot(snapshot, folder, report)}

            started = self._operations.start("restore", request.collection, work, held)
            return wire.RestoreSnapshotResponse(operation=started.message())

    @contextmanager
    def _reserved(self, name: str) -> Iterator[Path]:
        """The folder of a new snapshot, which nobody else makes meanwhile. CollectionThere: the name is taken."""
        target = self._folder / checked_name(name, "name")
        with self._lock:
            if target.exists() or name in self._making:
                raise CollectionThere(name, "snapshot")
            there = sum(1 for _ in self._folder.glob(f"*/{FILE}"))
            full("snapshots", there + len(self._making), self._settings)
            self._making.add(name)
        try:
            yield target
        finally:
            with self._lock:
                self._making.discard(name)

    def _there(self, name: str) -> Path:
        folder = self._folder / checked_name(name, "name")
        if not (folder / FILE).is_file():
            raise NotFound(f"no snapshot is called {name!r}")
        return folder
