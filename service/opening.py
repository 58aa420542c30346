"""One way for commands to a collection: its folder here, or its name on a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..index.errors import InvalidArgument
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


def open_index(
    collection: Path, server: str | None = None, encoder: list[str] | None = None, **machine: Any
) -> Retriever | Remote:
    """The collection of this folder, or of this name on a server, where `machine` is the server's own affair.

    Args:
        encoder: where checkpoints lie now, as `--encoder` takes it.
    """
    if server is None:
        return Retriever(collection, encoder=_places(encoder), **machine)
    if encoder:
        raise InvalidArgument(
            f"--encoder is {encoder[0]!r}, and {server} loads its own; it has the setting checkpoints"
        )
    return connected(server).open(str(collection))


def _places(given: list[str] | None) -> str | dict[str, str] | None:
    pairs = [text.partition("=") for text in given or ()]
    if len(pairs) == 1 and not pairs[0][1]:
        return pairs[0][0]
    if unnamed := [text for text, equals, _ in pairs if not equals]:
        raise InvalidArgument(f"--encoder {unnamed[0]} does not say which checkpoint has moved; write OLD={unnamed[0]}")
    return {old: new for old, _, new in pairs} or None


def connected(server: str) -> Server:
    """A connection with the key and authority that the environment names."""
    from .client import Server

    return Server(server, api_key=os.environ.get("PLAIT_API_KEY"), ca=os.environ.get("PLAIT_CA"))
