"""Flags are made from the record of options: the same for every command that searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from plait.retrieval.routes.options import OPTIONS, SearchOptions
from plait.service.cli.main import app
from plait.service.terminal.flags import search_flags
from shell import plait as run
from typer.main import get_command
from typer.testing import CliRunner

import plait

COMMANDS = ("search", "explain", "eval")
GIVEN: dict[str, tuple[str, Any]] = {
    "flag": ("", True),
    "count": ("3", 3),
    "number": ("0.5", 0.5),
    "name": ("bm25", "bm25"),
    "names": ("tokens, bm25", ("tokens", "bm25")),
    "numbers": ("1,0.5", (1.0, 0.5)),
    "missing": ("-0.25", -0.25),
    "filter": ('{"year": 2020}', {"year": 2020}),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_a_flag_of_every_search(command: str) -> None:
    flags = {flag for one in get_command(app).commands[command].params for flag in one.opts}  # type: ignore[attr-defined]
    assert {row["flag"] for row in SearchOptions.described()} <= flags


def test_no_flag_of_a_search_is_written_by_hand() -> None:
    shown = {c: {o for one in get_command(app).commands[c].params for o in one.opts} for c in COMMANDS}  # type: ignore[attr-defined]
    rows = {row["flag"] for row in SearchOptions.described()}
    more = shown["search"] & shown["explain"] & shown["eval"] - rows
    assert more == {"-k", "--encoder", "--device", "--device-memory", "--threads", "--json"}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_is_its_option(name: str) -> None:
    option, seen, here = OPTIONS[name], [], typer.Typer()
    text, value = (option.choices[-1],) * 2 if option.kind == "choice" else GIVEN[option.kind]

    @here.command()
    @search_flags
    def ask(question: str, options: SearchOptions = SearchOptions(), more: int = 0) -> None:
        seen.append((question, options, more))

    flag = f"--{name.replace('_', '-')}"
    done = CliRunner().invoke(here, ["why", flag, *([text] if text else []), "--more", "2"])
    assert done.exit_code == 0 and seen == [("why", SearchOptions.of({name: value}), 2)], done.output
    shown = CliRunner().invoke(here, ["--help"]).output
    assert flag in shown


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--weights", "1,two"), "--weights is '1,two'; write one number for each lane"),
        (("--filter", "{"), "is not JSON"),
        (("--nprobe", "0"), "nprobe is 0; it must be at least 1"),
        (("--missing", "some"), "missing is 'some'"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    for command in (("search", tmp_path, "why"), ("explain", tmp_path, "why", "a"), ("eval", tmp_path)):
        assert said in run(*command, *flags, code=2).stderr


def test_a_search_can_be_explained_with_its_own_flags(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    fields = {"bm25": "bm25", "german": "bm25:german"}
    with plait.create(tmp_path / "c", encoder=None, terms=fields) as index:
        index.add([{"id": id, "text": text} for id, text in (("a", "red moon"), ("b", "a red planet"), ("c", "tides"))])
        flags = (
            "--mode",
            "hybrid",
            "--fusion",
            "weighted",
            "--weights",
            "2,0.5",
            "--normalise",
            "none",
            "--depth",
            "2",
        )
        search: dict[str, Any] = {"mode": "hybrid", "fusion": "weighted", "weights": (2, 0.5), "normalise": "none"}
        why = index.explain("red moon", "b", 10, depth=2, **search)
    shown = run("explain", tmp_path / "c", "red moon", "b", *flags).stdout
    assert f"{why.score:.4f}" in shown and why.verdict.split(".")[0] in shown
