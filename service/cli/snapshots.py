"""`plait snapshot`: copies of collections are made, listed, brought back and deleted."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ...index.errors import FailedPrecondition, InvalidArgument
from ..terminal.console import out, print_json
from ..terminal.opening import OnServer, connected, connecting
from ..terminal.options import Folder, Json, Quiet
from ..terminal.progress import progress

snapshots = typer.Typer(no_args_is_help=True, help="Copy a collection while it is written to; get it back.")

Snapshot = Annotated[Path, typer.Argument(help="A snapshot's folder; on a server, its name.")]


@snapshots.command("create")
@connecting
def create(
    collection: Folder,
    target: Annotated[Path, typer.Argument(help="New folder; on a server, the snapshot's new name.")],
    server: OnServer = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy one consistent state into a new folder; writes go on meanwhile."""
    from ...index.reading import backup

    with progress(quiet) as report:
        if server is None:
            seq = backup.create_snapshot(collection, target, partial(report, "bytes"))
        else:
            seq = connected(server).create_snapshot(str(collection), str(target), partial(report, "bytes"))
    _made("snapshot", target, seq, as_json)


@snapshots.command("list")
@connecting
def list_all(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder that they are in (default: this one); on a server, none.")
    ] = None,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Show the snapshots in a folder, or all of a server, by name; of a damaged one what is wrong."""
    if server is not None and folder is not None:
        raise InvalidArgument(f"--server lists all that the server has, and {folder} is a folder here; leave one out")
    from ...index.reading import backup

    if server is not None:
        found = connected(server).snapshots()
    else:
        found = [asdict(one) for one in backup.list_snapshots(folder or Path())]
    if as_json:
        print_json({"snapshots": found})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "state", "documents"):
        table.add_column(name, justify="left" if name == "name" else "right")
    for one in found:
        table.add_row(one["name"], *(("", "") if one["problem"] else (str(one["seq"]), f"{one['documents']:,}")))
    out.print(table if found else "no snapshots")
    for one in found:
        if one["problem"]:
            out.print(f"{one['name']}: {one['problem']}", style="red", markup=False)


@snapshots.command("delete")
@connecting
def delete(
    snapshot: Snapshot,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Delete a snapshot, once you have said yes. Collections made from it, and the one that it is of, stay."""
    if not (yes or _confirmed(f"Delete the snapshot {snapshot}{f' of {server}' if server else ''} for ever?")):
        raise FailedPrecondition(f"{snapshot} was not deleted, for nobody said yes; --yes does not ask")
    from ...index.reading import backup

    if server is None:
        backup.delete_snapshot(snapshot)
    else:
        connected(server).delete_snapshot(str(snapshot))
    if as_json:
        print_json({"deleted": str(snapshot)})
    else:
        out.print(f"{snapshot} deleted", markup=False)


@snapshots.command("restore")
@connecting
def restore(
    snapshot: Snapshot,
    collection: Annotated[Path, typer.Argument(help="Folder to make; on a server, the new collection's name.")],
    server: OnServer = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a collection from a snapshot, every byte verified."""
    from ...index.reading import backup

    with progress(quiet) as report:
        if server is None:
            seq = backup.restore_snapshot(snapshot, collection, partial(report, "bytes"))
        else:
            seq = connected(server).restore_snapshot(str(snapshot), str(collection), partial(report, "bytes"))
    _made("collection", collection, seq, as_json)


def _made(kind: str, path: Path, seq: int, as_json: bool) -> None:
    if as_json:
        print_json({kind: str(path), "seq": seq})
    else:
        out.print(f"{path}: state {seq}")


def _confirmed(question: str) -> bool:
    """What is answered on stdin; False where nobody answers."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        return False
