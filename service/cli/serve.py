"""`plait serve`: the collections of a folder over gRPC."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...index.errors import FailedPrecondition, InvalidArgument
from ..terminal.console import err, out, print_json
from ..terminal.options import Json

if TYPE_CHECKING:
    from ..settings import Settings


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
    device_memory: Annotated[
        int | None, typer.Option(help="Bytes that collections may take on the device together (0.8 of what is free).")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of each search (default: the cores shared among the workers).")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(
            help="Processes that answer (1); with more, another one writes for all. Workers, queue and per_key count in each."
        ),
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
        from ..concerns.logs import to_stderr
        from ..configuration import load, shown, unknown_variables
        from ..hosting.collections import unserved
    except ImportError as error:
        raise FailedPrecondition(f"serving needs {error.name}: pip install 'plait[service]'") from None
    files = {"tls.cert": tls_cert, "tls.key": tls_key, "tls.client_ca": tls_client_ca, "keys": keys}
    plain = {"listen": listen, "insecure": insecure, "admin.listen": admin, "device": device, "threads": threads}
    plain |= {"device_memory": device_memory, "processes": processes}
    given = {name: value for name, value in {**files, **plain}.items() if value is not None}
    settings, origins = load(config, {"root": root, **given, **_assignments(set or [])})
    if print_config and as_json:
        print_json({"settings": settings.model_dump(mode="json"), "origins": origins})
    elif print_config:
        out.print(shown(settings, origins), markup=False)
    if print_config:
        return
    to_stderr(settings.log)
    for name in unknown_variables(os.environ):
        err.print(
            f"{name} is no setting, and is ignored; --print-config shows all there are", soft_wrap=True, markup=False
        )
    if not settings.root.exists():
        err.print(f"{settings.root} is made: there was no such folder", soft_wrap=True, markup=False)
    if left_out := unserved(settings.root):
        allowed = "names are 1 to 64 ASCII letters, digits, _ and -, the first a letter or digit"
        err.print(f"not served: {', '.join(map(repr, left_out))}; {allowed}", soft_wrap=True, markup=False)
    (_alone if settings.processes == 1 else _several)(settings)


def _alone(settings: Settings) -> None:
    from ..server.edge import Edge, watch
    from ..server.process import settle
    from ..server.server import build_server, leave, run, told_by_signals

    settle(settings)
    edge = Edge(settings)
    try:
        service = build_server(settings, edge.interceptors, edge.credentials, edge.offer)
        watch(edge.metrics, service)
        address = edge.open_admin(service.ready.is_set)
        ended = run(service, told_by_signals(), partial(_say, settings, address, service.port))
    finally:
        edge.close()
    if not ended:
        leave()


def _several(settings: Settings) -> None:
    from ..concerns.admin import AdminServer
    from ..concerns.metrics import gathered
    from ..server.server import told_by_signals
    from ..server.supervisor import Supervisor

    told, admin = told_by_signals(), None
    supervisor = Supervisor(settings)
    try:
        if settings.admin.listen:
            admin = AdminServer(settings.admin.listen, gathered(supervisor.metrics), supervisor.ready)
        _say(settings, admin and admin.address, supervisor.port)
        told.wait()
    finally:
        supervisor.stop()
        if admin:
            admin.stop()


def _say(settings: Settings, admin: str | None, port: int) -> None:
    if admin:
        err.print(f"metrics and health on http://{admin}", markup=False)
    err.print(f"serving {settings.root} on {settings.listen.rpartition(':')[0]}:{port}", markup=False)


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
