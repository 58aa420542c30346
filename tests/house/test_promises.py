"""docs/explanation/promises.md names tests that exist, and proves every promise by at least one."""

import re
from pathlib import Path

from paths import ROOT

HOME = ROOT
TEXT = (HOME / "docs" / "explanation" / "promises.md").read_text()
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)")


def test_the_tests_that_promises_name_exist() -> None:
    named = _TEST.findall(TEXT)
    assert len(named) > 20
    missing = [f"{file}::{name}" for file, name in named if not defines(HOME / file, name)]
    assert not missing


def defines(file: Path, name: str) -> bool:
    return file.is_file() and re.search(rf"^ *(def|class) {name}\b", file.read_text(), re.MULTILINE) is not None


def test_every_promise_has_a_test() -> None:
    rows = re.findall(r"^\| R(\d+) \|(.*)$", TEXT, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 15))
    assert all(_TEST.search(row) for _, row in rows)
