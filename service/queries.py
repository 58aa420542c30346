"""Queries that are encoded already, on the wire and in Python."""

from __future__ import annotations

from collections.abc import Sequence

from ..retrieval.routes import Queries
from .limits import BadField, Limits
from .tensors import read_terms, read_tokens, write_terms, write_tokens
from .wire import search_pb2 as wire


def write_query(query: Queries) -> wire.EncodedQuery:
    """The sides of one query."""
    return wire.EncodedQuery(
        tokens=None if query.tokens is None else write_tokens(query.tokens, 0),
        terms=None if query.terms is None else write_terms(query.terms, 0),
    )


def read_queries(given: Sequence[wire.EncodedQuery], limits: Limits, field: str) -> Queries:
    """BadField: not the same sides in all, or what `read_tokens` and `read_terms` refuse."""
    tokens = [q.tokens for q in given if q.HasField("tokens")]
    terms = [q.terms for q in given if q.HasField("terms")]
    if {len(tokens), len(terms)} - {0, len(given)} or not (tokens or terms):
        raise BadField(field, f"{field}: give tokens, terms or both, the same sides in all of a batch")
    return Queries(
        read_tokens(tokens, limits, "query_tokens", f"{field}.tokens") if tokens else None,
        read_terms(terms, limits, f"{field}.terms") if terms else None,
    )
