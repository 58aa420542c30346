"""The page of the format on disk, from the schema and the columns."""

from __future__ import annotations

import inspect
import re
from typing import Any

from plait.index.catalog import catalog
from plait.index.codecs.codec import DEFAULT
from plait.index.coil import store as coil
from plait.index.late import coded, faiss_store
from plait.index.segments import manifest, segment, term_columns
from plait.index.sparse import store as sparse
from plait.index.vector import codes as vector
from tables import code, prose, sections, table

HEAD = """# File format

A collection is a folder with one SQLite file and one folder for each segment. A segment's folder never changes after it
is sealed. The catalog's transactions are the only commit points: a segment exists when a committed row names it.
[Storage](storage.md) says what is checked, and when."""
COLUMN = re.compile(r'^\s+(?:"(\w+)"|([A-Z_]+)): "([^"]*)",\s*# (.+)$', re.M)
"""A line of a table of columns in the source: name, type, meaning."""
STORES = {
    "`flat` and `lists`": coded.FILES,
    "`faiss:...`": (faiss_store.FILE,),
    "COIL": coil.FILES,
    "a term field's postings": sparse.files(""),
    "global vectors in bytes": vector.FILES,
}


def page() -> str:
    schema = re.findall(r"CREATE TABLE (\w+) \((.+?)\)(?: WITHOUT ROWID)?;", catalog._SCHEMA, re.S)
    columns = [
        [code(name), code(dtype.lstrip("|")) or "by the precision", text] for name, dtype, text in _columns(segment)
    ]
    terms = [[code(getattr(term_columns, name)), code(dtype), text] for name, dtype, text in _columns(term_columns)]
    return sections([
        HEAD,
        f"A new collection has format {catalog.FORMAT}. A new segment has format 1, or {manifest.FORMAT} where its"
        f" precision is not {DEFAULT}. A newer format than plait knows is refused.",
        prose(_formats()),
        f"## {catalog.FILE}",
        f"Beside it lies `{catalog.LOCK}` once a collection was written to.",
        table(["table", "columns"], [[code(name), code(prose(text))] for name, text in schema]),
        "`pending` is made by the first write that defers: " + code(catalog._PENDING[0].split(" EXISTS ")[1]) + ".",
        "## A segment's folder",
        f"`{manifest.MANIFEST}` lists every file with its length and CRC-32, and an array with its type and shape."
        " Arrays are flat and little-endian.",
        table(["file", "type", "what it holds"], columns),
        "Of each term field, with the prefix `NAME.` unless it is the unnamed one:",
        table(["file", "type", "what it holds"], terms),
        "## Files of a store",
        table(["of", "files"], [[of, ", ".join(map(code, files))] for of, files in STORES.items()]),
    ])  # fmt: skip


def _columns(module: Any) -> list[tuple[str, str, str]]:
    return [(a or b, dtype, text) for a, b, dtype, text in COLUMN.findall(inspect.getsource(module))]


def _formats() -> str:
    """The docstring under the numbers of the formats."""
    found = re.search(r'FORMAT = 2, 3, 4, 5\n"""(.+?)"""', inspect.getsource(catalog), re.S)
    assert found, "index/catalog/catalog.py no longer says which collection has which format"
    return f"The formats: {found[1]}"
