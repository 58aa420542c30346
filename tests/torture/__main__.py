"""Crash states and rounds of SIGKILL for as long as is asked: `make torture` has the usual arguments.

Ends with 1 when something acknowledged was lost, something was half done, or a reader got an error. Prints what it
found on stderr, with the line that shows it again, and writes figures to a file.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from . import disk, figures, kills, recorder, states, traces

_SHARE = {"service": 40}
"""Distinct states of one record; of a server's less, for each starts one."""
_STATES = 500


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m torture", description=__doc__)
    parser.add_argument("--states", type=int, default=0, help="distinct states that a dead machine may leave")
    parser.add_argument("--rounds", type=int, default=0, help="SIGKILLs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1, help="of the first round and the first drawn record")
    parser.add_argument("--trace", choices=traces.NAMES, help="only records of this name; with --again, the record's")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where everything is made and removed")
    parser.add_argument("--results", type=Path, help="a folder for the figures")
    parser.add_argument("--again", type=Path, help="look again at one state of a record that was kept")
    parser.add_argument("--point", type=int, default=0)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--loss", choices=disk.LOSSES, default=disk.LOSSES[0])
    parser.add_argument("--deaf-to", default="")
    options = parser.parse_args()
    if options.again:
        where = states.Where(options.point, options.loss, options.draw)
        problem = states.again(options.again, traces.trace(options.trace, options.seed), where, options.deaf_to)
        print(problem or "nothing is wrong", f"the files are in {options.again / 'state'}", sep="\n")
        return bool(problem)
    folder = Path(tempfile.mkdtemp(prefix="plait-torture-", dir=options.folder))
    bad = 0
    if options.states:
        bad += _crash_states(options, folder)
    if options.rounds:
        bad += _kill_rounds(options, folder)
    if bad:
        print(f"{bad} violations; the records are in {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return bool(bad)


def _crash_states(options: argparse.Namespace, folder: Path) -> int:
    if why := recorder.available():
        raise SystemExit(why)
    library = recorder.build(folder)
    names = [options.trace] if options.trace else [*traces.NAMES]
    # Everything once, then what seeds draw; births and servers have but one course.
    wanted = [(name, seed) for seed in (0, *range(options.seed, options.seed + 1000)) for name in names]
    wanted = [(name, seed) for name, seed in wanted if not seed or name not in ("birth", "service")]
    shares = ((library, folder, name, seed, _SHARE.get(name, _STATES)) for name, seed in wanted)
    figure: dict[str, Any] = {"states": 0, "events": 0, "records": 0, "violations": 0, "by trace": {}}
    for found in _parallel(options.jobs, states.record_and_explore, shares):
        figure["states"] += found.states
        figure["events"] += found.events
        figure["records"] += 1
        figure["violations"] += len(found.violations)
        figure["by trace"][found.trace] = figure["by trace"].get(found.trace, 0) + found.states
        _say(f"{found.trace}, seed {found.seed}: {found.states} states of {found.events} events", found.violations)
        if figure["states"] >= options.states:
            break
    if options.results:
        figures.write(options.results / "crash_states.json", {"losses": disk.LOSSES, **figure})
    return figure["violations"]


def _kill_rounds(options: argparse.Namespace, folder: Path) -> int:
    each = -(-options.rounds // len(kills.KINDS))
    # Small shares: a kind that is slow to train does not end last and alone.
    shares = [
        (kind, min(kills.AFRESH, each - done), options.seed + done, folder / str(done))
        for done in range(0, each, kills.AFRESH)
        for kind in kills.KINDS
    ]
    figure: dict[str, Any] = {"rounds": 0, "acknowledged": 0, "reads": 0, "violations": 0, "by kind": {}}
    for seen in _parallel(options.jobs, kills.rounds, shares):
        counted = asdict(seen)
        for key in ("rounds", "acknowledged", "reads", "violations"):
            figure[key] += counted[key]
        figure["by kind"][seen.kind] = figure["by kind"].get(seen.kind, 0) + seen.rounds
        _say(f"{seen.kind}: {seen.rounds} rounds, {seen.acknowledged} acknowledged, {seen.reads} reads", seen.told)
    if options.results:
        figures.write(options.results / "kill_rounds.json", figure)
    return figure["violations"]


def _parallel(jobs: int, work: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Iterator[Any]:
    """Results as they come; nothing is begun that nobody may want any more."""
    waiting = iter(arguments)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(work, *some) for _, some in zip(range(jobs), waiting, strict=False)}
        while running:
            done = next(as_completed(running))
            running.remove(done)
            yield done.result()
            if (some := next(waiting, None)) is not None:
                running.add(pool.submit(work, *some))


def _say(line: str, violations: Iterable[str]) -> None:
    print(line, flush=True)
    for violation in violations:
        print(f"VIOLATION {violation}\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
