"""Opens what a dead machine may leave of a record, compares it with what was acknowledged, and writes to it."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from paths import TESTS

from . import disk, recorder, traces
from .recorder import Event
from .traces import Trace


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


def recorded(library: Path, trace: Trace, folder: Path) -> list[Event]:
    """Plays a trace in `folder/root`. AssertionError: the model of the disk ends with something else than is there."""
    root = folder / "root"
    root.mkdir(parents=True)
    play = "import sys; sys.path[:0] = sys.argv[4:]; from pathlib import Path; from torture.traces import play; "
    command = [sys.executable, "-c", play + "play(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))"]
    command += [trace.name, str(trace.seed), str(root), str(TESTS), str(TESTS / "support")]
    events = recorder.record(library, root, folder / "record", command)
    (folder / "inode").write_text(str(root.stat().st_ino))
    there = {str(p.relative_to(root)): None if p.is_dir() else p.read_bytes() for p in root.rglob("*")}
    there = {path: content for path, content in there.items() if not path.endswith("-shm")}
    for _, model in replayed(folder, events, [len(events)]):
        modelled = model.left("nothing", Random(0))
        assert modelled == there, f"the record lacks something of {[*_different(modelled, there)]}"
    return events


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


def record_and_explore(library: Path, folder: Path, name: str, seed: int, most: int) -> Found:
    """Both; the record is kept where something is wrong."""
    trace, place = traces.trace(name, seed), folder / f"{name}-{seed}"
    found = explore(place, trace, recorded(library, trace, place), most)
    if not found.violations:
        shutil.rmtree(place)
    return found


def explore(
    folder: Path, trace: Trace, events: Sequence[Event], most: int, deaf_to: str = "", enough: int = 20, since: int = 0
) -> Found:
    """Looks at up to `most` distinct states, spread over the whole record.

    Args:
        deaf_to: see `Disk`.
        enough: violations after which it stops.
        since: the machine dies not before this operation begins.
    """
    found, random = Found(trace.name, trace.seed, len(events)), Random(trace.seed)
    settled = 0 if trace.from_birth else _made(events)
    first = max(settled, events.index(Event("A", first=f"begin {since}".encode())))
    distinct: dict[tuple[bytes, int, int], Where] = {}
    for where, image in images(
        folder, events, _plan(random, events, most, first if since else settled), deaf_to, settled
    ):
        allowed = _allowed(trace, events[: where.point], where.loss)
        distinct.setdefault((disk.digest(image), id(allowed[0]), id(allowed[-1])), where)
    chosen = random.sample([*distinct.values()], min(most, len(distinct)))
    chosen.sort(key=lambda where: where.point)
    for where, image in images(folder, events, chosen, deaf_to, settled):
        found.states += 1
        if problem := look(trace, image, _allowed(trace, events[: where.point], where.loss), folder / "state", where):
            found.violations.append(_told(folder, trace, where, events, problem, deaf_to))
            if len(found.violations) >= enough:
                break
    return found


def again(folder: Path, trace: Trace, where: Where, deaf_to: str = "") -> str:
    """What is wrong with one state of a record that was kept; its files stay in `folder/state`."""
    events = recorder.read(folder / "record")
    settled = 0 if trace.from_birth else _made(events)
    ((_, image),) = images(folder, events, [where], deaf_to, settled)
    return look(trace, image, _allowed(trace, events[: where.point], where.loss), folder / "state", where, keep=True)


def _made(events: Sequence[Event]) -> int:
    """The event with which the collection had been made."""
    return next(n for n, event in enumerate(events) if event.kind == "A" and event.first == b"end 0")


def _plan(random: Random, events: Sequence[Event], most: int, first: int) -> list[Where]:
    """More states than are wanted, for many will be equal; by rising point."""
    points = [n for n in range(first, len(events) + 1) if n == 0 or events[n - 1].kind not in "YA" or n == len(events)]
    wanted = [Where(random.choice(points), random.choice(disk.LOSSES), draw) for draw in range(most * 3)]
    return sorted(random.sample(wanted, len(wanted)), key=lambda where: where.point)


def images(
    folder: Path, events: Sequence[Event], plan: Sequence[Where], deaf_to: str = "", settled: int = 0
) -> Iterator[tuple[Where, disk.Image]]:
    models = replayed(folder, events, [where.point for where in plan], deaf_to, settled)
    for where, (_, model) in zip(plan, models, strict=True):
        yield where, model.left(where.loss, Random(str(where)))


def _allowed(trace: Trace, events: Sequence[Event], loss: str) -> Sequence[Any]:
    """What may be there: all that was acknowledged, and what was under way or not."""
    begun = ended = kept = 0
    for event in events:
        if event.kind == "A":
            name, number = event.first.decode().split()
            begun, ended = (int(number) + 1, ended) if name == "begin" else (begun, int(number) + 1)
            if name == "end" and trace.durable(ended - 1):
                kept = ended
    return trace.worlds[(ended if loss == "nothing" else kept) : begun + 1]


def look(
    trace: Trace, image: disk.Image, allowed: Sequence[Any], scratch: Path, where: Where, keep: bool = False
) -> str:
    """What is wrong with a state; empty: nothing. One of five is looked at longer."""
    shutil.rmtree(scratch, ignore_errors=True)
    disk.write(image, scratch)
    try:
        trace.look(scratch, allowed, where.draw % 5 == 0)
        return ""
    except Exception:
        return traceback.format_exc(limit=-4)
    finally:
        if not keep:
            shutil.rmtree(scratch, ignore_errors=True)


def _told(folder: Path, trace: Trace, where: Where, events: Sequence[Event], problem: str, deaf_to: str) -> str:
    """A violation: where it is, what was under way, what came before, and how to see it again."""
    marks = [event.first.decode() for event in events[: where.point] if event.kind == "A"] or ["nothing"]
    under_way = trace.operations[int(marks[-1].split()[1])] if marks[-1].startswith("begin") else None
    before = [f"  {n}: {event}" for n, event in enumerate(events[: where.point])][-6:]
    again = f"--again {folder} --trace {trace.name} --seed {trace.seed} --point {where.point} --draw {where.draw}"
    return "\n".join(
        [
            f"{trace.name}, seed {trace.seed}: event {where.point} of {len(events)} ({marks[-1]}), lost: {where.loss}",
            f"under way: {under_way}",
            *(line.replace(str(folder / "root"), "") for line in before),
            problem.strip(),
            f"again: PYTHONPATH=tests:tests/support python -m torture {again} --loss {where.loss!r} --deaf-to {deaf_to!r}",
        ]
    )
