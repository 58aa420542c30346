"""The site of docs/ builds without a warning, its generated pages are up to date, and all pages are reached."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from paths import ROOT

pytest.importorskip("zensical", reason="the dependency group `docs` is not installed")
pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
DOCS = ROOT / "docs"
CONFIG = (ROOT / "mkdocs.yml").read_text()


def run(*call: str) -> None:
    done = subprocess.run([sys.executable, "-P", *call], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_site_is_up_to_date_builds_strictly_and_fetches_nothing() -> None:
    """As `make docs`. One test: the first step lays out what the last one reads."""
    run("docs/generate", "--check")
    run("benchmarks/report.py", "--check")
    run("-m", "zensical", "build", "--strict", "--clean")
    html = [page.read_text() for page in (ROOT / "build" / "site").rglob("*.html")]
    assert len(html) >= len(list(DOCS.rglob("*.md")))
    loaded = [
        one for page in html for one in re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=\"(https?:[^\"]+)", page)
    ]
    assert loaded == []


def test_every_page_is_in_the_navigation() -> None:
    named = set(re.findall(r"- ([\w/-]+\.md)$", CONFIG, re.M))
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert named <= there and there - named <= {"decisions.md"}


def test_every_search_option_has_a_row() -> None:
    page = (DOCS / "reference" / "search-options.md").read_text()
    messages = (ROOT / "proto" / "plait" / "v1" / "search.proto").read_text()
    body = messages.partition("message SearchOptions {")[2].partition("\n}")[0]
    names = set(re.findall(r"^\s+(?:optional |repeated )?\w+ (\w+) = \d+;", body, re.M))
    alone = names - {"missing_policy", "missing_value"} | {"missing"}
    assert len(alone) > 15
    assert [name for name in sorted(alone) if f"| `{name}` |" not in page] == []
