"""How the command line meets people: its start, its help, its lists, its hints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from plait.index.recall.calibration import Calibration, Point
from plait.retrieval.hit import Hit
from plait.service.terminal import console, describing
from shell import plait as run

import plait

HEAVY = {"numpy", "scipy", "torch", "onnxruntime", "faiss", "grpc", "pydantic", "ir_measures", "bm25s", "sqlite3"}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    folder = tmp_path_factory.mktemp("c")
    (folder / "d.jsonl").write_text(
        '{"id": "loop", "title": "loop", "text": "an event loop\\n\\nruns\\tcallbacks", "year": 2020}\n'
        '{"id": "b", "title": "Bread", "text": "bread rises"}\n'
    )
    run("build", folder / "d.jsonl", folder / "c", "--encoder", "none", "--terms", "bm25")
    return folder / "c"


def test_the_start_is_light() -> None:
    code = "import sys; sys.argv = ['plait', '--help']\nfrom plait.service.cli.main import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "typer" in loaded and not loaded & HEAVY


def test_a_search_loads_no_more_of_scipy_than_it_needs(words: Path) -> None:
    code = f"import sys; sys.argv = ['plait', 'info', {str(words)!r}]\nfrom plait.service.cli.main import main\nmain_ = main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert not {"scipy.stats", "scipy.cluster"} & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("command", [(), ("build",), ("search",), ("keys", "create"), ("snapshot", "restore")])
def test_help_has_a_short_name(command: tuple[str, ...]) -> None:
    assert run(*command, "-h").stdout == run(*command, "--help").stdout != ""


def test_completion_can_be_had() -> None:
    shown = run("--help").stdout
    assert "--install-completion" in shown and "--show-completion" in shown


def test_a_question_without_quotes(words: Path) -> None:
    for command in (("search", words, "event", "loop"), ("explain", words, "event", "loop", "b")):
        assert "put a question of several words in quotes" in run(*command, code=2).stderr
    assert "No such option" in run("search", words, "loop", "--nprobes", "3", code=2).stderr


def test_a_hit_is_one_line(words: Path) -> None:
    (line,) = run("search", words, "event loop").stdout.splitlines()
    assert line.split() == ["1", line.split()[1], "loop", "an", "event", "loop", "runs", "callbacks"]
    (line,) = run("search", words, "bread").stdout.splitlines()
    assert line.endswith("  b  Bread · bread rises")


def test_a_long_text_is_cut_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"words": "seventeen letters " * 30, "none": "x" * 500, "short": "y" * 160, "gap": "z" + " " * 900 + "end"}
    hits = [Hit(id, 1.0, {"text": text}) for id, text in texts.items()]
    console.show_hits(hits)
    shown = dict(line.split("  ")[-2:] for line in capsys.readouterr().out.splitlines())
    assert shown["words"].endswith(("letters …", "seventeen …")) and len(shown["words"]) <= 162
    assert shown["none"] == "x" * 160 + " …" and shown["short"] == "y" * 160 and shown["gap"].startswith("z")


def test_nothing_found_says_why_where_that_is_plain(words: Path, tmp_path: Path) -> None:
    done = run("search", words, "bread", "--filter", '{"knd": "function"}')
    assert "nothing found" in done.stdout and "no document has the field 'knd'" in done.stderr
    done = run("search", words, "bread", "--filter", '{"year": 1999}')
    assert "nothing found" in done.stdout and not done.stderr
    plait.create(tmp_path / "e", encoder=None, terms="bm25").close()
    assert "holds no documents" in run("search", tmp_path / "e", "bread").stderr


def test_an_index_on_a_field_that_no_document_has(words: Path) -> None:
    done = run("fields", words, "yaer", "year")  # codespell:ignore yaer
    assert "no document has the field 'yaer'" in done.stderr and "'year'" not in done.stderr


def test_ignored_options_are_told_once(words: Path) -> None:
    done = run("search", words, "bread", "--nprobe", "4", "--fusion", "rrf")
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["fusion", "nprobe"] and "Bread" in done.stdout


def test_the_lanes_of_the_readme(words: Path) -> None:
    assert "Bread" in run("search", words, "bread", "--field", "bm25").stdout


def test_info_says_nothing_of_what_is_not_there(words: Path) -> None:
    shown = run("info", words).stdout
    for absent in ("None", "colbert", "encoder", "tokens", "{", "pending"):
        assert absent not in shown
    assert "terms by bm25 (" in shown and json.loads(run("info", words, "--json").stdout)["encoder"] is None


def test_info_has_one_order(capsys: pytest.CaptureFixture[str]) -> None:
    info = {"documents": 2, "tokens": 5, "dim": 8, "store": "auto", "recall": None, "seq": 3, "novel": [1]}
    describing.show_info(info)
    first = capsys.readouterr().out
    describing.show_info(dict(reversed(info.items())))
    assert capsys.readouterr().out == first and "novel  1" in first


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ((0, 9.0), ""),
        ((2_000_000, 0.2), "SQLite's log  2 MB"),
        ((10, 70.4), "SQLite's log  10 B, held by a read for 70 s"),
    ],
)
def test_the_log_is_a_line_where_there_is_one(
    capsys: pytest.CaptureFixture[str], log: tuple[int, float], line: str
) -> None:
    describing.show_info({"log": dict(zip(("bytes", "oldest_read_s"), log, strict=True))})
    assert capsys.readouterr().out.strip() == line


def test_the_estimate_of_terms_alone(tmp_path: Path, words: Path) -> None:
    said = run("build", words.parent / "d.jsonl", tmp_path / "c", "--encoder", "none", "--terms", "bm25").stderr
    assert said.startswith("2 documents: about ") and "token" not in said


def test_a_build_shows_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    points = [Point(10, 2, 40, 0.8, 0.7, 0.5), Point(10, 4, 40, 0.93, 0.9, 1.0), Point(10, 32, 100, 0.995, 0.99, 4.0)]
    describing.show_frontier(Calibration(tuple(points), 64, "drawn", 100, 100))
    first, second, last = capsys.readouterr().out.splitlines()
    assert "0.930 of the exact top 10 in 1.00 ms" in first and "nprobe 4" in first
    assert "0.995" in second and "--target-recall" in last
    describing.show_calibration(Calibration(tuple(points), 64, "drawn", 100, 100))
    assert "at least: what the mean" in capsys.readouterr().out
    describing.show_frontier(None)
    assert not capsys.readouterr().out


def test_what_a_calibration_replaces(words: Path) -> None:
    run("calibrate", words, "-k", "10,20", "-q")
    done = run("calibrate", words, "-k", "5", "-q")
    assert "k = 10, 20 is replaced; `-k 5,10,20` measures all" in done.stderr
    assert not run("calibrate", words, "-k", "5", "-q").stderr


def test_errors_of_the_system_have_no_number(tmp_path: Path, words: Path) -> None:
    said = run("calibrate", words, "--queries", tmp_path / "nosuch", code=2).stderr
    assert f"no file {tmp_path / 'nosuch'}" in said
    said = run("build", words.parent / "d.jsonl", "/proc/x", "--encoder", "none", "--terms", "bm25", code=1).stderr
    assert "/proc/x: no such file or directory" in said and "Errno" not in said
