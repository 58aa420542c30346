"""`plait explain`: why a document has its score, and where a search that does not return it lost it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..terminal.console import out, print_json, show_explanation, show_stages
from ..terminal.opening import OnServer, connecting, open_index
from ..terminal.options import (
    Candidates,
    Depth,
    Elsewhere,
    Exact,
    Field,
    Filter,
    Folder,
    Json,
    KToken,
    Lanes,
    Mode,
    Nprobe,
    Scorer,
    one_question,
    read_filter,
    read_lanes,
)


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("explain", context_settings={"allow_extra_args": True})(connecting(explain))


def explain(
    context: typer.Context,
    collection: Folder,
    query: Annotated[str, typer.Argument(help="A question.")],
    id: Annotated[str, typer.Argument(help="A document's id.")],
    k: Annotated[int, typer.Option("-k", help="Follow the document through a search for so many.")] = 10,
    mode: Mode = None,
    k_token: KToken = None,
    nprobe: Nprobe = None,
    candidates: Candidates = None,
    depth: Depth = None,
    lanes: Lanes = None,
    field: Field = None,
    scorer: Scorer = None,
    exact: Exact = False,
    filter: Filter = None,
    encoder: Elsewhere = None,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Take a document's score for a question apart, whether or not a search returns it: token by token, stage by stage."""
    one_question(context)
    given: dict[str, Any] = {
        "mode": mode,
        "k_token": k_token,
        "nprobe": nprobe,
        "candidates": candidates,
        "depth": depth,
        "lanes": read_lanes(lanes),
        "field": field,
        "scorer": scorer,
    }
    given |= {"exact": exact or None, "filter": read_filter(filter)}
    search = {name: value for name, value in given.items() if value is not None}
    with open_index(collection, server, encoder) as index:
        why = index.explain(query, id, k, **search)
    if as_json:
        print_json(why.as_json())
        return
    show_explanation(why)
    out.print()
    show_stages(why)
