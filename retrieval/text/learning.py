"""What a collection's encoding learns from documents: once, by the process that writes
first, and read by all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ...index.collection import Collection
from ...index.writing.bulk import Builder
from ..corpus import document_text
from . import given
from .encoding import Encoding


class Learner(Protocol):
    """An open collection whose encoding may have something to learn. `Retriever` is one."""

    @property
    def collection(self) -> Collection: ...

    @property
    def has_tokens(self) -> bool: ...

    @property
    def encoding(self) -> Encoding: ...

    @encoding.setter
    def encoding(self, encoding: Encoding) -> None: ...


def learned(index: Learner) -> bool:
    """Whether everything is learned, or there is nothing to learn. What another process
    has learned meanwhile is read."""
    if not index.has_tokens or index.encoding.fitted:
        return True
    with index.collection.catalog.reading() as view:
        index.encoding = index.encoding.restored(view.resource)
    return index.encoding.fitted


def learn(index: Learner, builder: Builder, sample: Sequence[dict[str, Any]]) -> None:
    """Learns from sample documents what the recipe needs, and stores it. Inside a
    builder's block nobody else learns."""
    if not sample or learned(index):
        return
    fitted = index.encoding.fit([document_text(given.checked(d)) for d in sample])
    builder.put(resources=fitted.learned())
    index.encoding = fitted
