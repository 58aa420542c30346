"""What callers give, documents and queries, checked before anything is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any

from ...index import terms, tokens
from ...index.errors import InvalidArgument
from ...index.payload import check_id, check_text
from ...index.tokens import Tokens
from ..routes.find import Queries
from ..routes.route import Sides

_TOKENS: Sides = True, (), False
_EXAMPLE = "such as {'id': 'a', 'text': '...'}"


def documents(given: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The documents one by one. InvalidArgument: no list or other series of them."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidArgument(f"give a list of documents, dicts {_EXAMPLE}; got {_shown(given)}")
    return iter(given)


def checked(document: dict[str, Any], text: bool = True) -> dict[str, Any]:
    """The document itself, with an id that is kept and texts that can be encoded.

    Args:
        text: it needs a text, since something is made of it.

    Raises:
        InvalidArgument: names the document and what it lacks.
    """
    if not isinstance(document, Mapping):
        raise InvalidArgument(f"a document is a dict {_EXAMPLE}; got {_shown(document)}")
    if not isinstance(document.get("id"), str):
        raise InvalidArgument(
            f"a document needs 'id' as text; this one has {document.get('id')!r:.40}: {_shown(document)}"
        )
    id = check_id(document["id"])
    if not isinstance(document.get("text"), str) and (text or document.get("text") is not None):
        raise InvalidArgument(f"document {id!r:.80} needs 'text' as text; it has {document.get('text')!r:.40}")
    if not isinstance(document.get("title"), str | None):
        raise InvalidArgument(f"the title of document {id!r:.80} is {document['title']!r:.40}; it must be text")
    for name in ("text", "title"):
        check_text(document.get(name) or "", f"the {name} of document {id!r:.80}")
    return document


def texts(given: Any) -> list[str]:
    """Queries as a list. InvalidArgument: no text, or half a surrogate pair in one."""
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidArgument(f"a query must be text, several texts, Tokens or Queries; got {_shown(given)}")
    found = [given] if isinstance(given, str) else [*given]
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise InvalidArgument(
                f"a query must be text, got {_shown(text)} as query {i}; give vectors by from_matrices"
            )
        check_text(text, f"query {i}")
    return found


def queries(given: Tokens | Queries, sides: Sides | None = None) -> Queries:
    """Queries that are encoded already. InvalidArgument: arrays that contradict each other.

    Args:
        sides: those of the route that they are for, here; None: they are sent away.
    """
    if isinstance(given, Tokens) and sides == _TOKENS:
        return Queries(given)  # a snapshot checks them, and their width, before it searches
    made = given if isinstance(given, Queries) else Queries(given)
    rows = made.terms
    if isinstance(rows, Mapping):
        rows = {name: terms.check(one) for name, one in rows.items()}
    elif rows is not None:
        rows = terms.check(rows)
    return Queries(None if made.tokens is None else tokens.check(made.tokens), rows)


def measured(given: Sequence[str] | Tokens | None) -> list[str] | Tokens | None:
    """Queries to measure with; None: they are to be drawn. InvalidArgument: none at
    all, which would measure nothing."""
    if given is None:
        return None
    some = tokens.check(given) if isinstance(given, Tokens) else texts(given)
    if not len(some):
        raise InvalidArgument(
            "there are no queries to measure with; give some, or None to draw them from the documents"
        )
    return some


def depth(k: Any) -> int:
    """How many documents a search is asked for. InvalidArgument: no whole number."""
    if isinstance(k, bool) or not isinstance(k, Integral):
        raise InvalidArgument(f"k is {k!r:.40}; it must be a whole number, the documents wanted")
    return int(k)


def no_vector(documents: Sequence[Mapping[str, Any]]) -> None:
    """InvalidArgument: a document comes with a vector, where a collection is given none, so
    that it would count for nothing."""
    for document in documents:
        vector = document.get("vector")
        if isinstance(vector, list | tuple) and vector and all(isinstance(number, int | float) for number in vector):
            raise InvalidArgument(
                f"document {document['id']!r:.80} has a vector, and this collection was not made for given vectors "
                "(create it with vector=DIMENSIONS and without an encoder); leave it out, or call the field otherwise"
            )


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.80}"
