"""Every state that a dead machine may leave of a recorded life is opened, compared with what was acknowledged, and written to."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from life import Contents, Operation, after, assert_holds, perform
from plait.index.backup import create_snapshot
from plait.index.collection import Collection
from plait.index.errors import NotFound

from . import disk, recorder
from .recorder import Event
from .traces import LIVES, Life, World, create, durable, steps, worlds

PROBE: Operation = ("upsert", {"probe": (3, {"n": 1, "id": "probe"})})


@dataclass(frozen=True)
class Where:
    """Names one state of a record."""

    point: int
    """Events that had happened."""
    loss: str
    draw: int = 0
    """Which of the states that this loss may leave here."""


@dataclass
class Found:
    """What was seen of one record."""

    trace: str
    seed: int
    events: int = 0
    states: int = 0
    """Distinct ones: by their content and by what was acknowledged."""
    violations: list[str] = field(default_factory=list)


def recorded(library: Path, trace: str, seed: int, folder: Path) -> tuple[Path, list[Event]]:
    """Plays a life in `folder/root`. The model of the disk must end with what is really there, or it has missed something."""
    root = folder / "root"
    root.mkdir(parents=True)
    command = [sys.executable, "-P", "-c", _PLAY, str(Path(__file__).parents[1]), trace, str(seed), str(root)]
    events = recorder.record(library, root, folder / "record", command)
    (folder / "inode").write_text(str(root.stat().st_ino))
    there = {str(p.relative_to(root)): None if p.is_dir() else p.read_bytes() for p in root.rglob("*")}
    there = {path: content for path, content in there.items() if not path.endswith("-shm")}
    for _, model in replayed(folder, events, range(len(events), len(events) + 1)):
        modelled = model.left("nothing", Random(0))
        assert modelled == there, f"the record lacks something of {[*_different(modelled, there)]}"
    return root, events


_PLAY = "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path; from torture.traces import LIVES, play; \
play(LIVES[sys.argv[2]], int(sys.argv[3]), Path(sys.argv[4]))"


def _different(one: disk.Image, other: disk.Image) -> Iterator[str]:
    return (path for path in sorted({*one, *other}) if one.get(path, "") != other.get(path, ""))


def replayed(
    folder: Path, events: Sequence[Event], points: Sequence[int], deaf_to: str = "", settled: int = 0
) -> Iterator[tuple[int, disk.Disk]]:
    """The disk at each of some rising numbers of events; everything before event `settled` has come to rest."""
    model, wanted = disk.Disk(folder / "root", int((folder / "inode").read_text()), deaf_to), iter(points)
    point = next(wanted, None)
    for number in range(len(events) + 1):
        if number == settled:
            model.settle(number)
        while point == number:
            yield number, model
            point = next(wanted, None)
        if number < len(events):
            model.take(number, events[number])


def explore(
    folder: Path, trace: str, seed: int, events: Sequence[Event], most: int, deaf_to: str = "", stop_at: int = 20
) -> Found:
    """Looks at up to `most` distinct states, spread over the whole record.

    Args:
        deaf_to: see `Disk`.
        stop_at: violations that are enough.
    """
    found = Found(trace, seed, len(events))
    life, random = LIVES[trace], Random(seed)
    operations = steps(life, seed)
    expected = worlds(life, operations)
    settled = 0 if life.nested else _made(events)
    distinct: dict[tuple[bytes, int, int], Where] = {}
    for where, image in images(folder, events, _plan(random, events, most, settled), deaf_to, settled):
        allowed = _allowed(operations, expected, events[: where.point], where.loss)
        distinct.setdefault((disk.digest(image), id(allowed[0]), id(allowed[-1])), where)
    chosen = [*distinct.values()]
    chosen = sorted(random.sample(chosen, min(most, len(chosen))), key=lambda where: where.point)
    for where, image in images(folder, events, chosen, deaf_to, settled):
        allowed = _allowed(operations, expected, events[: where.point], where.loss)
        found.states += 1
        if problem := look(life, image, allowed, folder / "state", deep=where.draw % 5 == 0):
            found.violations.append(_told(folder, found, where, events, operations, problem, deaf_to))
            if len(found.violations) >= stop_at:
                break
    return found


def _made(events: Sequence[Event]) -> int:
    """The event with which the collection had been made."""
    return next(n for n, event in enumerate(events) if event.kind == "A" and event.first == b"end 0")


def _plan(random: Random, events: Sequence[Event], most: int, settled: int) -> list[Where]:
    """More states than are wanted, for many will be equal; by rising point."""
    points = [n for n in range(settled, len(events) + 1) if n == 0 or events[n - 1].kind not in "YA" or n == len(events)]
    wanted = [Where(random.choice(points), random.choice(disk.LOSSES), draw) for draw in range(most * 3)]
    return sorted(random.sample(wanted, len(wanted)), key=lambda where: where.point)


def images(
    folder: Path, events: Sequence[Event], plan: Sequence[Where], deaf_to: str = "", settled: int = 0
) -> Iterator[tuple[Where, disk.Image]]:
    models = replayed(folder, events, [where.point for where in plan], deaf_to, settled)
    for where, (_, model) in zip(plan, models, strict=True):
        yield where, model.left(where.loss, Random(str(where)))


def _allowed(
    operations: list[Operation], expected: list[World], events: Sequence[Event], loss: str
) -> list[World]:
    """What may be there: all that was acknowledged, and what was under way or not."""
    begun = ended = kept = 0
    for event in events:
        if event.kind == "A":
            name, number = event.first.decode().split()
            begun, ended = (int(number) + 1, ended) if name == "begin" else (begun, int(number) + 1)
            if name == "end" and durable(operations[ended - 1]):
                kept = ended
    return expected[(ended if loss == "nothing" else kept) : begun + 1]


def look(life: Life, image: disk.Image, allowed: list[World], scratch: Path, deep: bool) -> str:
    """What is wrong with a state; empty: nothing. `deep`: it is merged too after it was written to."""
    shutil.rmtree(scratch, ignore_errors=True)
    disk.write(image, scratch)
    try:
        for name in sorted({name for world in allowed for name in world}):
            options = [world.get(name) for world in allowed]
            there = [option for option in options if option is not None]
            absent = None in options and _absent(scratch / name)
            held = None if absent else assert_holds(scratch / name, there)
            if name == life.main:
                _goes_on(life, scratch, held, deep)
        return ""
    except Exception:
        return traceback.format_exc(limit=-4)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _absent(path: Path) -> bool:
    """Nothing that could be taken for a collection, and nothing that is in the way of one."""
    if not path.exists():
        return True
    try:
        Collection(path).close()
    except NotFound:
        return True
    return False


def _goes_on(life: Life, root: Path, held: Contents | None, deep: bool) -> None:
    """What the machine left can be made, ended, written to, merged and copied."""
    path, background = root / life.main, life.background
    if held is None:
        create(life, path).close()
        held = Contents()
    operations: list[Operation] = [("publish" if deep else "discard", None)] if held.staged else []
    operations += [PROBE, ("compact", 0)] if deep else [PROBE]
    with Collection(path, threads=1) as collection:
        for operation in operations:
            perform(collection, operation)
            held = after(held, operation)
        named = {f"segment-{row['number']:06d}" for row in collection.stats()["segments"]}
    assert {p.name for p in path.glob("segment-*")} == named, f"{background=}: folders that nobody names are left"
    if deep:
        create_snapshot(path, root / "snapshot-probe")
        assert_holds(path, [held])
        assert_holds(root / "snapshot-probe", [Contents(held.documents)])


def _told(
    folder: Path,
    found: Found,
    where: Where,
    events: Sequence[Event],
    operations: list[Operation],
    problem: str,
    deaf_to: str,
) -> str:
    marks = [event.first.decode() for event in events[: where.point] if event.kind == "A"]
    last = marks[-1] if marks else "nothing"
    under_way = operations[int(last.split()[1])] if last.startswith("begin") else None
    before = [f"  {n}: {event}" for n, event in enumerate(events[: where.point])][-6:]
    replay = f"--replay {folder} --trace {found.trace} --seed {found.seed} --point {where.point} --draw {where.draw}"
    return "\n".join(
        [
            f"{found.trace}, seed {found.seed}: lost {where.loss!r} after event {where.point} of {len(events)} ({last})",
            f"under way: {under_way}",
            *(line.replace(str(folder / "root"), "") for line in before),
            problem.strip(),
            f"again: python -m torture.crash {replay} --loss {where.loss!r}" + (f" --deaf-to {deaf_to!r}" if deaf_to else ""),
        ]
    )
