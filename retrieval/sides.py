"""Texts as what a collection compares: token vectors, sparse terms, global vectors, those that it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..index.errors import InvalidArgument
from ..index.terms import Terms
from ..index.tokens import Tokens, from_vectors
from .corpus import document_text, given_vectors
from .routes import Queries, Route
from .term_side import TermSide

Encode = Callable[[Sequence[str]], Tokens]


def of_documents(
    documents: Sequence[dict[str, Any]], encode: Encode | None, terms: TermSide | None, source: str | None, width: int
) -> tuple[Tokens | None, Terms | None]:
    """Tokens and terms of some documents.

    Args:
        encode: makes token vectors; None: there are none.
        source: what makes global vectors, which are (documents, width): see `creation.py`.
    """
    texts = [document_text(d) for d in documents]
    if source == "terms" and terms is not None:
        rows, vectors = terms.both(texts, "document")
        return from_vectors(vectors), rows
    rows = None if terms is None else terms.documents(texts)
    if source == "given":
        return from_vectors(given_vectors(documents, width)), rows
    return encode(texts) if encode else None, rows


def of_queries(
    route: Route, texts: Sequence[str], encode: Encode, terms: TermSide | None, source: str | None
) -> Queries:
    """What a route needs of queries. InvalidArgument: it needs what this collection does not hold."""
    dense, sparse, whole = route.sides
    if sparse and terms is None:
        raise InvalidArgument(f"mode is {route.mode!r}, and this collection holds no terms; build it with terms")
    if whole and source == "terms" and terms is not None:
        rows, vectors = terms.both(texts, "query")
        return Queries(from_vectors(vectors), rows)
    if whole and source != "encoder":
        held = "no global vectors" if source is None else "global vectors that are given, not made of texts"
        raise InvalidArgument(
            f"mode is {route.mode!r}, and this collection holds {held}; give Queries(from_vectors(v))"
        )
    rows = terms.queries(texts) if sparse and terms is not None else None
    return Queries(encode(texts) if dense or whole else None, rows)
