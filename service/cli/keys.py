"""`plait keys`: create, list and revoke API keys."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from ...index.errors import FailedPrecondition, InvalidArgument
from ..terminal.console import err, out, print_json
from ..terminal.options import Json

if TYPE_CHECKING:
    from ..keys import Key

keys = typer.Typer(no_args_is_help=True, help="API keys of a server (plait serve --keys FILE).")

File = Annotated[Path, typer.Argument(help="The key file.")]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@keys.command("create")
def create(
    file: File,
    name: Annotated[str, typer.Option(help="What logs call it.")],
    scope: Annotated[
        Literal["read", "write", "admin"], typer.Option(help="What it may do: read, also write, or everything.")
    ] = "read",
    collection: Annotated[
        list[str] | None, typer.Option(help="Only for this collection, by the name that calls use; repeatable.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="After 90d, 12h, 30m, or at a time: 2027-01-31T00:00Z.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown once: only its hash is kept. A running server knows it within a second."""
    key, token = _keys().create(file, name, scope, collection, None if expires is None else _time(expires))
    if as_json:
        print_json({**_public(key), "key": token})
        return
    err.print("This key is shown once; keep it safe:")
    out.print(token, markup=False)


@keys.command("list")
def list_keys(file: File, as_json: Json = False) -> None:
    """Show the keys: what they may do, and whether they still count."""
    rows = [_public(key) for key in _keys().read(file)]
    if as_json:
        print_json({"keys": rows})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("id", "name", "scope", "collections", "state", "expires"):
        table.add_column(column)
    for row in rows:
        places = ", ".join(row["collections"] or ["all"])
        table.add_row(row["id"], row["name"], row["scope"], places, row["state"], row["expires"] or "never")
    out.print(table)


@keys.command("revoke")
def revoke(
    file: File,
    name: Annotated[str, typer.Argument(help="Its name or id: keys list shows both.")],
    as_json: Json = False,
) -> None:
    """Revoke a key for ever. A running server refuses it within a second."""
    key = _keys().revoke(file, name)
    if as_json:
        print_json(_public(key))
    else:
        out.print(f"{key.id} ({key.name}) is revoked", markup=False)


def _keys() -> Any:
    """The part that needs the extra `service`, which other commands do without."""
    try:
        return import_module("..keys", __package__)
    except ImportError as error:
        raise FailedPrecondition(f"keys need {error.name}: pip install 'plait[service]'") from None


def _public(key: Key) -> dict[str, Any]:
    """A key without its hash."""
    return {**key.model_dump(mode="json", exclude={"sha256"}), "state": key.state(datetime.now(UTC))}


def _time(text: str) -> datetime:
    if match := re.fullmatch(r"(\d{1,6})([mhd])", text):
        return datetime.now(UTC).replace(microsecond=0) + timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f"--expires {text!r} is no time; write 90d, 12h, 30m or 2027-01-31T00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
