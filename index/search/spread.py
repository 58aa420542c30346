"""Given documents, part by part: how candidates that another search found come to be scored."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..errors import NotFound
from ..stopping import steps
from .part import Part


def spread(parts: list[Part], docs: np.ndarray) -> Iterator[tuple[Part, np.ndarray, np.ndarray]]:
    """Each part with the places in `docs` that it holds and their positions in it, which rise.

    Raises:
        NotFound: a document that is nowhere, or dead.
    """
    order = np.argsort(docs, kind="stable")
    waiting = np.ones(len(docs), bool)
    for part in steps(parts):
        numbers = part.segment.documents
        if not len(numbers):
            continue
        at = np.minimum(np.searchsorted(numbers, docs[order]), len(numbers) - 1)
        held = numbers[at] == docs[order]
        if part.allowed is not None:
            held &= part.allowed[at]
        if held.any():
            waiting[order[held]] = False
            yield part, order[held], at[held]
    if waiting.any():
        raise NotFound(f"no living document has the number {docs[waiting][0]}; candidates must be of this snapshot")
