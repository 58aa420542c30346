"""Queries that are encoded already, on the wire and in Python."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..index.tokens import from_vectors
from ..retrieval.routes import Queries
from .limits import BadField, Limits
from .tensors import read_terms, read_tokens, read_vectors, write_terms, write_tokens, write_vector
from .wire import search_pb2 as wire


def write_query(query: Queries) -> wire.EncodedQuery:
    """The sides of one query."""
    tokens = query.tokens
    return wire.EncodedQuery(
        tokens=write_tokens(tokens, 0) if tokens is not None and tokens.dim else None,
        vector=None if tokens is None else write_vector(tokens, 0),
        terms=None if query.terms is None else write_terms(query.terms, 0),
    )


def read_queries(given: Sequence[wire.EncodedQuery], limits: Limits, field: str) -> Queries:
    """BadField: not the same sides in all, or what `read_tokens`, `read_terms` and `read_vectors` refuse."""
    tokens = [q.tokens for q in given if q.HasField("tokens")]
    terms = [q.terms for q in given if q.HasField("terms")]
    vectors = [q.vector for q in given if q.HasField("vector")]
    if {len(tokens), len(terms), len(vectors)} - {0, len(given)} or not (tokens or terms or vectors):
        raise BadField(field, f"{field}: give tokens, terms, a vector or several, the same sides in all of a batch")
    dense = read_tokens(tokens, limits, "query_tokens", f"{field}.tokens") if tokens else None
    if vectors:
        whole = read_vectors(vectors, limits, f"{field}.vector")
        dense = from_vectors(whole) if dense is None else replace(dense, globals_=whole)
    return Queries(dense, read_terms(terms, limits, f"{field}.terms") if terms else None)
