"""Queries that are encoded already, on the wire and in Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...index.terms import Terms
from ...index.tokens import from_vectors
from ...retrieval.routes.find import Queries
from ..limits import BadField, Limits
from ..wire import search_pb2 as wire
from .tensors import read_terms, read_tokens, read_vectors, write_terms, write_tokens, write_vector

_SAME = "{}: give tokens, terms (alone or by field), a vector or several, the same sides in all of a batch"


def write_query(query: Queries) -> wire.EncodedQuery:
    """The sides of one query."""
    tokens, terms = query.tokens, query.terms
    named = terms if isinstance(terms, Mapping) else {}
    return wire.EncodedQuery(
        tokens=write_tokens(tokens, 0) if tokens is not None and tokens.dim else None,
        vector=None if tokens is None else write_vector(tokens, 0),
        terms=write_terms(terms, 0) if isinstance(terms, Terms) else None,
        fields={name: write_terms(rows, 0) for name, rows in named.items()},
    )


def read_queries(given: Sequence[wire.EncodedQuery], limits: Limits, field: str) -> Queries:
    """BadField: not the same sides in all, or what `read_tokens`, `read_terms` and `read_vectors` refuse."""
    tokens = [q.tokens for q in given if q.HasField("tokens")]
    terms = _read_terms(given, limits, field)
    vectors = [q.vector for q in given if q.HasField("vector")]
    if {len(tokens), len(vectors)} - {0, len(given)} or not (tokens or terms or vectors):
        raise BadField(field, _SAME.format(field))
    dense = read_tokens(tokens, limits, "query_tokens", f"{field}.tokens") if tokens else None
    if vectors:
        whole = read_vectors(vectors, limits, f"{field}.vector")
        dense = from_vectors(whole) if dense is None else replace(dense, globals_=whole)
    return Queries(dense, terms)


def _read_terms(given: Sequence[wire.EncodedQuery], limits: Limits, field: str) -> Terms | dict[str, Terms] | None:
    sides = {(q.HasField("terms"), *sorted(q.fields)) for q in given}
    if len(sides) > 1 or any(alone and names for alone, *names in sides):
        raise BadField(field, _SAME.format(field))
    ((alone, *names),) = sides
    if alone:
        return read_terms([q.terms for q in given], limits, f"{field}.terms")
    return {n: read_terms([q.fields[n] for q in given], limits, f"{field}.fields[{n!r}]") for n in names} or None
