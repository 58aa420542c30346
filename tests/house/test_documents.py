"""What documents say of files is true: every path exists, and the map of rooms is made of the captions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from source_tree import ROOT, TOPS, captions, code, documents, mapped_rooms, name_of

_TOPS = "|".join((*TOPS, "plait", "proto", "tests", "docs", "examples", "benchmarks", ".github"))
_QUOTED = re.compile(r"(?<!`)`([^`\s]+)`(?!`)")
_PATH = re.compile(rf"^(?:{_TOPS})/[\w.\-/]*")
_RUN = re.compile(rf"(?<![\w./`-])(?:{_TOPS})/[\w\-/]+\.(?:py|sh|proto)\b")
"""In commands and in prose: what has a folder of the repository and a suffix."""
_BARE = re.compile(r"^(?!__)[\w\-]+\.(?:py|pyi|cpp|h|proto)$")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MOST_WORDS = {"README.md": 700, "ARCHITECTURE.md": 1000}
MADE_LATER = {"benchmarks/results/soak.json"}
"""What a target of the Makefile writes, so that a fresh clone lacks it."""


def named_paths(text: str) -> set[str]:
    """The paths of this repository that a text names: in back quotes, and in commands. `FILE::test` names FILE."""
    quoted = {match[0] for name in _QUOTED.findall(text) if (match := _PATH.match(name.split("::")[0]))}
    return (quoted | set(_RUN.findall(text))) - MADE_LATER


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_the_paths_in_a_document_exist(document: Path) -> None:
    text = document.read_text()
    missing = sorted(name for name in named_paths(text) if not (ROOT / name).exists())
    assert missing == [], f"{name_of(document)} names what is not there"


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_a_document_names_files_by_their_full_paths(document: Path) -> None:
    names = {name for name in _QUOTED.findall(document.read_text()) if _BARE.match(name)}
    bare = sorted(name for name in names if not (document.parent / name).exists())
    assert bare == [], f"{name_of(document)}: which of the files of that name?"


@pytest.mark.parametrize("document", documents(), ids=name_of)
def test_the_links_of_a_document_lead_to_files(document: Path) -> None:
    links = {link for link in _LINK.findall(document.read_text()) if "://" not in link}
    missing = sorted(link for link in links if not (document.parent / link).exists())
    assert missing == [], f"{name_of(document)} links to what is not there"


@pytest.mark.parametrize("document", MOST_WORDS)
def test_the_front_documents_are_short(document: str) -> None:
    assert len((ROOT / document).read_text().split()) <= MOST_WORDS[document]


def test_the_paths_in_code_exist() -> None:
    """In docstrings and comments, in back quotes."""
    missing = {
        f"{name_of(path)}: {name}"
        for path in code()
        for name in _QUOTED.findall(path.read_text())
        if _PATH.match(name) and re.fullmatch(r"[\w.\-/]+", name) and not (ROOT / name).exists()
    }
    assert missing == set()


def test_the_map_of_rooms_is_made_of_the_captions() -> None:
    assert mapped_rooms() == captions()
