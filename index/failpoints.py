"""Named places in writes at which tests delay, fail or kill the process. No action is set by default, and a place costs nothing then."""

from __future__ import annotations

from collections.abc import Callable

Action = Callable[[], None]

_actions: dict[str, Action] = {}


def reach(name: str) -> None:
    """A write has come to this place: performs the action that a test has set for it, if any."""
    if _actions and (action := _actions.get(name)):
        action()


def set_action(name: str, action: Action | None) -> None:
    """Sets what happens at a place from now on; None: nothing."""
    if action is None:
        _actions.pop(name, None)
    else:
        _actions[name] = action
