"""What the README shows works as it stands."""

import contextlib
import io
import re
from pathlib import Path

import pytest
from paths import ROOT

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.S)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(compile(code, "README.md", "exec"), {})
    first, *matches = shown.getvalue().splitlines()
    assert first.startswith("a ") and first.endswith(" 2020")
    assert any(line.startswith("bread -> Bread ") for line in matches)


def test_the_shell_commands_exist() -> None:
    from plait.service.cli.main import app

    known = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    used = set(re.findall(r"^    (?:.*&& )?plait ([\w-]+)", README, re.M))
    assert used and used <= known
