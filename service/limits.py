"""What one request may ask for. Every limit is published by GetServerInfo and named by the
error of whoever passes it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ..index.catalog.schema import MAX_TERM_FIELDS
from ..index.collection import MAX_DIM
from ..index.errors import InvalidArgument
from ..index.filters.conditions import MAX_ALL_VALUES, MAX_DEPTH, MAX_INDEXED, MAX_NODES, MAX_VALUES
from ..index.payload import MAX_ID
from ..retrieval.reducers.recipe import MAX_STEPS


class BadField(InvalidArgument):
    """A field of a request has a value that cannot be taken."""

    def __init__(self, field: str, message: str):
        super().__init__(message, field=field)


STRICT = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Limits(BaseModel):
    """The greatest values; everything at the limit works. Larger: more memory and time for a single request."""

    model_config = STRICT

    message_bytes: int = Field(default=64 << 20, ge=64 << 10, le=1 << 30)
    """Bytes of one message, received or sent. Every request under way may hold one."""
    k: int = Field(default=10_000, ge=1, le=1_000_000)
    """Documents that one search may ask for."""
    query_tokens: int = Field(default=1_024, ge=1, le=16_384)
    """Tokens of one query. The time of a search grows in proportion."""
    document_tokens: int = Field(default=16_384, ge=1, le=1 << 20)
    """Tokens of one document."""
    dim: int = Field(default=MAX_DIM, ge=1, le=MAX_DIM)
    """Dimensions of a token vector, or of a global vector."""
    text_characters: int = Field(default=1_000_000, ge=1, le=100_000_000)
    """Characters of one text."""
    id_characters: int = Field(default=MAX_ID, ge=1, le=MAX_ID)
    """Characters of a document's id."""
    batch_queries: int = Field(default=1_024, ge=1, le=100_000)
    """Queries of one batch search."""
    batch_documents: int = Field(default=4_096, ge=1, le=1_000_000)
    """Documents of one write."""
    ids: int = Field(default=10_000, ge=1, le=1_000_000)
    """Ids of one request."""
    page_size: int = Field(default=1_000, ge=1, le=100_000)
    """Entries of one page of a list."""
    k_token: int = Field(default=1_000_000, ge=1, le=100_000_000)
    """Tokens retrieved for one query token."""
    nprobe: int = Field(default=65_536, ge=1, le=10_000_000)
    """Lists visited for one query token."""
    candidates: int = Field(default=100_000, ge=1, le=100_000_000)
    """Documents that one search scores exactly."""
    term_candidates: int = Field(default=100_000, ge=1, le=100_000_000)
    """Documents of a segment that one search by terms scores, where it says how many."""
    depth: int = Field(default=10_000, ge=1, le=1_000_000)
    """Documents that each lane gives to a hybrid search."""
    sparse_keys: int = Field(default=100_000, ge=1, le=10_000_000)
    """Terms of one document or query."""
    filter_nodes: int = Field(default=MAX_NODES, ge=1, le=MAX_NODES)
    """Conditions in one filter, counting those inside others."""
    filter_depth: int = Field(default=MAX_DEPTH, ge=1, le=MAX_DEPTH)
    """How deep the conditions of a filter may nest."""
    filter_values: int = Field(default=MAX_VALUES, ge=1, le=MAX_VALUES)
    """Values of one `one_of`."""
    filter_all_values: int = Field(default=MAX_ALL_VALUES, ge=1, le=MAX_ALL_VALUES)
    """Values of all `one_of` of a filter together."""
    collections: int = Field(default=1_000, ge=1, le=100_000)
    """Collections of this server; it has all of them open."""
    aliases: int = Field(default=10_000, ge=1, le=1_000_000)
    """Names that stand for collections."""
    snapshots: int = Field(default=1_000, ge=1, le=100_000)
    """Snapshots that this server keeps."""
    indexed_fields: int = Field(default=MAX_INDEXED, ge=1, le=MAX_INDEXED)
    """Payload fields of a collection that have an index."""
    reduce_steps: int = Field(default=MAX_STEPS, ge=1, le=MAX_STEPS)
    """Steps of a collection's recipe."""
    term_fields: int = Field(default=MAX_TERM_FIELDS, ge=1, le=MAX_TERM_FIELDS)
    """Term fields of a collection."""
    depths: int = Field(default=32, ge=1, le=1_000)
    """Values of k that one calibration measures."""

    def check(self, limit: str, value: int, field: str, least: int = 0) -> int:
        """The value. BadField: it lies above the limit of this name, or below the least."""
        greatest = getattr(self, limit)
        if not least <= value <= greatest:
            raise BadField(field, f"{field} is {value:,}; the {limit} limit is {greatest:,}, the least is {least}")
        return value


class PerKey(BaseModel):
    """What one API key may use. Callers without a key, where none is needed, share one allowance."""

    model_config = STRICT

    requests_per_minute: int = Field(default=0, ge=0, le=100_000_000)
    """Calls a minute in the long run; 0: no limit. Each message of a stream counts."""
    burst: int = Field(default=100, ge=1, le=1_000_000)
    """Calls at once after a pause."""
    concurrent: int | None = Field(default=None, ge=0, le=10_000)
    """Calls under way at the same time; 0: no limit but the server's workers and queue. None: with keys, half of
    `workers`, `queue` and `streams` together, so that no key alone keeps all others out; without keys, no limit."""
