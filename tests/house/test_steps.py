"""ARCHITECTURE.md tells a query's way in eight steps. This follows one query and compares."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from source_tree import ROOT, TOPS

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
LEAVES = (
    "index/arrays.py",
    "index/catalog/schema.py",
    "index/codecs/",
    "index/errors.py",
    "index/hits.py",
    "index/kernels/",
    "index/params.py",
    "index/payload.py",
    "index/representations.py",
    "index/search/",
    "index/stopping.py",
    "index/terms.py",
    "index/tokens.py",
    "retrieval/models/encoded.py",
)
"""What every step may use: records that travel, kernels, codecs, checks between steps."""
ENTERED_AGAIN = {
    # k is checked before the route is made, the text after it.
    "retrieval/text/given.py::texts",
    # The retriever hands its encoder out as a function.
    "retrieval/retriever.py::Retriever._tokens",
    # What the route needs of a text is known before the text is looked at.
    "retrieval/text/documents.py::of_queries",
    # The router asks the record which options were given, and for the filter as a condition.
    "retrieval/routes/options.py::SearchOptions.given",
    "retrieval/routes/option.py::as_filter",
    # Asked what is to be learned, then for the one reducer that queries have.
    "retrieval/reducers/recipe.py::reduce",
    # A filter is parsed with the other options; its SQL depends on which fields have an index in the pinned state.
    "index/filters/sql.py::compile",
    "index/filters/conditions.py::check_size",
    "index/catalog/view.py::View.numbers",
    # Payloads are read for the hits alone.
    "index/reading/snapshot.py::Snapshot.documents",
    "index/catalog/view.py::View.by_number",
    # Files must be the same before and after they are read.
    "index/segments/files.py::Files.check",
}
"""Where a module is entered that the query had left: `FILE::FUNCTION`. The list may only shrink."""


def test_a_query_takes_the_eight_steps(visits: list[str]) -> None:
    assert list(dict.fromkeys(map(file_part, visits))) == steps("A query in eight steps", 8)


def test_no_other_module_is_entered_twice(visits: list[str]) -> None:
    files = [*map(file_part, visits)]
    again = {visit for i, visit in enumerate(visits) if files[i] in files[:i] and files[i] != files[i - 1]}
    assert again == ENTERED_AGAIN


def file_part(visit: str) -> str:
    return visit.split("::")[0]


def test_a_batch_goes_through_the_files_of_its_steps(tmp_path: Path) -> None:
    import plait

    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    documents = [{"id": str(n), "text": f"The moon pulls tide number {n}."} for n in range(5)]
    with plait.create(tmp_path / "notes", store="flat", terms="bm25") as index:
        entered = set(map(file_part, visited(lambda: index.add(documents))))
    assert set(steps("A batch in eight steps", 8)) - entered == set()


def test_a_write_that_dies_is_told_in_five_steps() -> None:
    assert steps("A write that dies half way in five", 5)


def steps(heading: str, count: int) -> list[str]:
    """The files that the steps under a heading of ARCHITECTURE.md name, each where it is named first."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", text, re.M | re.S)
    numbered = re.split(r"^\d\. ", section, flags=re.M)[1:]
    named = [re.findall(rf"`((?:{'|'.join(TOPS)})/[\w/]+\.py)`", step) for step in numbered]
    assert len(numbered) == count and all(named)
    return list(dict.fromkeys(name for names in named for name in names))


@pytest.fixture(scope="module")
def visits(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The functions through which one warm query enters another file, in order, leaves left out."""
    import plait

    with plait.create(tmp_path_factory.mktemp("followed") / "notes", store="flat") as index:
        index.add([{"id": str(n), "text": f"The moon pulls tide number {n}.", "year": n} for n in range(30)])

        def ask() -> None:
            assert len(index.search("what pulls the tide?", 3, filter={"range": {"year": {"lt": 20}}})) == 3

        ask()
        return [visit for visit in visited(ask) if not visit.startswith(LEAVES)]


def visited(run: Callable[[], Any]) -> list[str]:
    """Calls from one file of plait into another, as `FILE::FUNCTION`.

    No visits are: reading a property, special methods such as `__init__` and `__len__`, and a generator that goes on.
    """
    visits: list[str] = []
    begun: list[FrameType] = []

    def seen(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not (name := file_of(code)) or any(frame is other for other in begun):
            return
        if code.co_flags & inspect.CO_GENERATOR:
            begun.append(frame)
        caller = frame.f_back
        while caller and not file_of(caller.f_code):
            caller = caller.f_back
        inside = caller is not None and file_of(caller.f_code) == name
        if not (inside or code.co_name.startswith("__") or code.co_firstlineno in properties(name)):
            visits.append(f"{name}::{code.co_qualname}")

    sys.setprofile(seen)
    try:
        run()
    finally:
        sys.setprofile(None)
    return visits


@cache
def file_of(code: CodeType) -> str | None:
    """The file of plait that a function is in, by its path in this repository; None: it is in none."""
    import plait.index.errors

    path, installed = Path(code.co_filename), Path(plait.index.errors.__file__).parents[1]
    name = path.relative_to(installed).as_posix() if path.is_relative_to(installed) else ""
    return name if name.startswith(tuple(f"{top}/" for top in TOPS)) else None


@cache
def properties(name: str) -> set[int]:
    """The first lines of a file's properties."""
    nodes = ast.walk(ast.parse((ROOT / name).read_text()))
    decorated = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.decorator_list]
    return {d[0].lineno for node in decorated if "property" in ast.unparse((d := node.decorator_list)[0])}
