"""The front door: one list of names, and signatures that say the same here, inside, and on a server."""

import ast
import inspect
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from paths import ROOT
from plait.retrieval.retriever import Retriever
from plait.retrieval.settings import Machine, Making, Opening

import plait

INSIDE = {"batches", "check_texts", "encoded", "encoding", "has_tokens", "queries", "route", "term_sides"}
INSIDE |= {"vector_source"}
"""What of a `Retriever` is for plait itself, and no part of the face that a server's collection has."""
OF_A_SERVER = {"at_least_seq"}
"""Arguments that mean something to a server alone: reads that wait for a write of another process."""
ONLY_THERE = {"check", "collection", "compact", "index_fields", "rerank", "stats"}


def test_type_checkers_see_the_names_that_are_imported_when_first_used() -> None:
    tree = ast.parse((ROOT / "plait" / "__init__.py").read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and str(n.module).startswith("plait.")]
    seen = {alias.asname: node.module for node in imports for alias in node.names if alias.asname}
    assert seen == {name: f"plait{module}" for name, module in plait._NAMES.items()}
    assert {*plait.__all__} == {*seen, "create", "open", "connect"} <= {*dir(plait)}


def test_names_come_from_where_they_are_defined() -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    for name, module in plait._NAMES.items():
        assert getattr(plait, name).__module__ == f"plait{module}", name


def keywords(function: Any) -> dict[str, Any]:
    """What a function takes after its first parameters, by name."""
    parameters = inspect.signature(function).parameters.values()
    hints = get_type_hints(function)
    return {p.name: hints[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY}


def test_create_and_open_are_typed_as_the_collection_is() -> None:
    assert get_type_hints(Opening) == keywords(Retriever.__init__)
    assert get_type_hints(Making) == keywords(Retriever.create) | get_type_hints(Machine)
    assert get_type_hints(Opening).keys() - get_type_hints(Machine).keys() == {"encoder"}


def test_docstrings_of_the_door_name_every_argument() -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    for function, names in (
        (plait.create, get_type_hints(Making)),
        (plait.open, get_type_hints(Opening)),
        (plait.connect, keywords(plait.Server.__init__)),
    ):
        text = inspect.getdoc(function) or ""
        arguments = text[text.index("Args:") : text.index("Raises:")]
        assert [name for name in names if name not in arguments] == []


def test_connect_is_the_constructor_of_a_server() -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    outer, inner = inspect.signature(plait.connect), inspect.signature(plait.Server)
    assert outer.parameters == inner.parameters


def test_a_collection_on_a_server_has_the_face_of_one_that_is_here() -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    here, there = public(plait.Retriever), public(plait.Remote)
    assert here.keys() - there.keys() == INSIDE | {"create"}
    assert there.keys() - here.keys() == ONLY_THERE
    for name in here.keys() & there.keys() - {"close"}:
        assert shape(here[name]) == shape(there[name]), name


def public(kind: type) -> dict[str, Any]:
    return {name: member for name, member in vars(kind).items() if not name.startswith("_")}


def shape(member: Any) -> Any:
    """Names, kinds and defaults of the parameters; of a property, that it is one."""
    if not inspect.isfunction(member):
        return type(member)
    named = [(p.name, p.kind, p.default) for p in inspect.signature(member).parameters.values()]
    return [one for one in named if one[0] not in OF_A_SERVER]


def test_unknown_settings_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    settings: Any = {"stroe": "flat"}  # codespell:ignore
    with pytest.raises(plait.InvalidArgument, match="'stroe'"):  # codespell:ignore
        plait.create(tmp_path / "c", **settings)
    assert not (tmp_path / "c").exists()
