"""The page of a search's options, from the records that check them and the flags of `plait search`."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any

import typer.main
from plait.index.params import Scoring, SearchParams, TermParams
from plait.retrieval.routes import find
from plait.service.cli.main import app
from tables import code, field_docs, prose, sections, table

HEAD = """# Options of a search

`Retriever.search`, `plait search`, `plait explain`, `plait eval` and the message `SearchOptions` of the protocol take
these options. An option that is left out has the collection's own value. An option that changes nothing on the way that
a search takes is reported with the reason: as a warning in Python, as a line on stderr, as a note in a server's answer.
[Tuning recall](../how-to/tune-recall.md) shows which of them to change first."""
RECORDS = (find.Route, SearchParams, TermParams, Scoring)
"""Where options stand as fields. A field's metadata (`help`, `bounds`, `unit`, `grows`, `shrinks`) or the docstring
under it describes the option."""


def page() -> str:
    """The page. KeyError: an option has no description."""
    flags = _flags()
    rows = [_row(name, _fields().get(name), flags.get(name)) for name in names()]
    return sections([HEAD, table(["option", "flag", "default", "what it does"], rows)])


def names() -> list[str]:
    """Every option that a search takes, in the order of the check."""
    known = [*find._OPTIONS, *vars(SearchParams()), *vars(TermParams()), "missing", "target_recall", "filter"]
    return list(dict.fromkeys(known))


def _fields() -> dict[str, tuple[Field[Any], str]]:
    """Fields of the records with their docstrings, by name."""
    return {one.name: (one, field_docs(record).get(one.name, "")) for record in RECORDS for one in fields(record)}


def _flags() -> dict[str, Any]:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {one.name: one for one in commands["search"].params if one.param_type_name == "option"}


def _row(name: str, field: tuple[Field[Any], str] | None, flag: Any) -> list[str]:
    told = prose(flag.help) if flag else ""
    if field is None:
        return [code(name), code(flag.opts[0]), "", told]
    one, documented = field
    said = one.metadata.get("help") or documented or told
    more = [
        f"{word}: {one.metadata[key]}."
        for key, word in (("bounds", "Bounds"), ("unit", "Unit"), ("grows", "Larger"), ("shrinks", "Smaller"))
        if key in one.metadata
    ]
    if not said:
        raise KeyError(f"{name} has no description")
    return [code(name), code(flag.opts[0]) if flag else "", _default(one), " ".join([said, *more])]


def _default(one: Field[Any]) -> str:
    value = None if one.default is MISSING else one.default
    return "" if value is None or value == () else code(value)
