"""SnapshotService: copies of collections in one folder, made while they are written to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ..index import backup
from ..index.catalog import FILE
from ..index.errors import NotFound
from .calls import Call
from .collections import Collections, CollectionThere, checked_name
from .limits import BadField
from .wire import snapshots_pb2 as wire


class SnapshotMethods:
    def __init__(self, collections: Collections, folder: Path):
        self._collections, self._folder = collections, folder

    def create_snapshot(self, request: wire.CreateSnapshotRequest, call: Call) -> wire.CreateSnapshotResponse:
        target = self._folder / checked_name(request.name, "name")
        if target.exists():
            raise CollectionThere(request.name, "snapshot")
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._collections.use(request.collection) as opened:
            backup.create_snapshot(opened.retriever.collection.path, target)
        return wire.CreateSnapshotResponse(snapshot=wire.Snapshot(**asdict(backup.describe_snapshot(target))))

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
        with self._collections.reserved(request.collection) as folder:
            seq = backup.restore_snapshot(snapshot, folder)
        return wire.RestoreSnapshotResponse(seq=seq)

    def _there(self, name: str) -> Path:
        folder = self._folder / checked_name(name, "name")
        if not (folder / FILE).is_file():
            raise NotFound(f"no snapshot is called {name!r}")
        return folder
