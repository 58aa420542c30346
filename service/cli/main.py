"""The command line. Every command: `--json` prints one object on stdout; progress goes to stderr; exit codes 0, 1, 2.

Commands import what they need when they run: `plait --help` starts without NumPy, SciPy or a model.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Annotated, Any

import typer

from ...index.errors import IdleOption, InvalidArgument, NotFound, PlaitError
from ..terminal.console import err, out
from . import build as building
from . import collections as collection_commands
from . import doctor, importing, upkeep
from . import eval as evaluating
from . import explain as explaining
from . import keys as key_commands
from . import search as searching
from . import serve as serving
from . import snapshots as snapshot_commands

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def version_callback(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Multi-vector retrieval: build, search, explain and measure collections of token embeddings."""
    if version:
        out.print(metadata.version("plait"))
        raise typer.Exit()


building.register(app)
searching.register(app)
evaluating.register(app)
explaining.register(app)
upkeep.register(app)
collection_commands.register(app)
app.add_typer(key_commands.keys, name="keys")
app.add_typer(snapshot_commands.snapshots, name="snapshot")
serving.register(app)
doctor.register(app)
importing.register(app)


def main() -> None:
    """Runs the command line; a known error becomes one line on stderr and an exit code, never a stack trace."""
    warnings.showwarning = partial(_say, warnings.showwarning)
    try:
        app()
    except PlaitError as error:
        err.print(f"plait: {error}", style="red", markup=False)
        sys.exit(2 if isinstance(error, InvalidArgument | NotFound) else 1)
    except OSError as error:
        err.print(f"plait: {_plain(error)}", style="red", markup=False)
        sys.exit(1)


def _say(usual: Callable[..., None], message: Warning | str, *where: Any) -> None:
    """An option without effect as a line for a person; other warnings as they usually look."""
    if isinstance(message, IdleOption):
        err.print(f"plait: {message}", style="yellow", markup=False)
    else:
        usual(message, *where)


def _plain(error: OSError) -> str:
    """What the system says, without its number: the file first."""
    why = (error.strerror or str(error)).lower()
    return f"{error.filename}: {why}" if error.filename is not None else why
