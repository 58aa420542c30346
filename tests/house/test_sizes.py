"""Small files and small functions. What is larger stands in exceptions.json, and that list may only shrink.

`python tests/house/test_sizes.py` takes off the list what keeps its rule by now, and lowers the sizes of what shrank.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "support"))

from source_tree import code, name_of, sources

LARGEST = {
    "lines of a file": 300,
    "lines of a function": 40,
    "positional parameters": 6,
    "lines over 120 characters": 0,
}
_WIDTH = 120
_LIST = Path(__file__).with_name("exceptions.json")
EXCEPTIONS: dict[str, dict[str, int]] = json.loads(_LIST.read_text()) if _LIST.exists() else {}
"""By rule: what breaks it, and by how much at most."""


def sizes(rule: str) -> Iterator[tuple[str, int]]:
    """What a rule looks at, by name, and how large it is. Functions are looked at in the product alone."""
    if rule in ("lines of a file", "lines over 120 characters"):
        for path in code():
            lines = path.read_text().splitlines()
            yield name_of(path), len(lines) if rule == "lines of a file" else sum(len(line) > _WIDTH for line in lines)
        return
    for path in sources():
        for name, function in functions(ast.parse(path.read_text()), name_of(path) + "::"):
            if rule == "lines of a function":
                yield name, (function.end_lineno or function.lineno) - function.lineno + 1
            else:
                places = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
                yield name, len(places) - (places[:1] in (["self"], ["cls"]))


def functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function below a node, by its qualified name."""
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child
        yield from functions(child, f"{prefix}{child.name}." if named else prefix)


def larger(rule: str) -> dict[str, int]:
    """What breaks a rule. Functions of one name, as overloads are, count as the largest of them."""
    found: dict[str, int] = {}
    for name, size in sizes(rule):
        if size > LARGEST[rule]:
            found[name] = max(size, found.get(name, 0))
    return found


@pytest.mark.parametrize("rule", LARGEST)
def test_nothing_new_is_too_large(rule: str) -> None:
    listed = EXCEPTIONS[rule]
    new = {name: size for name, size in larger(rule).items() if size > listed.get(name, 0)}
    assert new == {}, f"{rule}: at most {LARGEST[rule]}, or what tests/house/exceptions.json says; split what is larger"


@pytest.mark.parametrize("rule", LARGEST)
def test_the_list_of_exceptions_only_shrinks(rule: str) -> None:
    kept = sorted(EXCEPTIONS[rule].keys() - larger(rule).keys())
    assert kept == [], "these keep the rule or are gone; `python tests/house/test_sizes.py` takes them off the list"


def test_the_list_names_known_rules() -> None:
    assert EXCEPTIONS.keys() == LARGEST.keys()


def shrunk(rule: str) -> dict[str, int]:
    """The exceptions from a rule as they are now: never more and never larger. All of them, if there is no list."""
    found = larger(rule)
    listed = EXCEPTIONS.get(rule, found)
    return {name: min(found[name], listed[name]) for name in sorted(found.keys() & listed.keys())}


if __name__ == "__main__":
    _LIST.write_text(json.dumps({rule: shrunk(rule) for rule in LARGEST}, indent=1) + "\n")
