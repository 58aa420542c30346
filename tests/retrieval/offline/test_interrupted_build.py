"""A build shows how far it is, ends soon after Ctrl-C, and says how it goes on."""

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import TESTS
from plait.index.errors import Unavailable
from plait.index.stopping import look, stopping
from plait.retrieval.corpus import open_corpus
from plait.retrieval.models.encoded import encoded, telling
from plait.retrieval.offline import build as indexing
from plait.retrieval.offline.ahead import ahead
from plait.service.terminal import progress
from shell import COMMAND
from shell import plait as run

import plait

LONG_S = 300.0


def corpus(path: Path, count: int) -> Path:
    path.write_text(
        "\n".join(json.dumps({"id": str(i), "text": f"{i} tells of the tides. " * 9}) for i in range(count))
    )
    return path


def interrupted(data: Path, folder: Path, after: int) -> tuple[str, int]:
    """What a build says that gets Ctrl-C once so many documents are encoded, and its exit code."""
    build = [*COMMAND, "build", str(data), str(folder)]
    with subprocess.Popen(build, stderr=subprocess.PIPE, text=True, cwd=TESTS) as process:
        watchdog = threading.Timer(LONG_S, process.kill)
        watchdog.start()
        try:
            said = []
            for line in process.stderr or ():
                said.append(line)
                if line.startswith("encode: ") and int(line.split()[1].replace(",", "")) >= after:
                    process.send_signal(signal.SIGINT)
            return "".join(said), process.wait()
        finally:
            watchdog.cancel()


def test_ctrl_c_says_where_it_stopped_and_that_it_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    data, folder = corpus(tmp_path / "many.jsonl", 20_000), tmp_path / "c"
    said, code = interrupted(data, folder, after=300)
    assert code == 130 and "Traceback" not in said
    assert "documents are kept in" in said and "the same command goes on from there" in said
    kept = int(said.split("stopped: ")[1].split()[0].replace(",", ""))
    assert kept >= 256 and kept % 256 == 0
    again, code = interrupted(data, folder, after=kept)
    assert code == 130 and f"{kept:,} of 20,000 documents were there already; the build goes on" in again
    other = run("build", data, folder, "--pool", "2", code=2).stderr
    assert "an unfinished build of" in other and "--restart" in other


def test_progress_goes_by_texts_and_not_by_batches(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    seen: list[tuple[int, int]] = []

    def report(stage: str, done: int, total: int) -> None:
        if stage == "encode":
            seen.append((done, total))

    with plait.create(tmp_path / "c") as index:
        indexing.build(index, open_corpus(corpus(tmp_path / "few.jsonl", 40)), report, measure=False)
    assert {done for done, _ in seen} == set(range(41)) and {total for _, total in seen} == {40}
    assert seen == sorted(seen)


def test_a_resumed_build_counts_what_was_there(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    data = open_corpus(corpus(tmp_path / "few.jsonl", 30))
    announced: list[indexing.Estimate] = []
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        with index.collection.builder() as builder:
            builder.add(*next(index.batches([document for document in data][:10])))
        seen: list[int] = []
        done = indexing.build(index, data, lambda stage, done, total: seen.append(done), announced.append)
        assert done["resumed_after"] == 10 and done["documents"] == 30
    assert announced[0].there == 10 and seen[0] == 10 and seen[-1] == 30
    assert announced[0].tokens == 0 and not announced[0].coded


def test_a_restart_may_have_other_settings(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    data = corpus(tmp_path / "few.jsonl", 30)
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index, index.collection.builder() as builder:
        builder.add(*next(index.batches([document for document in open_corpus(data)][:10])))
    other = ("build", data, tmp_path / "c", "--encoder", "none", "--terms", "bm25:german")
    assert "an unfinished build of 10 documents" in run(*other, code=2).stderr
    with plait.open(tmp_path / "c") as index, index.collection.catalog.reading() as view:
        assert view.staged == 10, "a refusal drops nothing"
    info = json.loads(run(*other, "--restart", "--json").stdout)["collection"]
    assert info["documents"] == 30 and info["term_encoder"] == "bm25:german"


def test_whoever_stops_early_ends_the_item_under_way() -> None:
    begun, told = threading.Event(), []

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        for count in range(10_000_000):
            look()
            told.append(count)
            threading.Event().wait(0.001)
        yield 1

    stream = ahead(items())
    assert next(stream) == 0
    assert begun.wait(LONG_S)
    stream.close()
    assert len(told) < 10_000_000


def test_the_check_of_the_caller_holds_in_the_thread_ahead() -> None:
    def check() -> None:
        raise Unavailable("the deadline has passed")

    def items() -> Iterator[int]:
        look()
        yield 0

    with stopping(check), pytest.raises(Unavailable, match="deadline"):
        list(ahead(items()))


def test_encoders_tell_whoever_asked_in_this_thread() -> None:
    seen: list[int] = []
    encoded(1)
    with telling(seen.append):
        encoded(2)
        list(ahead(encoded(count) or count for count in (3, 4)))
    encoded(5)
    assert seen == [2, 3, 4]


def test_a_line_is_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    report = progress.plain_lines()
    for done in (0, 1, 2, 2, 2):
        report("bytes", done, 2)
    report("bytes", 5, 5)
    assert capfd.readouterr().err.splitlines() == ["bytes: 2 of 2", "bytes: 5 of 5"]
