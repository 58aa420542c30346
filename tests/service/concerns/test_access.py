"""Who may call what, on a real server: every RPC of the protocol with every kind of
key, generated from the descriptors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.errors import FailedPrecondition
from plait.service import keys
from plait.service.concerns.access import Rule, guarded, rules
from plait.service.messages.protocol import SCOPES, SERVICES
from served import Server, Wire, failure, message, method, services, serving

RPCS = [m.name for service in services() for m in service.methods]
LEVEL = {"read": 1, "write": 2, "admin": 3}
MINE, OTHER = "mine", "other"
# By hand, as the answer is meant to be: RPCs that a key of one collection may call although they name none ...
OF_NO_COLLECTION = {"GetServerInfo", "GetOperation", "CancelOperation", "WatchOperation"}
# ... and one that it may not although it does, for the snapshot may be of any collection.
BEYOND = {"RestoreSnapshot"}


def scope(rpc: str) -> int:
    """As the proto says, read without generated code: field 50617 of the method's options."""
    for field, value in varints(method(rpc).GetOptions().SerializeToString()):
        if field == 50617:
            return value
    return 0


def varints(data: bytes) -> Iterator[tuple[int, int]]:
    """The (field, value) pairs of a message that holds varints alone."""

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    at = 0
    while at < len(data):
        tag = number()
        assert tag & 7 == 0
        yield tag >> 3, number()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Tokens by what they are, and the key file."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    made: dict[str, Any] = {"file": file}
    for level in keys.SCOPES:
        made[level] = keys.create(file, level, level)[1]
        made[f"{level} here"] = keys.create(file, f"{level}-here", level, [MINE])[1]
        made[f"{level} elsewhere"] = keys.create(file, f"{level}-elsewhere", level, [OTHER])[1]
    made["by alias"] = keys.create(file, "by-alias", "admin", ["mine-by-alias"])[1]
    soon = datetime.now(UTC) + timedelta(days=1)
    key, made["expired"] = keys.create(file, "expired", "admin", expires=soon)
    stored = json.loads(file.read_text())
    next(one for one in stored["keys"] if one["id"] == key.id)["expires"] = "2020-01-01T00:00:00Z"
    del stored["sha256"]  # as a file of format 1 has it, so that it need not be computed
    file.write_text(json.dumps({**stored, "format": 1}))
    key, made["revoked"] = keys.create(file, "revoked", "admin")
    keys.revoke(file, key.id)
    made["bad"] = made["admin"][:-1] + ("a" if made["admin"][-1] != "a" else "b")
    return made


