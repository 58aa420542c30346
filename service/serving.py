"""`plait serve`: the collections of a folder over gRPC."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..index.errors import FailedPrecondition, InvalidArgument
from .console import err, out, print_json
from .options import Json


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("serve")(serve)


def serve(
    root: Annotated[Path, typer.Argument(help="Folder whose folders are the collections.")],
    listen: Annotated[
        str | None, typer.Option(help="HOST:PORT (127.0.0.1:50051); port 0 takes any that is free.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, as a TOML file.")] = None,
    keys: Annotated[Path | None, typer.Option(help="The file of API keys (plait keys).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="The server's certificate with its chain (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Clients must show a certificate that these authorities signed (PEM).")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Serve a public address without TLS or keys.")
    ] = None,
    admin: Annotated[
        str | None, typer.Option(help="HOST:PORT of /metrics, /healthz and /readyz; without, there is none.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where encoders and FAISS run: cpu (default), or cuda[:N].")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of each search (default: the cores shared among the workers).")
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option("--set", help="Any other setting, repeatable: limits.k=100, queue=10.")
    ] = None,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print all settings and where each came from, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Serve the collections of a folder over gRPC until SIGTERM, then finish what is under way.

    Flags win over the environment (PLAIT_LISTEN, PLAIT_LIMITS__K), and that over --config.
    """
    try:
        from . import logs
        from .configuration import load, shown
        from .edge import Edge
        from .process import settle
        from .server import build_server, run
    except ImportError as error:
        raise FailedPrecondition(f"serving needs {error.name}: pip install 'plait[service]'") from None
    files = {"tls.cert": tls_cert, "tls.key": tls_key, "tls.client_ca": tls_client_ca, "keys": keys}
    plain = {"listen": listen, "insecure": insecure, "admin.listen": admin, "device": device, "threads": threads}
    given = {name: value for name, value in {**files, **plain}.items() if value is not None}
    settings, origins = load(config, {"root": root, **given, **_assignments(set or [])})
    if print_config and as_json:
        print_json({"settings": settings.model_dump(mode="json"), "origins": origins})
    elif print_config:
        out.print(shown(settings, origins), markup=False)
    if print_config:
        return
    logs.to_stderr(settings.log)
    settle(settings)
    edge = Edge(settings)
    try:
        service = build_server(settings, edge.interceptors, edge.credentials, edge.probe and edge.probe.offer)
        if address := edge.open_admin(service):
            err.print(f"metrics and health on http://{address}", markup=False)
        err.print(f"serving {root} on {settings.listen.rpartition(':')[0]}:{service.port}", markup=False)
        run(service)
    finally:
        edge.close()


def _assignments(texts: list[str]) -> dict[str, Any]:
    """`limits.k=100` as name and value; lists and tables are JSON."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name] = json.loads(value) if value[:1] in ("[", "{") else value
        except ValueError as error:
            raise InvalidArgument(f"--set {text!r} has a value that is not JSON ({error})") from None
        if not (name and equals):
            raise InvalidArgument(f"--set {text!r} must be NAME=VALUE, such as limits.k=100")
    return found
