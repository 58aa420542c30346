"""What can be known before the work begins: a search's options, before there is anything to search."""

from __future__ import annotations

from typing import Any

from ..index.errors import InvalidArgument
from .retriever import Retriever
from .routes.options import SearchOptions


def check_search(retriever: Retriever, k: int, search: dict[str, Any]) -> tuple[str, ...]:
    """Checks the options of a search by text. Returns which of them change nothing, and why.

    Raises:
        InvalidArgument, FailedPrecondition: what the search itself would raise for its options.
    """
    route = retriever.route(SearchOptions.of(search), k)
    retriever.check_texts(route)
    if route.sides[0] and not retriever.has_tokens:
        raise InvalidArgument(
            f"mode is {route.mode!r}, and this collection holds no token vectors; build it with an encoder, or search by what "
            "it holds",
            field="mode",
        )
    if route.sides[0] and retriever.settings["encoder"] is None:
        raise InvalidArgument(
            "this collection holds token vectors that were given, and no encoder makes them of texts; search it from Python, "
            "with vectors (`index.search(tokens)`)"
        )
    return route.notes
