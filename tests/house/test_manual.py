"""Commands and names that the pages of docs/ show without running them exist, with their flags and parameters."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from paths import ROOT
from plait.service.cli.main import app

import plait

PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if "reference/cli" not in path.as_posix())
COMMANDS: Any = typer.main.get_command(app)


def blocks(path: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text(), re.M | re.S)


def shown(path: Path) -> Iterator[list[str]]:
    """The words of each command of plait in the shell blocks of a page."""
    for line in "".join(blocks(path, "sh")).splitlines():
        if line.startswith("plait "):
            yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_commands_exist_with_their_flags(path: Path) -> None:
    for words in shown(path):
        command = COMMANDS
        while hasattr(command, "commands"):
            command, words = command.commands[words[0]], words[1:]
        known = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts)}
        flags = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert flags <= known, f"{path.name}: {command.name} has no {flags - known}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_python_blocks_name_what_plait_has(path: Path) -> None:
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "plait":
                assert hasattr(plait, node.attr), f"{path.name} names plait.{node.attr}"


def test_there_are_commands_to_look_at() -> None:
    assert sum(1 for path in PAGES for _ in shown(path)) > 20
