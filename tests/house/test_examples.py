"""The literate examples run as they stand, each in a process of its own, and print what they tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

EXAMPLES = {
    "quickstart": [
        "bread",
        "since 2022: rust",
        "now: {'bread': 2024, 'rust': 2025, 'tides': 2021}",
        "again: Sourdough",
    ],
    "own_vectors": ["b 1.842 {'n': 1}", "by hand: 1.842", "nearest mean: b"],
    "hybrid": [
        "terms:  ['manual']",
        "tokens: ['forum']",
        "terms:  []",
        "hybrid: manual",
        "rerank: ['filter', 'forum']",
    ],
    "live": ["pending: 2", "by terms:  ['f3']", "pending: 0", "by tokens: ['f3']", "same scores: True"],
    "explain": ["bread    Bread", "sum equals score: True", "strongest: [Bread] rises", "Not returned: by tokens"],
}
"""Beginnings of lines that each prints, in this order."""
NEEDS = {"hybrid": ["onnxruntime", "bm25s"], "live": ["onnxruntime", "bm25s"], "own_vectors": []}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_and_prints_what_it_tells(name: str, tmp_path: Path) -> None:
    for module in NEEDS.get(name, ["onnxruntime"]):
        pytest.importorskip(module)
    call = [sys.executable, "-W", "error", str(ROOT / "examples" / f"{name}.py")]
    done = subprocess.run(
        call, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    lines = iter(done.stdout.splitlines())
    missing = [start for start in EXAMPLES[name] if not any(line.startswith(start) for line in lines)]
    assert not missing, done.stdout
    assert not [path for path in tmp_path.iterdir() if path.is_dir()], "it leaves its folder behind"


def test_every_example_is_known_and_named_by_the_tutorial() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == EXAMPLES.keys()
    tutorial = "".join(path.read_text() for path in (ROOT / "docs" / "tutorial").glob("*.md"))
    assert [name for name in EXAMPLES if f"`examples/{name}.py`" not in tutorial] == []