@pytest.fixture(scope="module")
def server(tokens: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("served")
    for name in (MINE, OTHER):
        plait.create(root / name, encoder=None, dim=4).close()
    with serving(root, "--keys", str(tokens["file"])) as one:
        yield one


def ask(server: Server, rpc: str, token: str | None) -> tuple[str, str]:
    """(code, reason) of a call whose request names the collection `mine` where it can, and is otherwise empty."""
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    wire, called = Wire(server.target, metadata), method(rpc)
    fields: dict[str, Any] = {
        name: MINE for name in ("collection", "alias") if name in called.input_type.fields_by_name
    }
    try:
        if called.client_streaming:
            list(wire.stream(rpc, [fields]))
        elif called.server_streaming:
            list(wire.raw(rpc, message(called.input_type, fields).SerializeToString()))
        else:
            wire(rpc, **fields)
        return "OK", ""
    except grpc.RpcError as error:
        code, _, details = failure(error)
        return code, details["ErrorInfo"].reason if "ErrorInfo" in details else ""
    finally:
        wire.close()


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("state", ["missing", "bad", "expired", "revoked"])
def test_without_a_valid_key_nobody_is_let_in(server: Server, tokens: dict[str, Any], rpc: str, state: str) -> None:
    reason = "API_KEY_" + {"bad": "unknown"}.get(state, state).upper()
    assert ask(server, rpc, tokens.get(state)) == ("UNAUTHENTICATED", reason)


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("level", keys.SCOPES)
def test_a_key_may_do_what_its_scope_says(server: Server, tokens: dict[str, Any], rpc: str, level: str) -> None:
    code, reason = ask(server, rpc, tokens[level])
    if LEVEL[level] < scope(rpc):
        assert (code, reason) == ("PERMISSION_DENIED", "SCOPE")
    else:
        assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNKNOWN")


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize("level", keys.SCOPES)
@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_key_of_one_collection_counts_there_alone(
    server: Server, tokens: dict[str, Any], rpc: str, level: str, where: str
) -> None:
    code, reason = ask(server, rpc, tokens[f"{level} {where}"])
    names_one = "collection" in method(rpc).input_type.fields_by_name and rpc not in BEYOND
    if LEVEL[level] < scope(rpc):
        assert (code, reason) == ("PERMISSION_DENIED", "SCOPE")
    elif rpc in OF_NO_COLLECTION or (names_one and where == "here"):
        assert code not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNKNOWN")
    else:
        assert (code, reason) == ("PERMISSION_DENIED", "COLLECTION")


def test_a_key_of_one_collection_may_wait_for_its_own_operations(server: Server, tokens: dict[str, Any]) -> None:
    everywhere, mine, _, by_alias = wires = [
        Wire(server.target, [("authorization", f"Bearer {tokens[who]}")])
        for who in ("admin", "admin here", "admin elsewhere", "by alias")
    ]
    everywhere("SetAlias", alias="mine-by-alias", collection=MINE)
    for starts, named, may in ((mine, MINE, [mine]), (by_alias, "mine-by-alias", [mine, by_alias])):
        id = starts("CompactCollection", collection=named).operation.id
        for wire in (everywhere, *may):
            assert wire("GetOperation", id=id).operation.id == wire("CancelOperation", id=id).operation.id == id
            assert [*wire("WatchOperation", id=id)][-1].operation.collection == MINE
        for wire in {*wires} - {everywhere, *may}:
            for rpc in ("GetOperation", "CancelOperation"):
                code, message, _ = wire.error(rpc, id=id)
                said = f"no operation has the id {id!r}; the server forgets them when it ends"
                assert (code, message) == ("NOT_FOUND", said), "as of one that was never there"
            with pytest.raises(grpc.RpcError) as caught:
                list(wire("WatchOperation", id=id))
            assert failure(caught.value)[0] == "NOT_FOUND"
    everywhere("SetAlias", alias="mine-by-alias", collection="")
    for wire in wires:
        wire.close()


def test_an_alias_cannot_lead_out_of_a_collection(server: Server, tokens: dict[str, Any]) -> None:
    mine = Wire(server.target, [("authorization", f"Bearer {tokens['admin here']}")])
    for alias, collection in ((MINE, OTHER), ("new", MINE), ("new", OTHER), ("new", ""), (MINE, "")):
        code, message, _ = mine.error("SetAlias", alias=alias, collection=collection)
        assert code == "PERMISSION_DENIED" and "does not count for" in message, (alias, collection)
    mine.close()


def test_a_stream_cannot_change_to_another_collection(server: Server, tokens: dict[str, Any]) -> None:
    mine = Wire(server.target, [("authorization", f"Bearer {tokens['write here']}")])
    vectors = {"vectors": {"data": "AAAAAAAAgD8AAAAAAAAAAA==", "dtype": "D_TYPE_FLOAT32", "rows": 1, "cols": 4}}
    document = {"id": "a", "tokens": vectors}
    with pytest.raises(grpc.RpcError) as caught:
        list(
            mine.stream(
                "IngestDocuments",
                [{"collection": MINE, "documents": [document]}, {"collection": OTHER, "documents": [document]}],
            )
        )
    assert failure(caught.value)[0] == "PERMISSION_DENIED"
    everywhere = Wire(server.target, [("authorization", f"Bearer {tokens['read']}")])
    assert everywhere("CountDocuments", collection=OTHER).count == 0
    done = list(
        mine.stream("IngestDocuments", [{"collection": MINE, "documents": [document]}, {"documents": [document]}])
    )
    assert done[-1].messages == 2, "later messages may leave the name out"
    for wire in (mine, everywhere):
        wire.close()


def test_health_needs_no_key_and_reflection_does(server: Server, tokens: dict[str, Any]) -> None:
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    with grpc.insecure_channel(server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = health.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        ask = stub.ServerReflectionInfo
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.RpcError) as caught:
            list(ask(iter([request])))
        assert failure(caught.value)[0] == "UNAUTHENTICATED"
        (listed,) = ask(iter([request]), metadata=[("authorization", f"Bearer {tokens['read here']}")])
        assert "plait.v1.SearchService" in [s.name for s in listed.list_services_response.service]


def test_a_key_made_and_revoked_while_the_server_runs(server: Server, tokens: dict[str, Any]) -> None:
    import time

    key, token = keys.create(tokens["file"], "late", "read")

    def until(expected: str) -> None:
        give_up = time.monotonic() + 20
        while ask(server, "CountDocuments", token)[0] != expected:
            assert time.monotonic() < give_up
            time.sleep(0.05)

    until("OK")
    keys.revoke(tokens["file"], key.id)
    until("UNAUTHENTICATED")
    assert ask(server, "CountDocuments", token)[1] == "API_KEY_REVOKED"


def test_a_stream_ends_when_its_key_is_revoked(tmp_path: Path) -> None:
    """Each message is sent when the one before was answered; the key goes after the second."""
    from echo_service import Named, invoker
    from echo_service import serving as echoing

    key, token = keys.create(tmp_path / "keys.json", "a", "write")
    ring = keys.KeyRing(tmp_path / "keys.json", interval_s=0)
    answered = threading.Semaphore(1)

    def texts() -> Iterator[Any]:
        for text in "abcd":
            assert answered.acquire(timeout=20)
            if text == "c":
                keys.revoke(tmp_path / "keys.json", key.id)
            yield Named(text=text)

    rule = {"/test.stream_stream/Echo": Rule("write")}
    with echoing([guarded(rule, ring)]) as port, grpc.insecure_channel(f"127.0.0.1:{port}") as one:
        got = []
        with pytest.raises(grpc.RpcError) as caught:
            for answer in invoker(one, "stream_stream")(
                texts(), metadata=(("authorization", f"Bearer {token}"),), timeout=30
            ):
                got.append(answer.text)
                answered.release()
    assert got == ["A", "B"] and failure(caught.value)[0] == "UNAUTHENTICATED"


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as one:
        yield one


printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.just("authorization"),
            printable | printable.map("Bearer ".__add__) | printable.map("Bearer plait_00000000_".__add__),
        ),
        max_size=3,
    )
)
def test_no_header_but_a_keys_own_is_let_in(channel: grpc.Channel, metadata: list[tuple[str, str]]) -> None:
    call = channel.unary_unary("/plait.v1.SystemService/GetServerInfo", bytes, bytes)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", metadata=tuple(metadata), timeout=20)
    assert failure(caught.value)[0] == "UNAUTHENTICATED"


