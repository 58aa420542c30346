"""Texts as what a collection compares: token vectors, sparse terms, global vectors, those that it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from ...index.errors import InvalidArgument
from ...index.terms import Terms
from ...index.tokens import Tokens, from_vectors
from ..corpus import document_text, given_vectors
from ..routes.find import Queries
from ..routes.route import Route, Sides
from .given import checked, no_vector
from .term_side import TermSide

if TYPE_CHECKING:
    import numpy as np

Encode = Callable[[Sequence[str]], Tokens]
Batch = tuple[list[str], Tokens | None, list[dict[str, Any]], dict[str, Terms]]
"""Ids, tokens, payloads, terms by field."""
BATCH = 256
"""Documents encoded, reduced and committed together."""


def batches(
    documents: Iterable[dict[str, Any]],
    encode: Encode | None,
    terms: Mapping[str, TermSide],
    source: str | None,
    width: int,
) -> Iterator[Batch]:
    """Documents as the writer takes them. Arguments: as of `of_documents`."""
    needs_text = encode is not None or bool(terms)
    stream = (checked(document, needs_text) for document in documents)
    while batch := list(islice(stream, BATCH)):
        own = {"id", "vector"} if source == "given" else {"id"}
        if source != "given":
            no_vector(batch)
        payloads = [{k: v for k, v in d.items() if k not in own} for d in batch]
        tokens, rows = of_documents(batch, encode, terms, source, width)
        yield [d["id"] for d in batch], tokens, payloads, rows


def of_documents(
    documents: Sequence[dict[str, Any]],
    encode: Encode | None,
    terms: Mapping[str, TermSide],
    source: str | None,
    width: int,
) -> tuple[Tokens | None, dict[str, Terms]]:
    """Tokens of some documents, and terms by field.

    Args:
        encode: makes token vectors; None: there are none.
        source: what makes global vectors, which are (documents, width): see `retrieval/text/creation.py`.
    """
    texts = [document_text(d) for d in documents] if encode is not None or terms else []
    rows, vectors = _sparse(terms, texts, "document", source == "terms")
    if source == "given":
        vectors = given_vectors(documents, width)
    if vectors is not None:
        return from_vectors(vectors), rows
    return encode(texts) if encode else None, rows


def of_queries(
    sides: Sides, texts: Sequence[str], encode: Encode, terms: Mapping[str, TermSide], source: str | None
) -> Queries:
    """What a route with these sides needs of queries. `check_texts` says before whether a collection makes it."""
    dense, fields, whole = sides
    if whole and source == "terms":
        # One run of the encoder makes both, though the terms may not be needed.
        fields = tuple(dict.fromkeys([*fields, *(name for name, side in terms.items() if side.vector)]))
    rows, vectors = _sparse({name: terms[name] for name in fields}, texts, "query", whole and source == "terms")
    made = from_vectors(vectors) if vectors is not None else encode(texts) if dense or whole else None
    return Queries(made, rows if len(rows) > 1 else next(iter(rows.values()), None))


def check_texts(route: Route, holds_terms: bool, source: str | None) -> None:
    """InvalidArgument: this route needs of a text what this collection does not make."""
    _, fields, whole = route.sides
    if fields and not holds_terms:
        raise InvalidArgument(
            f"mode is {route.mode!r}, and this collection holds no terms; build it with terms, such as terms='bm25' "
            "(`plait build --terms bm25`)",
            field="mode",
        )
    if whole and source not in ("encoder", "terms"):
        remedy = (
            "build it with vector=True (`plait build --vector`)"
            if source is None
            else "give the query's vector, from_vectors(v)"
        )
        held = "no global vectors" if source is None else "global vectors that are given, not made of texts"
        raise InvalidArgument(f"mode is {route.mode!r}, and this collection holds {held}; {remedy}", field="mode")


def _sparse(
    terms: Mapping[str, TermSide], texts: Sequence[str], side: str, both: bool
) -> tuple[dict[str, Terms], np.ndarray | None]:
    """Terms of texts by field, on a side `query` or `document`; with `both`, the global vectors that come with them."""
    rows, vectors = {}, None
    for name, one in terms.items():
        if both and one.vector:
            rows[name], vectors = one.both(texts, side)
        else:
            rows[name] = one.queries(texts) if side == "query" else one.documents(texts)
    return rows, vectors
