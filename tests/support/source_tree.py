"""What the rules of tests/house look at: the files that a person writes, the rooms they are in, and what they import.

A room is a folder with an `__init__.py`, whose one line says what the room is for: its caption.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from paths import ROOT

TOPS = ("index", "device", "retrieval", "eval", "service")
"""The top rooms, from the lowest floor to the highest."""
_GENERATED = "service/wire/"
_CODE = (*TOPS, "plait", "proto", "tests", "benchmarks", "examples", "docs")
_DOCUMENTS = ("*.md", ".github/**/*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/**/*.md")


@dataclass(frozen=True)
class Import:
    """A module that a file imports: `index.errors` within the repository, or a package from elsewhere (`numpy`)."""

    module: str
    inside: bool


def name_of(path: Path) -> str:
    """`index/late/search.py`: a path as documents write it."""
    return path.relative_to(ROOT).as_posix()


def _written(tops: Iterable[str], *suffixes: str) -> list[Path]:
    found = sorted(path for top in tops for path in (ROOT / top).rglob("*") if path.suffix in suffixes)
    return [path for path in found if not name_of(path).startswith(_GENERATED)]


@cache
def sources() -> list[Path]:
    """Every Python file of the product."""
    return _written(TOPS, ".py")


@cache
def code() -> list[Path]:
    """Every file of code, Python and C++, of the product, the tests, the benchmarks and the examples."""
    return _written(_CODE, ".py", ".pyi", ".cpp", ".h", ".c")


@cache
def documents() -> list[Path]:
    """Every document: the front ones, those of docs/, and those beside examples and benchmarks."""
    return sorted({path for pattern in _DOCUMENTS for path in ROOT.glob(pattern)})


@cache
def modules() -> dict[str, Path]:
    """The product's files by the names of their modules: `index.late.search`."""
    return {name_of(path)[:-3].replace("/", "."): path for path in sources()}


@cache
def imports(path: Path) -> tuple[Import, ...]:
    """Every import of a file, also inside functions, for type checkers and by name; relative ones by full names."""
    package = path.relative_to(ROOT).parts[:-1]
    found: list[Import] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append(Import(node.module or "", False))
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
            found += [Import(name if name in modules() else base, True) for name in names]
        elif relative := _imported_by_name(node):
            level = len(relative) - len(relative.lstrip("."))
            found.append(Import(".".join([*package[: len(package) - level + 1], relative[level:]]), True))
    return tuple(found)


def _imported_by_name(node: ast.AST) -> str:
    """`..keys` of `import_module("..keys", __package__)`."""
    match node:
        case ast.Call(func=ast.Name(id="import_module"), args=[ast.Constant(value=str(name)), *_]):
            return name if name.startswith(".") else ""
    return ""


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes each of which reaches all others, sorted."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        left = [start]
        while left:
            for name in graph[left.pop()] - seen:
                seen.add(name)
                left.append(name)
        return seen

    far = {name: reached(name) for name in graph}
    groups = {tuple(sorted(other for other in far[name] if name in far[other])) for name in graph if name in far[name]}
    return sorted(map(list, groups))


@cache
def captions() -> dict[str, str]:
    """The caption of every room of the product, by its path: `index/late`."""
    rooms = sorted(path.parent for top in TOPS for path in (ROOT / top).rglob("__init__.py"))
    texts = {name_of(room): (room / "__init__.py").read_text() for room in rooms}
    return {room: ast.get_docstring(ast.parse(text)) or "" for room, text in texts.items()}


def mapped_rooms() -> dict[str, str]:
    """The map of rooms in ARCHITECTURE.md: two levels of folders in its order, each with its caption."""
    found: dict[str, str] = {}
    top = ""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for indent, folder, caption in re.findall(r"^    ( *)(\w+)/ +(\S.*)$", text, re.M):
        top = top if indent else folder
        found[f"{top}/{folder}" if indent else folder] = caption
    return found
