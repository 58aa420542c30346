"""Pages of Markdown whose blocks are run, and what they print compared with what the page shows."""

from __future__ import annotations

import contextlib
import io
import math
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shell import here

_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.M | re.S)
_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
TOLERANCE = 0.02
"""By which share a number may differ: another processor may round a model's last bits differently."""


@dataclass
class Page:
    """The blocks of a page, run one after the other: `json` with a title is a file, `python` runs in one namespace,
    `text` is what the block before it printed, `console` has commands after `$ ` and what they print."""

    path: Path
    serve: Callable[[list[str]], str] | None = None
    """Starts `plait serve` with these arguments; returns the address, which takes the place of the page's."""
    address: str = "127.0.0.1:50051"
    at: str = ""
    names: dict[str, Any] = field(default_factory=dict)

    def run(self) -> int:
        """The number of commands and blocks that ran. AssertionError: one printed what the page does not show."""
        printed, ran = "", 0
        for kind, title, text in _BLOCK.findall(self.path.read_text()):
            text = text.replace(self.address, self.at or self.address)
            if kind == "json" and title:
                Path(title).write_text(text)
            elif kind == "python":
                printed, ran = self._python(text), ran + 1
            elif kind == "text":
                assert_alike(printed, text)
            elif kind == "console":
                for command, shown in commands(text):
                    assert_alike(self._shell(command), shown)
                    ran += 1
        return ran

    def _python(self, text: str) -> str:
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(compile(text, str(self.path), "exec"), self.names)
        return shown.getvalue()

    def _shell(self, command: str) -> str:
        program, *arguments = shlex.split(command)
        assert program == "plait", f"{self.path.name} runs {program}, which nothing runs here"
        if arguments[0] == "serve":
            assert self.serve, "this page needs a server"
            self.at = self.serve(arguments[1:])
            return ""
        return here(*arguments).stdout


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console, with the lines below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def assert_alike(printed: str, shown: str) -> None:
    """What was printed is what is shown. A line `...` stands for any lines, `...` within a line for any text."""
    assert _alike(printed.splitlines(), shown.splitlines()), f"the page shows\n{shown}\nand this was printed\n{printed}"


def _alike(printed: list[str], shown: list[str]) -> bool:
    if not shown:
        return not any(line.strip() for line in printed)
    if shown[0] == "...":
        return any(_alike(printed[start:], shown[1:]) for start in range(len(printed) + 1))
    return bool(printed) and _same(printed[0], shown[0]) and _alike(printed[1:], shown[1:])


def _same(printed: str, shown: str) -> bool:
    """Words are equal; so are numbers, nearly, up to the first `...`."""
    printed, shown = (re.sub(r"\s+", " ", line).strip() for line in (printed, shown))
    pattern = ".*".join(re.escape(_blank(part)) for part in shown.split("..."))
    return re.fullmatch(pattern, _blank(printed)) is not None and _near(printed, shown.split("...")[0])


def _blank(line: str) -> str:
    return _NUMBER.sub("0", line)


def _near(printed: str, shown: str) -> bool:
    numbers = [[float(one.replace(",", "")) for one in _NUMBER.findall(line)] for line in (printed, shown)]
    return all(math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=1e-3) for a, b in zip(*numbers, strict=False))
