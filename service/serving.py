"""`plait serve`: the collections of a folder over gRPC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..index.errors import FailedPrecondition
from .console import err
from .options import Device, Threads


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("serve")(serve)


def serve(
    root: Annotated[Path, typer.Argument(help="Folder whose folders are the collections.")],
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 takes any that is free.")] = "127.0.0.1:50051",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Serve the collections of a folder over gRPC until SIGTERM, then finish what is under way."""
    try:
        from .server import build_server, run
        from .settings import Settings
    except ImportError as error:
        raise FailedPrecondition(f"serving needs {error.name}: pip install 'plait[service]'") from None
    service = build_server(Settings(root=root, listen=listen, device=device, threads=threads))
    err.print(f"serving {root} on {listen.rpartition(':')[0]}:{service.port}", markup=False)
    run(service)
