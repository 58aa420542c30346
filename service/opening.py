"""One way for commands to a collection: its folder here, or its name on a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..retrieval.retriever import Retriever

if TYPE_CHECKING:
    from .client import Server
    from .remote import Remote

OnServer = Annotated[
    str | None,
    typer.Option(
        "--server",
        help="HOST:PORT of a server whose collection this is. PLAIT_API_KEY and PLAIT_CA (a PEM file) in the environment are used.",
    ),
]


def open_index(collection: Path, server: str | None = None, **machine: Any) -> Retriever | Remote:
    """The collection of this folder, or of this name on a server, where `machine` is the server's own affair."""
    return Retriever(collection, **machine) if server is None else connected(server).open(str(collection))


def connected(server: str) -> Server:
    """A connection with the key and authority that the environment names."""
    from .client import Server

    return Server(server, api_key=os.environ.get("PLAIT_API_KEY"), ca=os.environ.get("PLAIT_CA"))
