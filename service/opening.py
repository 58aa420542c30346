"""One way for commands to a collection: its folder here, or its name on a server."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..retrieval.retriever import Retriever
    from .client import Server
    from .remote import Remote

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
    signature = inspect.Signature([*own, *more])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return run


def open_index(collection: Path, server: str | None = None, **machine: Any) -> Retriever | Remote:
    """The collection of this folder, or of this name on a server, where `machine` is the server's own affair."""
    if server is not None:
        return connected(server).open(str(collection))
    from ..retrieval.retriever import Retriever

    return Retriever(collection, **machine)


def connected(server: str) -> Server:
    """A connection with the key and authority that the options or the environment name."""
    from .client import Server

    return Server(server, api_key=os.environ.get("PLAIT_API_KEY"), ca=os.environ.get("PLAIT_CA"))
