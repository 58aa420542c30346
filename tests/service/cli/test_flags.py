"""Flags are made from the record of options: the same for every command that searches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from plait.retrieval.routes.options import OPTIONS, SearchOptions
from plait.retrieval.text.options import MADE_OF, CollectionOptions
from plait.service.cli.main import app
from plait.service.terminal.flags import flags
from shell import plait as run
from typer.main import get_command
from typer.testing import CliRunner

import plait

COMMANDS = ("search", "explain", "eval")
MAKING = ("create", "build", "eval")
GIVEN: dict[str, tuple[str, Any]] = {
    "flag": ("", True),
    "count": ("3", 3),
    "number": ("0.5", 0.5),
    "name": ("bm25", "bm25"),
    "names": ("tokens, bm25", ("tokens", "bm25")),
    "numbers": ("1,0.5", (1.0, 0.5)),
    "missing": ("-0.25", -0.25),
    "filter": ('{"year": 2020}', {"year": 2020}),
    "texts": ("first:50", ("first:50",)),
    "terms": ("bm25", "bm25"),
    "vector": ("", True),
}


def flags_of(command: str) -> set[str]:
    commands: Any = get_command(app)
    return {flag for one in commands.commands[command].params for flag in one.opts}


@pytest.mark.parametrize("command", MAKING)
def test_every_setting_is_a_flag_of_every_command_that_makes_a_collection(command: str) -> None:
    assert {row["flag"] for row in CollectionOptions.described()} | {"--pool", "--prune"} <= flags_of(command)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_a_flag_of_every_search(command: str) -> None:
    assert {row["flag"] for row in SearchOptions.described()} <= flags_of(command)


def test_no_flag_of_a_search_is_written_by_hand() -> None:
    shown = {command: flags_of(command) for command in COMMANDS}
    rows = {row["flag"] for row in SearchOptions.described()}
    more = shown["search"] & shown["explain"] & shown["eval"] - rows
    assert more == {"-k", "--encoder", "--device", "--device-memory", "--threads", "--json"}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_is_its_option(name: str) -> None:
    option, seen, here = OPTIONS[name], [], typer.Typer()
    text, value = (option.choices[-1],) * 2 if option.kind == "choice" else GIVEN[option.kind]

    @here.command()
    @flags
    def ask(question: str, options: SearchOptions = SearchOptions(), more: int = 0) -> None:
        seen.append((question, options, more))

    flag = f"--{name.replace('_', '-')}"
    done = CliRunner().invoke(here, ["why", flag, *([text] if text else []), "--more", "2"])
    assert done.exit_code == 0 and seen == [("why", SearchOptions.of({name: value}), 2)], done.output
    shown = CliRunner().invoke(here, ["--help"]).output
    assert flag in shown


@pytest.mark.parametrize("name", MADE_OF)
def test_a_flag_is_its_setting(name: str) -> None:
    option, seen, here = MADE_OF[name], [], typer.Typer()
    text, value = ("64", 64) if option.kind == "count" else GIVEN[option.kind]

    @here.command()
    @flags
    def make(folder: str, making: CollectionOptions = CollectionOptions()) -> None:
        seen.append((folder, making))

    done = CliRunner().invoke(here, ["there", f"--{name.replace('_', '-')}", *([text] if text else [])])
    assert done.exit_code == 0 and seen == [("there", CollectionOptions.of({name: value}))], done.output


@pytest.mark.parametrize(
    ("given", "reduce"),
    [
        ((), None),
        (("--pool", "1"), ()),
        (("--pool", "2", "--prune", "idf:50", "--reduce", "single"), ("single", "idf:50", "pool:2")),
        (("--prune", "first:9", "--prune", "idf:50"), ("first:9", "idf:50")),
    ],
)
def test_pruning_and_pooling_are_reducers_in_order(given: tuple[str, ...], reduce: tuple[str, ...] | None) -> None:
    seen, here = [], typer.Typer()

    @here.command()
    @flags
    def make(making: CollectionOptions = CollectionOptions()) -> None:
        seen.append(making.reduce)

    assert CliRunner().invoke(here, [*given]).exit_code == 0 and seen == [reduce]


def test_fields_that_get_an_index_where_a_collection_is_made(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    run("create", tmp_path / "c", "--encoder", "none", "--terms", "bm25", "--fields", "year", "--fields", "lang")
    with plait.open(tmp_path / "c") as index:
        assert index.info()["fields"] == ["year", "lang"]


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
