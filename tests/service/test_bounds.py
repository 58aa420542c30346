"""What a server takes of whoever may make collections, names and keys; and what it says when it is started wrongly."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from plait.index.catalog.schema import MAX_TERM_FIELDS
from plait.index.errors import InvalidArgument, NotFound, Unavailable
from plait.index.filters.conditions import MAX_INDEXED
from plait.index.late.faiss_params import FaissParams
from plait.retrieval.reducers.recipe import MAX_STEPS
from plait.service.cli.main import app
from plait.service.configuration import load, shown, unknown_variables
from plait.service.server.server import build_server
from plait.service.settings import Settings
from served import Server, Wire

RUN = CliRunner()


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    plait.create(tmp_path / "c", encoder=None, dim=4).close()
    limits = {
        "collections": 2,
        "aliases": 2,
        "snapshots": 1,
        "indexed_fields": 3,
        "reduce_steps": 2,
        "term_fields": 2,
        "depths": 2,
    }
    service = build_server(Settings(root=tmp_path, listen="127.0.0.1:0", limits=limits))  # type: ignore[arg-type]
    service.grpc.start()
    made = Wire(f"127.0.0.1:{service.port}")
    yield made
    made.close()
    assert service.stop(5)


def test_what_an_admin_makes_has_bounds_on_the_wire(wire: Wire) -> None:
    """Each error names the limit; all of them are published."""
    plain = {"encoder": "none", "dim": 4}
    fields = [{"name": name, "terms": "bm25"} for name in "abc"]
    refused: dict[str, tuple[str, dict[str, Any]]] = {
        "indexed_fields": ("CreateCollection", {"collection": "d", **plain, "fields": [*"abcd"]}),
        "reduce_steps": ("CreateCollection", {"collection": "d", "reduce": ["pool:2"] * 3}),
        "term_fields": ("CreateCollection", {"collection": "d", **plain, "term_fields": fields}),
        "depths": ("CalibrateCollection", {"collection": "c", "depths": [1, 2, 3]}),
    }
    for limit, (rpc, request) in refused.items():
        code, said, _ = wire.error(rpc, **request)
        assert code == "INVALID_ARGUMENT" and limit in said, said
    code, said, _ = wire.error("UpdateCollection", collection="c", fields=[*"abcd"], update_mask="fields")
    assert code == "INVALID_ARGUMENT" and "indexed_fields" in said
    published = wire("GetServerInfo").limits
    assert published["collections"] == 2 and {*refused, "aliases", "snapshots", "filter_all_values"} <= {*published}


def test_collections_aliases_and_snapshots_have_a_number(wire: Wire) -> None:
    wire("CreateCollection", collection="d", encoder="none", dim=4)
    for alias in "xy":
        wire("SetAlias", alias=alias, collection="c")
    wire.ended(wire("CreateSnapshot", collection="c", name="s").operation)
    for limit, rpc, request in (
        ("collections", "CreateCollection", {"collection": "e", "encoder": "none", "dim": 4}),
        ("aliases", "SetAlias", {"alias": "z", "collection": "c"}),
        ("snapshots", "CreateSnapshot", {"collection": "c", "name": "t"}),
        ("collections", "RestoreSnapshot", {"collection": "e", "name": "s"}),
    ):
        code, said, _ = wire.error(rpc, 30, **request)
        assert code == "FAILED_PRECONDITION" and f"({limit})" in said, said
    wire("SetAlias", alias="x", collection="d")  # another one for what is there
    wire("DeleteCollection", collection="d", confirm_name="d")
    wire("CreateCollection", collection="e", encoder="none", dim=4)


def test_what_is_made_here_has_the_same_bounds(tmp_path: Path) -> None:
    many = [f"f{i}" for i in range(MAX_INDEXED + 1)]
    with pytest.raises(InvalidArgument, match=str(MAX_INDEXED)):
        plait.create(tmp_path / "a", encoder=None, dim=4, fields=many)
    with plait.create(tmp_path / "b", encoder=None, dim=4, fields=many[1:]) as index, pytest.raises(InvalidArgument):
        index.collection.index_fields(many)
    with pytest.raises(InvalidArgument, match=str(MAX_STEPS)):
        plait.create(tmp_path / "c", reduce=["pool:2"] * (MAX_STEPS + 1))
    with pytest.raises(InvalidArgument, match=str(MAX_TERM_FIELDS)):
        plait.create(tmp_path / "d", encoder=None, terms={f"t{i}": "bm25" for i in range(MAX_TERM_FIELDS + 1)})
    for factory in ("IVF99999999999999999999,SQ8", "IVF1," + "SQ8" * 1_000, f"IVF{1 << 25},SQ8"):
        with pytest.raises(InvalidArgument):
            FaissParams(factory)
    done = RUN.invoke(app, ["fields", str(tmp_path / "b"), *many])
    assert done.exit_code == 2 or isinstance(done.exception, InvalidArgument)


def test_secrets_of_an_address_are_not_shown(tmp_path: Path) -> None:
    settings, origins = load(None, {"root": tmp_path, "tracing.endpoint": "http://me:hidden@host:4318/v1?key=hidden"})
    assert settings.tracing.endpoint == "http://me:hidden@host:4318/v1?key=hidden"
    for printed in (shown(settings, origins), str(settings.model_dump(mode="json"))):
        assert "hidden" not in printed and "host:4318/v1" in printed


def test_an_unknown_setting_is_told_from_those_that_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, meant in {
        "limts.k": "limits",  # codespell:ignore limts
        "limits.kk": "limits.k",
        "workrs": "workers",
        "tls.zzz": "tls.cert",
    }.items():
        with pytest.raises(InvalidArgument, match=meant) as error:
            load(None, {name: 5})
        assert "there is no setting" in str(error.value)
    monkeypatch.delenv("PLAIT_LISTEN", raising=False)
    assert unknown_variables(
        {"PLAIT_LISTN": "x", "PLAIT_LISTEN": "y", "PLAIT_LIMITS__K": "1", "PLAIT_API_KEY": ""}
    ) == ["PLAIT_LISTN"]


def test_what_is_not_served_and_what_is_made_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("good", "my notes", "v1.0", "Bücher"):
        plait.create(tmp_path / name, encoder=None, dim=4).close()
    monkeypatch.setenv("PLAIT_LISTN", "x")
    server = Server(tmp_path)
    assert server.stop() == 0
    said = "".join(server.log)
    assert all(f"'{name}'" in said for name in ("my notes", "v1.0", "Bücher")) and "'good'" not in said
    assert "PLAIT_LISTN" in said
    server = Server(tmp_path / "typo")
    assert server.stop() == 0 and "is made" in "".join(server.log)


def test_a_taken_port_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Unavailable, match="another server"):
        build_server(Settings(root=tmp_path, listen=f"127.0.0.1:{taken.getsockname()[1]}"))
    assert "E" not in capfd.readouterr().err


def test_keys_are_revoked_by_name(tmp_path: Path) -> None:
    from plait.service import keys

    file = tmp_path / "keys.json"
    web, _ = keys.create(file, "web", "read")
    assert keys.revoke(file, "web").id == web.id
    again, _ = keys.create(file, "web", "read")
    other, _ = keys.create(file, again.id, "read")  # its name is the id of another
    assert keys.revoke(file, "web").id == again.id and keys.revoke(file, again.id).id == again.id
    assert [key.id for key in keys.read(file) if key.revoked] == [web.id, again.id]
    assert keys.revoke(file, other.id).name == again.id
    with pytest.raises(NotFound, match="names and ids"):
        keys.revoke(file, "nobody")


def test_no_proxy_leads_to_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plait.create(tmp_path / "c", encoder=None, dim=4).close()
    server = Server(tmp_path)
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        with plait.connect(server.target) as connected:
            assert connected.collections() == ["c"]
        monkeypatch.delenv(name)
    assert server.stop() == 0


@pytest.mark.parametrize("tls, hint", [(False, "PLAIT_CA"), (True, "insecure=True")])
def test_a_server_that_is_not_reached_may_want_tls_or_no_proxy(
    tls: bool, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from plait.service.client.server import _unreached

    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert hint in _unreached(tls, True) and "https_proxy" not in _unreached(tls, True)
    assert "https_proxy" in _unreached(tls, False) and "no_proxy" in _unreached(tls, False)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="PLAIT_CA"), plait.connect(f"127.0.0.1:{port}", timeout_s=20) as server:
        server.collections()


def test_a_server_is_ready_when_its_encoders_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first search has nothing to load."""
    import threading

    from plait.service.hosting.collections import Collections
    from plait.service.server import server as module

    loaded, go, told, seen = threading.Event(), threading.Event(), threading.Event(), []

    def warm(_: Collections) -> None:
        loaded.set()
        assert go.wait(120)

    monkeypatch.setattr(Collections, "warm", warm)
    service = build_server(Settings(root=tmp_path, listen="127.0.0.1:0"))
    serving = threading.Thread(target=module.run, args=(service, told, lambda: seen.append(service.ready.is_set())))
    serving.start()
    assert loaded.wait(120) and not service.ready.is_set() and not seen
    go.set()
    assert service.ready.wait(120)
    told.set()
    serving.join(120)
    assert not serving.is_alive() and seen == [True]


