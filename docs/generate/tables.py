"""Markdown from plain values, and the docstrings that stand under a class's fields."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown. Line breaks and bars of a cell are made harmless."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def code(value: object) -> str:
    """A value as code, or nothing where there is none."""
    return "" if value is None or value == "" else f"`{value}`"


def prose(text: str | None) -> str:
    """A docstring as one paragraph of Markdown."""
    return re.sub(r"\s+", " ", text or "").strip()


def sections(parts: Iterable[str]) -> str:
    """Parts of a page with an empty line between them."""
    return "\n\n".join(part for part in parts if part)


def field_docs(record: type) -> dict[str, str]:
    """The docstring under each annotated field of a class, by the field's name."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(record))).body
    assert isinstance(tree, ast.ClassDef)
    return {
        above.target.id: prose(below.value.value)
        for above, below in zip(tree.body, tree.body[1:], strict=False)
        if isinstance(above, ast.AnnAssign)
        and isinstance(above.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }


def _cell(text: str) -> str:
    return re.sub(r"(?<!\\)\|", r"\\|", text.replace("\n", " "))
