"""The page of the command line, from the commands themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer.main
from plait.service.cli.main import app
from tables import code, prose, sections, table

HEAD = """# The command line

Every command takes `--help`. With `--json` a command prints one JSON object on stdout; progress and notes go to stderr.
The exit code is 0 for success, 1 for a failure, and 2 for bad use. Commands that take `--server` work on a collection
of a server, by its name, instead of on a folder."""
KINDS = {int: "whole number", float: "number", Path: "path"}
MADE_AS_IT_RUNS = ("--install-completion", "--show-completion", "--help")


def page() -> str:
    return sections([HEAD, *_commands(typer.main.get_command(app), "plait")])


def _commands(command: Any, name: str) -> list[str]:
    """A section for each command below this one, in their own order."""
    if hasattr(command, "commands"):
        return [part for each in command.commands.values() for part in _commands(each, f"{name} {each.name}")]
    taken = [one for one in command.params if not set(one.opts) & set(MADE_AS_IT_RUNS)]
    arguments = [one for one in taken if one.param_type_name == "argument"]
    options = [one for one in taken if one.param_type_name == "option" and not one.hidden]
    usage = " ".join([name, *("[OPTIONS]" if options else "").split(), *map(_argument, arguments)])
    return [
        f"## {name}",
        prose(command.help),
        f"    {usage}",
        table(["argument", "what it is"], [[code(_argument(a)), prose(a.help)] for a in arguments])
        if arguments
        else "",
        table(["option", "takes", "default", "what it does"], map(_row, options)) if options else "",
    ]


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name).strip("[]").upper()
    name += "..." if argument.nargs != 1 else ""
    return name if argument.required else f"[{name}]"


def _row(option: Any) -> list[str]:
    names = ", ".join(map(code, [*option.opts, *option.secondary_opts]))
    plain = option.default is None or option.is_flag or callable(option.default) or option.default == ()
    default = "" if plain else code(option.default)
    return [names, "" if option.is_flag else _takes(option), default, prose(option.help)]


def _takes(option: Any) -> str:
    kind = option.metavar or KINDS.get(option.type_descriptor.annotation, "text")
    ends = (("from", option.min), ("to", option.max))
    bounds = [f"{word} {end}" for word, end in ends if end is not None]
    return " ".join([kind.lower(), *bounds, *(["repeatable"] if option.multiple else [])])
