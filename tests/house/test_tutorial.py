"""Every command and every Python block of the tutorial runs, and prints what the page shows."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from paths import ROOT

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
from pages import Page, assert_alike

TUTORIAL = sorted((ROOT / "docs" / "tutorial").glob("*.md"))


@pytest.mark.parametrize("path", TUTORIAL, ids=lambda path: path.stem)
def test_a_page_shows_what_its_blocks_print(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with ExitStack() as servers:

        def serve(arguments: list[str]) -> str:
            pytest.importorskip("grpc", reason="the extra `service` is not installed")
            from served import serving

            folder = tmp_path / arguments[0]
            folder.mkdir()
            return servers.enter_context(serving(folder)).target

        assert Page(path, serve).run() >= 3


def test_a_page_that_shows_something_else_is_found_out() -> None:
    assert_alike("a 1.001\nb 2\nc\n", "a 1.000\n...\nc\n")
    assert_alike("id 3959 web valid 2027-02-28\n", "id ... web valid ...\n")
    for printed, shown in (("a 1.1\n", "a 1.0\n"), ("a\nb\n", "a\n"), ("a\n", "a\nb\n"), ("ax\n", "a\n"), ("", "a\n")):
        with pytest.raises(AssertionError):
            assert_alike(printed, shown)
