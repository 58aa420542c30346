"""Commands that several files name are the same in all of them."""

import re

from source_tree import ROOT, documents, name_of

MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_hooks_run_what_make_lint_runs() -> None:
    (recipe,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.M)
    linted = re.findall(r"\$\(BIN\)/(.*)", recipe)
    hooked = re.findall(r"entry: \.venv/bin/(.*)", (ROOT / ".pre-commit-config.yaml").read_text())
    assert linted == hooked and "codespell" in linted


def test_documents_name_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.M))
    for document in documents():
        named = set(re.findall(r"(?:^    |`|&& )make ([\w-]+)", document.read_text(), re.M))
        assert named <= targets, name_of(document)
