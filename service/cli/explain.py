"""`plait explain`: why a document has its score, and where a search that does not return it lost it."""

from __future__ import annotations

from typing import Annotated

import typer

from ...retrieval.routes.options import SearchOptions
from ..terminal.console import out, print_json, show_explanation, show_stages
from ..terminal.flags import flags
from ..terminal.opening import OnServer, connecting, open_index
from ..terminal.options import Device, DeviceMemory, Elsewhere, Folder, Json, Threads, one_question


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("explain", context_settings={"allow_extra_args": True})(connecting(flags(explain)))


def explain(
    context: typer.Context,
    collection: Folder,
    query: Annotated[str, typer.Argument(help="A question.")],
    id: Annotated[str, typer.Argument(help="A document's id.")],
    k: Annotated[int, typer.Option("-k", help="Follow the document through a search for so many.")] = 10,
    options: SearchOptions = SearchOptions(),
    encoder: Elsewhere = None,
    server: OnServer = None,
    device: Device = "cpu",
    device_memory: DeviceMemory = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Take a document's score for a question apart, whether or not a search returns it:
    token by token, stage by stage."""
    one_question(context)
    with open_index(collection, server, encoder, device=device, device_memory=device_memory, threads=threads) as index:
        why = index.explain(query, id, k, **options.given())
    if as_json:
        print_json(why.as_json())
        return
    show_explanation(why)
    out.print()
    show_stages(why)
