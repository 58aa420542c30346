"""What is done to a server's folder while it is recorded: collections, aliases, snapshots and keys."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from plait.service import keys
from plait.service.server.server import build_server
from plait.service.settings import Settings
from served import Wire, serving, tensor

from .recorder import mark

STEPS: list[tuple[str, Any]] = [
    ("key", "web"),
    ("create", "one"),
    ("upsert", ("one", "a")),
    ("alias", ("live", "one")),
    ("create", "two"),
    ("upsert", ("two", "b")),
    ("alias", ("live", "two")),
    ("revoke", "web"),
    ("snapshot", ("one", "s")),
    ("restore", ("s", "three")),
    ("delete", "one"),
    ("key", "app"),
    ("alias", ("live", "three")),
    ("upsert", ("live", "c")),
    ("drop", "s"),
    ("alias", ("live", "")),
]


@dataclass(frozen=True)
class World:
    """What a server and its key file should hold."""

    collections: dict[str, set[str]] = field(default_factory=dict)
    """Ids by name."""
    aliases: dict[str, str] = field(default_factory=dict)
    keys: dict[str, bool] = field(default_factory=dict)
    """By name: whether it counts."""
    snapshots: dict[str, set[str]] = field(default_factory=dict)


def worlds() -> list[World]:
    seen = [World()]
    for step in STEPS:
        seen.append(_after(seen[-1], *step))
    return seen


def _after(world: World, name: str, value: Any) -> World:
    collections, aliases = dict(world.collections), dict(world.aliases)
    match name:
        case "key" | "revoke":
            return replace(world, keys={**world.keys, value: name == "key"})
        case "create":
            collections[value] = set()
        case "upsert":
            target = str(aliases.get(value[0], value[0]))
            collections[target] = collections[target] | {value[1]}
        case "alias":
            aliases = {**aliases, value[0]: str(value[1])} if value[1] else {}
        case "snapshot":
            return replace(world, snapshots={value[1]: collections[value[0]]})
        case "drop":
            return replace(world, snapshots={})
        case "restore":
            collections[value[1]] = world.snapshots[value[0]]
        case "delete":
            del collections[value]
            aliases = {alias: target for alias, target in aliases.items() if target != value}
    return replace(world, collections=collections, aliases=aliases)


def play(root: Path) -> None:
    with serving(root / "collections") as server:
        wire = Wire(server.target)
        for number, (name, value) in enumerate(STEPS):
            mark(f"begin {number}")
            _perform(wire, root / "keys.json", name, value)
            mark(f"end {number}")
        wire.close()


def _perform(wire: Wire, file: Path, name: str, value: Any) -> None:
    match name:
        case "key":
            command = "from plait.service.cli.main import main; main()"
            run = [sys.executable, "-c", command, "keys", "create", str(file), "--name", value]
            subprocess.run(run, check=True, capture_output=True)
        case "revoke":
            (id,) = (key.id for key in keys.read(file) if key.name == value)
            keys.revoke(file, id)
        case "create":
            wire("CreateCollection", collection=value, encoder="none", dim=2)
        case "upsert":
            _upsert(wire, *value)
        case "alias":
            wire("SetAlias", alias=value[0], collection=value[1])
        case "snapshot":
            _ended(wire, wire("CreateSnapshot", collection=value[0], name=value[1]))
        case "restore":
            _ended(wire, wire("RestoreSnapshot", name=value[0], collection=value[1]))
        case "drop":
            wire("DeleteSnapshot", name=value, confirm_name=value)
        case "delete":
            wire("DeleteCollection", collection=value, confirm_name=value)


def _ended(wire: Wire, answer: Any) -> None:
    operation = wire.ended(answer.operation)
    assert operation.state == 3, operation


def _upsert(wire: Wire, collection: str, id: str) -> None:
    vectors = tensor(np.ones((1, 2), np.float32))
    wire("UpsertDocuments", collection=collection, documents=[{"id": id, "tokens": {"vectors": vectors}}])


def look(root: Path, allowed: Sequence[World], deep: bool) -> None:
    """A server starts on what is left, shows what was acknowledged, and takes writes."""
    known = (
        {key.name: key.revoked is None for key in keys.read(root / "keys.json")}
        if (root / "keys.json").exists()
        else {}
    )
    assert known in [world.keys for world in allowed], f"the keys are {known}"
    with _started(root / "collections") as wire:
        listed = wire("ListCollections")
        aliases = {alias: c.name for c in listed.collections for alias in c.aliases}
        assert aliases in [world.aliases for world in allowed], f"the aliases are {aliases}"
        held = {c.name: _ids(wire, c.name) for c in listed.collections}
        assert held in [world.collections for world in allowed], f"the collections hold {held}"
        snapshots = {snapshot.name for snapshot in wire("ListSnapshots").snapshots}
        assert snapshots in [set(world.snapshots) for world in allowed], f"the snapshots are {snapshots}"
        for name in held:
            _upsert(wire, name, "probe")
            assert "probe" in _ids(wire, name)
        for name in ("one", "two", "three") if deep else ():
            if name not in held:
                wire("CreateCollection", collection=name, encoder="none", dim=2)


@contextmanager
def _started(root: Path) -> Iterator[Wire]:
    """A client of a server in this process: a process of its own would import everything for each state."""
    service = build_server(Settings(root=root, listen="127.0.0.1:0"))
    try:
        service.grpc.start()
        service.collections.warm()
        wire = Wire(f"127.0.0.1:{service.port}")
        yield wire
        wire.close()
    finally:
        assert service.stop(60)


def _ids(wire: Wire, collection: str) -> set[str]:
    return {document.id for document in wire("ListDocuments", collection=collection).documents}