def test_two_headers_are_no_key_even_if_one_is(channel: grpc.Channel, tokens: dict[str, Any]) -> None:
    call = channel.unary_unary("/plait.v1.SystemService/GetServerInfo", bytes, bytes)
    right = ("authorization", f"Bearer {tokens['read']}")
    call(b"", metadata=(right,), timeout=20)
    with pytest.raises(grpc.RpcError) as caught:
        call(b"", metadata=(right, right), timeout=20)
    assert failure(caught.value)[0] == "UNAUTHENTICATED"


def test_every_rpc_has_a_scope_in_the_proto_and_the_server_takes_it() -> None:
    known = rules(SERVICES.values(), SCOPES)
    assert sorted(path.rpartition("/")[2] for path in known) == sorted(RPCS)
    for path, rule in known.items():
        assert LEVEL[rule.scope] == scope(path.rpartition("/")[2]) > 0


def test_a_server_does_not_start_with_an_rpc_that_has_no_scope() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="bare.proto", package="bare", syntax="proto3")
    file.message_type.add(name="Empty")
    service = file.service.add(name="BareService")
    service.method.add(name="Open", input_type=".bare.Empty", output_type=".bare.Empty")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    bare = pool.FindServiceByName("bare.BareService")
    for scopes in ({}, {"/bare.BareService/Open": 0}, {"/bare.BareService/Open": 4}):
        with pytest.raises(FailedPrecondition, match=r"/bare\.BareService/Open has no scope"):
            rules([bare], scopes)
    assert rules([bare], {"/bare.BareService/Open": 1})["/bare.BareService/Open"].scope == "read"
