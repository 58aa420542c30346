"""Progress of long work on stderr: bars with the time left in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .console import err

Report = Callable[[str, int, int], None]
"""Called as report(stage, done, total)."""

_QUIET_S = 5.0
_WORDS = {
    "survey": "read",
    "train": "learn codes",
    "measure": "measure recall",
    "bytes": "copy",
}
"""What a bar calls a stage that its own name does not explain."""


@contextmanager
def progress(quiet: bool = False) -> Iterator[Report]:
    """A progress callback; when quiet, one that shows nothing."""
    if quiet:
        yield lambda stage, done, total: None
    elif err.is_terminal:
        with _bars() as report:
            yield report
    else:
        yield plain_lines()


@contextmanager
def _bars() -> Iterator[Report]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=err) as bars:
        tasks: dict[str, int] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                for earlier in bars.tasks:
                    # A stage that comes later says that this one is over.
                    bars.update(earlier.id, completed=earlier.total or 1, total=earlier.total or 1)
                # What was there before counts for no speed. A single step has no share that is done: it only moves.
                known = None if total == 1 else total
                tasks[stage] = bars.add_task(_WORDS.get(stage, stage), total=known, completed=done)
            elif total != 1 or done:
                bars.update(tasks[stage], completed=done, total=total)  # type: ignore[arg-type]

        yield show


def plain_lines() -> Report:
    """A line at the end of a stage, and every few seconds before; never the same line twice."""
    started: dict[str, tuple[float, int]] = {}
    last: dict[str, float] = {}
    shown: dict[str, tuple[int, int]] = {}

    def show(stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        begun, first = started.setdefault(stage, (now, done))
        if shown.get(stage) == (done, total) or (done < total and now - last.get(stage, begun) < _QUIET_S):
            return
        last[stage], shown[stage] = now, (done, total)
        rate = (done - first) / (now - begun) if now > begun else 0
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"{stage}: {done:,} of {total:,}{left}", file=sys.stderr, flush=True)

    return show
