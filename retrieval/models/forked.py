"""torch's threads do not survive a fork: what a process has run with torch, a child forked from it must not run."""

from __future__ import annotations

import os

from ...index.errors import FailedPrecondition

_owner: int | None = None


def claim_torch() -> None:
    """Remembers the first process that uses torch here. FailedPrecondition: this one was
    forked from it, and would hang."""
    global _owner
    if _owner is None:
        _owner = os.getpid()
    if _owner != os.getpid():
        raise FailedPrecondition(
            f"this process was forked from process {_owner}, which has loaded a checkpoint, and torch hangs in such a child; "
            "start workers by spawn (multiprocessing.get_context('spawn')), or open the collection in each of them only"
        )
