"""What the README shows works as it stands, and prints what it shows."""

import contextlib
import gzip
import io
import re
import runpy
import shlex
from pathlib import Path

import pytest
from paths import ROOT
from shell import here

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
pytest.importorskip("ir_measures", reason="the extra `eval` is not installed")
README = (ROOT / "README.md").read_text()
DEMO = ROOT / "examples" / "xquad-en"
FIGURE = re.compile(r"\d+\.\d+")
CLOSE = 0.05
"""How far figures may be from those shown: the embedded encoder rounds differently on another CPU."""


def section(heading: str) -> str:
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## )", README, re.M | re.S)
    return found


def indented(text: str) -> list[str]:
    return re.findall(r"^    (.*)$", text, re.M)


def same(found: list[str], shown: list[str]) -> None:
    """The same lines, and figures close to each other."""
    assert [FIGURE.sub("#", line) for line in found] == [FIGURE.sub("#", line) for line in shown]
    for one, other in zip(FIGURE.findall("\n".join(found)), FIGURE.findall("\n".join(shown)), strict=True):
        assert float(one) == pytest.approx(float(other), abs=CLOSE)


def test_the_lines_of_python_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, after = re.findall(r"```python\n(.*?)```(.*)", section("Ten lines of Python"), re.S)[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    same(printed.getvalue().splitlines(), indented(after))


def test_the_lines_of_shell_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but for a demo collection of a few paragraphs and the server, which would not end."""
    monkeypatch.chdir(tmp_path)
    few(tmp_path / "examples" / "xquad-en")
    (tmp_path / "more.jsonl").write_text('{"id": "a", "text": "Bread rises.", "year": 2020}\n')
    lines = [shlex.split(line, comments=True) for line in indented(section("Ten lines of shell"))]
    assert len(lines) == 10 and all(line[0] == "plait" for line in lines)
    *ending, (_, last, *_) = lines
    assert last == "serve" and "--listen" in here("serve", "--help").stdout
    printed = {line[1]: here(*line[1:]).stdout for line in ending}
    assert re.search(r"^tokens +passed", printed["explain"], re.M)
    assert "nDCG@10" in printed["eval"]


def few(folder: Path) -> None:
    """Some paragraphs of the demo collection, with their questions and judgements."""
    wanted = {f"p{n}" for n in range(125, 131)}
    (folder / "qrels").mkdir(parents=True)
    head, *judged = (DEMO / "qrels" / "test.tsv").read_text().splitlines(keepends=True)
    judged = [line for line in judged if line.split("\t")[1] in wanted]
    (folder / "qrels" / "test.tsv").write_text(head + "".join(judged))
    asked = {line.split("\t")[0] for line in judged}
    for name, kept in (("corpus", wanted), ("queries", asked)):
        lines = gzip.decompress((DEMO / f"{name}.jsonl.gz").read_bytes()).decode().splitlines(keepends=True)
        some = [line for line in lines if re.findall(r'"_id": "(\w+)"', line)[0] in kept]
        (folder / f"{name}.jsonl").write_text("".join(some))


def test_the_picture_is_that_of_the_search() -> None:
    picture = runpy.run_path(str(ROOT / "docs" / "generate" / "hit.py"))
    drawn = picture["drawn"](picture["explained"]())
    same(words(drawn), words((ROOT / "docs" / "hit.svg").read_text()))


def words(svg: str) -> list[str]:
    """The texts of a picture, in their order."""
    return re.findall(r"<text[^>]*>(.*?)</text>", svg)
