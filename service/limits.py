"""What one request may ask for. Every limit is published by GetServerInfo and named by the error of whoever passes it."""

from __future__ import annotations

from dataclasses import dataclass

from ..index.collection import MAX_DIM
from ..index.conditions import MAX_DEPTH, MAX_NODES, MAX_VALUES
from ..index.errors import InvalidArgument


class BadField(InvalidArgument):
    """A field of a request has a value that cannot be taken."""

    def __init__(self, field: str, message: str):
        super().__init__(message)
        self.field = field


@dataclass(frozen=True)
class Limits:
    """The greatest values; everything at the limit works. Larger: more memory and time for a single request."""

    message_bytes: int = 64 << 20
    k: int = 10_000
    query_tokens: int = 1_024
    document_tokens: int = 16_384
    dim: int = MAX_DIM
    text_characters: int = 1_000_000
    id_characters: int = 512
    batch_queries: int = 1_024
    batch_documents: int = 4_096
    ids: int = 10_000
    page_size: int = 1_000
    k_token: int = 1_000_000
    nprobe: int = 65_536
    candidates: int = 100_000
    depth: int = 10_000
    sparse_keys: int = 100_000
    filter_nodes: int = MAX_NODES
    filter_depth: int = MAX_DEPTH
    filter_values: int = MAX_VALUES

    def check(self, limit: str, value: int, field: str, least: int = 0) -> int:
        """The value. BadField: it lies above the limit of this name, or below the least."""
        greatest = getattr(self, limit)
        if not least <= value <= greatest:
            raise BadField(field, f"{field} is {value:,}; the {limit} limit is {greatest:,}, the least is {least}")
        return value
