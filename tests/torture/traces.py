"""What is recorded, by name: the steps, what should be there after each, and how a folder is looked at.

`play(NAME, SEED, ROOT)` performs one and marks in the record where each step begins and ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from . import collection_trace, service_trace


@dataclass(frozen=True)
class Trace:
    """Operations to be recorded and what they should leave."""

    name: str
    seed: int
    operations: Sequence[tuple[str, Any]]
    worlds: Sequence[Any]
    """What should be there before the first operation and after each."""
    look: Callable[[Path, Sequence[Any], bool], None]
    """Fails unless a folder holds one of these worlds and works. The last argument: look longer."""
    from_birth: bool = True
    """What the first operation leaves half done is looked at as well."""

    def durable(self, number: int) -> bool:
        """Whether a machine that dies may not lose this operation once it was acknowledged."""
        return self.operations[number][0] != "fast"


NAMES = (*collection_trace.LIVES, "service")


def trace(name: str, seed: int) -> Trace:
    if name == "service":
        return Trace(name, seed, service_trace.STEPS, service_trace.worlds(), service_trace.look)
    life = collection_trace.LIVES[name]
    steps = collection_trace.steps(life, seed)
    worlds = collection_trace.worlds(life, steps)
    return Trace(name, seed, steps, worlds, partial(collection_trace.look, life), life.nested)


def play(name: str, seed: int, root: Path) -> None:
    if name == "service":
        service_trace.play(root)
    else:
        collection_trace.play(collection_trace.LIVES[name], seed, root)
