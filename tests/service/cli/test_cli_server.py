"""The command line with a server: what is on it, what is made there, keys and settings that are nearly right."""

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

pytest.importorskip("grpc", reason="the extra `service` is not installed")
pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
import grpc
from plait.service.configuration import unknown_variables
from plait.service.messages.status import from_rpc_error
from served import Server
from shell import plait as run

import plait


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    file = tmp_path_factory.mktemp("k") / "keys.json"
    scopes = {"admin": (), "one": ("--collection", "left")}
    found = {"file": str(file)}
    for name, more in scopes.items():
        scope = "admin" if name == "admin" else "read"
        made = run("keys", "create", file, "--name", name, "--scope", scope, *more, "--json")
        found[name] = json.loads(made.stdout)["key"]
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str]) -> Iterator[str]:
    root = tmp_path_factory.mktemp("root")
    for name in ("left", "right"):
        with plait.create(root / name, encoder=None, terms="bm25") as index:
            index.add([{"id": "a", "text": "bread rises"}])
    running = Server(root, "--keys", keys["file"])
    yield running.target
    running.kill()


def test_what_is_there(server: str, keys: dict[str, str], tmp_path: Path) -> None:
    there = "--server", server, "--api-key", keys["admin"]
    assert run("collections", *there).stdout.split()[:2] == ["left", "right"]
    assert "there are left, right" in run("search", "lft", "bread", *there, code=2).stderr
    hidden = run("search", "left2", "bread", "--server", server, "--api-key", keys["one"], code=1)
    assert "right" not in hidden.stderr
    plait.create(tmp_path / "here", encoder=None, dim=2).close()
    assert run("collections", tmp_path).stdout.split() == ["here"]
    assert json.loads(run("collections", tmp_path / "none", "--json").stdout) == {"collections": []}
    assert "leave one out" in run("collections", tmp_path, *there, code=2).stderr


def test_collections_and_aliases_are_made(server: str, keys: dict[str, str], tmp_path: Path) -> None:
    there = {"PLAIT_API_KEY": keys["admin"]}
    made = ("--encoder", "none", "--terms", "bm25", "--server", server)
    run("create", "new", *made, environment=there)
    assert "new" in run("create", "new", *made, code=1, environment=there).stderr
    (tmp_path / "d.jsonl").write_text('{"id": "x", "text": "tides"}')
    run("add", "new", tmp_path / "d.jsonl", "--server", server, environment=there)
    assert "new (before: nothing)" in run("alias", "current", "new", "--server", server, environment=there).stdout
    assert "tides" in run("search", "current", "tides", "--server", server, environment=there).stdout
    assert "nothing (before: new)" in run("alias", "current", "--server", server, environment=there).stdout
    assert "--server" in run("alias", "current", "new", code=2).stderr
    run("create", tmp_path / "c", "--encoder", "none", "--terms", "bm25")
    assert json.loads(run("info", tmp_path / "c", "--json").stdout)["documents"] == 0


def test_the_key_of_the_command_line(server: str, keys: dict[str, str]) -> None:
    said = run("info", "left", "--server", server, code=1).stderr
    assert "PLAIT_API_KEY" in said and "--api-key" in said
    assert run(
        "info", "left", "--server", server, "--api-key", keys["one"], environment={"PLAIT_API_KEY": "wrong"}
    ).stdout


def test_info_has_the_order_of_a_collection_here(server: str, keys: dict[str, str]) -> None:
    shown = run("info", "left", "--server", server, "--api-key", keys["one"]).stdout
    labels = [line.strip().split("  ")[0] for line in shown.splitlines()]
    labels = [label for label in labels if label not in ("SQLite's log", "recall")]
    assert labels == ["documents", "state", "segments", "terms", "bytes", "bytes per document"]


def test_a_key_is_revoked_by_name(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    for name in ("web", "other"):
        run("keys", "create", file, "--name", name)
    assert "(web) is revoked" in run("keys", "revoke", file, "web").stdout
    assert "nobody" in run("keys", "revoke", file, "nobody", code=2).stderr
    states = {row["name"]: row["state"] for row in json.loads(run("keys", "list", file, "--json").stdout)["keys"]}
    assert states["web"] == "revoked" != states["other"]


def test_settings_that_are_nearly_right(tmp_path: Path) -> None:
    said = run("serve", tmp_path, "--set", "limits.kk=5", code=2).stderr
    assert "there is no setting limits.kk (flag); did you mean limits.k?" in said
    said = run("serve", tmp_path, "--set", "limts.k=5", code=2).stderr  # codespell:ignore limts
    assert "did you mean limits" in said
    known = ("PLAIT_LISTEN", "PLAIT_LIMITS__K", "PLAIT_API_KEY", "PLAIT_CA", "PLAIT_SIMD")
    assert unknown_variables(dict.fromkeys([*known, "PLAIT_LISTN", "PATH"], "x")) == ["PLAIT_LISTN"]


def test_a_folder_that_is_made_is_told(tmp_path: Path) -> None:
    running = Server(tmp_path / "typo")
    try:
        assert any(f"{tmp_path / 'typo'} is made: there was no such folder" in line for line in running.log)
    finally:
        running.kill()


def test_a_client_without_authority_is_told_of_tls() -> None:
    ended = Mock(spec=grpc.Call)
    ended.code.return_value = grpc.StatusCode.UNAVAILABLE
    ended.details.return_value = "failed to connect to all addresses; last error: UNAVAILABLE: Socket closed"
    assert "PLAIT_CA" in str(from_rpc_error(ended))
