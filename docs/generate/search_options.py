"""The page of a search's options, from the record that has them and the flags of `plait search`."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import typer.main
from plait.retrieval.routes.option import Option
from plait.retrieval.routes.options import SearchOptions
from plait.service.cli.main import app
from tables import code, prose, sections, table

HEAD = """# Options of a search

`Retriever.search`, `plait search`, `plait explain`, `plait eval` and the message `SearchOptions` of the protocol take
these options. An option that is left out has the collection's own value. An option that changes nothing on the way that
a search takes is reported with the reason: as a warning in Python, as a line on stderr, as a note in a server's answer.
[Tuning recall](../how-to/tune-recall.md) shows which of them to change first."""


def page() -> str:
    flags = _flags()
    rows = [_row(one.name, one.metadata["option"], flags.get(one.name)) for one in fields(SearchOptions)]
    return sections([HEAD, table(["option", "flag", "default", "unit", "bounds", "what it does"], rows)])


def _flags() -> dict[str, Any]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {one.name: one for one in commands["search"].params if one.param_type_name == "option"}


def _row(name: str, option: Option, flag: Any) -> list[str]:
    modes = f"Counts in {', '.join(map(code, option.modes))}." if option.modes else ""
    told = " ".join(part for part in (f"{option.help}.", option.effect, modes) if part)
    return [code(name), code(flag.opts[0]) if flag else "", option.default, option.unit, option.bounds, prose(told)]
