"""`plait search` and `plait info`: what a collection answers, and what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...retrieval.routes.options import SearchOptions
from ..terminal.console import err, out, print_json, show_explanation, show_hits
from ..terminal.describing import show_info
from ..terminal.flags import flags
from ..terminal.opening import OnServer, connecting, open_index
from ..terminal.options import Device, DeviceMemory, Elsewhere, Json, Threads, one_question

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever
    from ..client.remote import Remote


def register(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    app.command("search", context_settings={"allow_extra_args": True})(connecting(flags(search)))
    app.command("info")(connecting(info))


def search(
    context: typer.Context,
    collection: Annotated[Path, typer.Argument(help="A collection's folder.")],
    query: Annotated[str, typer.Argument(help="A question.")],
    k: Annotated[int, typer.Option("-k", help="Documents wanted.")] = 10,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which tokens made the best document's score.")
    ] = False,
    options: SearchOptions = SearchOptions(),
    encoder: Elsewhere = None,
    payloads: Annotated[bool, typer.Option(help="Fetch what the documents hold, or ids and scores alone.")] = True,
    server: OnServer = None,
    device: Device = "cpu",
    device_memory: DeviceMemory = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Search a collection."""
    one_question(context)
    index = open_index(collection, server, encoder, device=device, device_memory=device_memory, threads=threads)
    hits = index.search(query, k, payloads=payloads, **options.given())
    why = [hit.explain() for hit in (hits if as_json else hits[:1])] if explain else []
    if as_json:
        rows = [hit.as_json() for hit in hits]
        for row, one in zip(rows, why, strict=False):
            row["explanation"] = one.as_json()
        print_json({"query": query, "hits": rows})
    else:
        show_hits(hits)
    for note in [] if hits else _reasons(index, options.filter):
        err.print(f"plait: {note}", markup=False)
    for one in [] if as_json else why:
        out.print()
        show_explanation(one)


def info(
    collection: Annotated[Path, typer.Argument(help="A collection's folder.")],
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """What a collection holds, how it was made, what it weighs."""
    found = open_index(collection, server).info()
    if as_json:
        print_json(found)
        return
    show_info(found)


def _reasons(index: Retriever | Remote, condition: Any) -> list[str]:
    """Why a search may have found nothing, as far as that is plain."""
    if not index.count():
        return ["the collection holds no documents (a build is perhaps not finished)"]
    if condition is None:
        return []
    from ...index.filters.conditions import fields_of

    return [
        f"no document has the field {name!r}, which the filter names"
        for name in fields_of(condition)
        if not index.count({"exists": name})
    ]
