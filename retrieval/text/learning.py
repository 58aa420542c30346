"""What a collection's encoding learns from documents: once, by the process that writes first, and read by all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...index.writing.bulk import Builder
from ..corpus import document_text
from . import given

if TYPE_CHECKING:
    from ..retriever import Retriever


def learned(retriever: Retriever) -> bool:
    """Whether everything is learned, or there is nothing to learn. What another process has learned meanwhile is read."""
    if not retriever.has_tokens or retriever.encoding.fitted:
        return True
    with retriever.collection.catalog.reading() as view:
        retriever.__dict__["encoding"] = retriever.encoding.restored(view.resource)
    return retriever.encoding.fitted


def learn(retriever: Retriever, builder: Builder, sample: Sequence[dict[str, Any]]) -> None:
    """Learns from sample documents what the recipe needs, and stores it. Inside a builder's block nobody else learns."""
    if not sample or learned(retriever):
        return
    fitted = retriever.encoding.fit([document_text(given.checked(d)) for d in sample])
    builder.put(resources=fitted.learned())
    retriever.__dict__["encoding"] = fitted