def test_warming_encodes_a_query_of_every_collection(tmp_path: Path) -> None:
    from plait.service.hosting.collections import Collections

    plait.create(tmp_path / "words", encoder=None, terms="bm25").close()
    plait.create(tmp_path / "given", encoder=None, dim=4).close()
    collections, encoded = Collections(Settings(root=tmp_path)), []
    for name in ("words", "given"):
        with collections.use(name) as opened:
            batcher = opened.batcher
            encode = batcher._encode
            batcher._encode = lambda key, texts, e=encode, n=name: encoded.append(n) or e(key, texts)
    collections.warm()
    assert sorted(encoded) == ["given", "words"]
    collections.close()


def test_one_key_alone_keeps_nobody_out(tmp_path: Path) -> None:
    """With keys, a key has half of the places unless it is told otherwise; without, there is nobody to keep out."""
    places = {"workers": 3, "queue": 4, "streams": 5}
    for given, wanted in (
        ({}, 0),
        ({"keys": tmp_path / "k"}, 6),
        ({"keys": tmp_path / "k", "per_key": {"concurrent": 0}}, 0),
    ):
        settings = Settings(**places, **given)  # type: ignore[arg-type]
        assert settings.key_share.concurrent == wanted
    assert Settings(per_key={"concurrent": 7}).key_share.concurrent == 7  # type: ignore[arg-type]
