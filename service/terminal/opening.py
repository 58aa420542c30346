"""One way for commands to a collection: its folder here, or its name on a server."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...index.errors import InvalidArgument
from .flags import signed

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever
    from ..client.remote import Remote
    from ..client.server import Server

OnServer = Annotated[str | None, typer.Option("--server", help="HOST:PORT of a server whose collection this is.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="The key for --server. Others here can read a command line: PLAIT_API_KEY in the environment is safer.",
    ),
]
Authority = Annotated[
    str | None,
    typer.Option("--ca", help="PEM file of the authority that signed the server's certificate (or PLAIT_CA)."),
]
_ENVIRONMENT = {"api_key": "PLAIT_API_KEY", "ca": "PLAIT_CA"}


def connecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that takes --server takes --api-key and --ca as well, which win over the environment."""

    @wraps(command)
    def run(**options: Any) -> Any:
        given = {name: options.pop(name) for name in _ENVIRONMENT}
        os.environ.update({_ENVIRONMENT[name]: value for name, value in given.items() if value is not None})
        return command(**options)

    own = inspect.signature(command, eval_str=True).parameters.values()
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in (("api_key", ApiKey), ("ca", Authority))
    ]
    return signed(run, [*own, *more])


def open_index(
    collection: Path, server: str | None = None, encoder: list[str] | None = None, **machine: Any
) -> Retriever | Remote:
    """The collection of this folder, or of this name on a server, where `machine` is the server's own affair.

    Args:
        encoder: where checkpoints lie now, as `--encoder` takes it.
    """
    if server is None:
        from ...retrieval.retriever import Retriever

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
    """A connection with the key and authority that the options or the environment name."""
    from ..client.server import Server

    return Server(server, api_key=os.environ.get("PLAIT_API_KEY"), ca=os.environ.get("PLAIT_CA"))
