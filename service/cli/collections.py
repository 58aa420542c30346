"""`plait collections`, `create` and `alias`: whole collections, here or on a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...index.errors import InvalidArgument
from ...retrieval.text.options import CollectionOptions
from ..terminal.console import out, print_json
from ..terminal.flags import flags
from ..terminal.opening import OnServer, connected, connecting
from ..terminal.options import Json


def register(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    for command in (collections, create, alias):
        app.command(command.__name__)(connecting(flags(command)))


def collections(
    root: Annotated[
        Path | None, typer.Argument(help="The folder that they are in (default: this one); on a server, none.")
    ] = None,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """List the collections in a folder, or all of a server that the key may see, by name."""
    if server is not None and root is not None:
        raise InvalidArgument(f"--server lists all that the server has, and {root} is a folder here; leave one out")
    if server is not None:
        names = connected(server).collections()
    else:
        names = sorted(found.parent.name for found in (root or Path()).glob("*/catalog.db"))
    if as_json:
        print_json({"collections": names})
        return
    for name in names:
        out.print(name, markup=False)
    if not names:
        out.print("no collections")


def create(
    collection: Annotated[Path, typer.Argument(help="Folder to make; on a server, the new collection's name.")],
    making: CollectionOptions = CollectionOptions(),
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Make an empty collection, to be filled by `plait add`. With --server it is made there."""
    settings = making.settings()
    if server is not None:
        connected(server).create(str(collection), **settings)
    else:
        from ...retrieval.retriever import Retriever

        Retriever.create(collection, **settings).close()
    if as_json:
        print_json({"created": str(collection)})
    else:
        out.print(f"{collection} is made; `plait add {collection} DATA` fills it", markup=False)


def alias(
    name: Annotated[str, typer.Argument(help="The name that calls use.")],
    collection: Annotated[
        str | None, typer.Argument(help="The collection that it stands for from now on; left out: for none.")
    ] = None,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Let a name stand for a collection of a server, in one step, or for none. Says what it stood for before."""
    if server is None:
        raise InvalidArgument("an alias belongs to a server; add --server HOST:PORT")
    before = connected(server).set_alias(name, collection)
    if as_json:
        print_json({"alias": name, "collection": collection, "before": before})
    else:
        out.print(f"{name} stands for {collection or 'nothing'} (before: {before or 'nothing'})", markup=False)
