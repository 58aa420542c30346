"""Named places in writes at which tests delay, fail or kill the process. No action is set by default, and a place costs
nothing then.

A test sets an action in its own process (`set_action`), or in a child's by the environment:

    PLAIT_FAILPOINTS="sweep=delay:0.5, commit.end=kill@3, tidy=fail"

`delay:SECONDS` waits so long, `wait:FILE` until there is such a file, `fail` raises an OSError as a broken disk would,
`kill` ends the process by SIGKILL; `@N`: at the N-th arrival alone.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import InvalidArgument

Action = Callable[[], None]
VARIABLE = "PLAIT_FAILPOINTS"
PLACES = {
    "lock": "before the writer's lock is taken",
    "unlock": "before the writer's lock is given back",
    "sweep": "the lock is taken, and what a crash left is about to be removed",
    "commit.begin": "before a transaction begins",
    "commit": "a transaction is complete and not yet committed",
    "commit.end": "a transaction is committed",
    "encode": "before a codebook is learned, or looked for",
    "add": "a bulk batch is on the disk, and no transaction names it",
    "publish": "a bulk segment is sealed and not yet published",
    "discard": "before what a bulk write staged is dropped",
    "seal": "fresh documents were read and are about to be written as a segment",
    "merge": "segments were chosen and are about to be merged",
    "put_segment": "a new segment is complete, and the transaction that names it has begun",
    "tidy": "a segment is named, and what its manifest does not list is about to be removed",
    "rename": "a segment's folder is about to get the name under which it is removed",
    "remove": "a segment's folder has that name",
    "create": "a new catalog is complete under its temporary name",
    "create.end": "a new catalog has its name, which is not yet synced",
    "snapshot": "a snapshot is complete under its temporary name",
    "restore": "a restored collection is complete under its temporary name",
}
"""Every place, and what has happened there."""

_actions: dict[str, Action] = {}


def reach(name: str) -> None:
    """A write has come to this place: performs the action that a test has set for it, if any."""
    if _actions and (action := _actions.get(name)):
        action()


def set_action(name: str, action: Action | None) -> None:
    """Sets what happens at a place from now on; None: nothing. InvalidArgument: no place has this name."""
    if name not in PLACES:
        raise InvalidArgument(f"{name!r} is no failpoint; it must be one of {', '.join(PLACES)}")
    if action is None:
        _actions.pop(name, None)
    else:
        _actions[name] = action


def set_actions(spec: str) -> None:
    """Sets actions as the environment variable says them. InvalidArgument: a part of it is no place or no action."""
    for part in filter(None, (part.strip() for part in spec.split(","))):
        name, _, said = part.partition("=")
        kind, _, number = said.partition("@")
        action = _action(name, kind)
        set_action(name, _at(int(number), action) if number else action)


def _action(name: str, kind: str) -> Action:
    if kind.startswith("delay:"):
        return partial(time.sleep, float(kind.removeprefix("delay:")))
    if kind.startswith("wait:"):
        return partial(_wait, Path(kind.removeprefix("wait:")))
    if kind not in ("fail", "kill"):
        raise InvalidArgument(
            f"{kind!r} is no action at the failpoint {name!r}; choose delay:SECONDS, wait:FILE, fail or kill"
        )
    return _kill if kind == "kill" else partial(_fail, name)


def _wait(file: Path) -> None:
    while not file.exists():
        time.sleep(0.01)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail(name: str) -> None:
    raise OSError(errno.EIO, f"{os.strerror(errno.EIO)} (failpoint {name})")


def _at(number: int, action: Action) -> Action:
    """The action, at the call of this number alone."""
    calls = 0

    def counted() -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            action()

    return counted


if os.environ.get(VARIABLE):
    set_actions(os.environ[VARIABLE])
