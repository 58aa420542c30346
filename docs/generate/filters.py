"""The page of payload filters, from the conditions and the reader of their JSON."""

from __future__ import annotations

import inspect
import json

from plait.index.filters import conditions
from plait.index.filters.conditions import And, Eq, Exists, Filter, In, Not, Or, Range
from plait.index.filters.sql import parse, to_json
from tables import code, prose, sections, table

HEAD = """# Filters

A filter is a condition on the payload of a document. It applies before anything is scored. Python takes it as
`filter={...}`, the command line as JSON (`--filter`), and the protocol as the message `Filter`."""
SHORT = {"year": 2020, "lang": "en"}
EXAMPLES: dict[str, Filter] = {
    "equal": Eq("year", 2020),
    "one of": In("lang", ("en", "de")),
    "range": Range("year", gte=2000, lt=2010),
    "exists": Exists("author.name"),
    "all": And(Eq("lang", "en"), Range("year", gte=2000)),
    "any": Or(Eq("lang", "en"), Eq("lang", "de")),
    "not": Not(Eq("draft", True)),
}


def page() -> str:
    rows = [[name, code(json.dumps(to_json(one))), prose(type(one).__doc__)] for name, one in EXAMPLES.items()]
    fields, logic = (inspect.getdoc(inspect.getmodule(parse)) or "").split("\n\n")[1:3]
    short = f"{code(json.dumps(SHORT))} is short for {code(json.dumps(to_json(parse(SHORT))))}."
    bounds = (
        f"A filter has at most {conditions.MAX_NODES} conditions, {conditions.MAX_DEPTH} levels,"
        f" {conditions.MAX_VALUES:,} values in one list and {conditions.MAX_ALL_VALUES:,} in all. A field has at most"
        f" {conditions.MAX_FIELD} characters and {conditions.MAX_KEYS} keys."
    )
    return sections([
        HEAD,
        table(["condition", "JSON", "when it holds"], rows),
        short,
        "## Fields",
        prose(fields),
        "## Values",
        prose(logic).replace("In and Range", "one of and range").replace("Eq,", "equal,"),
        "## Bounds",
        bounds,
    ])  # fmt: skip
