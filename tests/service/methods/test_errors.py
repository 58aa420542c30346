"""Every call that can go wrong does, and says which field, which value and which bound; everything at a limit works."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
import grpc
from served import Wire, code, failure, method, services, serving, tensor

DIM = 4
LIMITS = {
    "message_bytes": 1 << 20,
    "k": 20,
    "query_tokens": 6,
    "document_tokens": 9,
    "dim": 16,
    "text_characters": 50,
    "id_characters": 10,
    "batch_queries": 5,
    "batch_documents": 6,
    "ids": 7,
    "page_size": 8,
    "k_token": 100,
    "nprobe": 10,
    "candidates": 30,
    "term_candidates": 13,
    "depth": 12,
    "sparse_keys": 5,
    "filter_nodes": 9,
    "filter_depth": 4,
    "filter_values": 3,
}


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    root: Path = tmp_path_factory.mktemp("root")
    plait.create(root / "c", encoder=None, dim=DIM).close()
    plait.create(root / "words", encoder=None, terms="bm25").close()
    with plait.create(root / "mixed", encoder=None, terms="bm25", vector=3) as mixed:
        mixed.upsert([{"id": "a", "text": "moon", "vector": [1, 2, 3]}])
    broken = plait.create(root / "broken", encoder=None, dim=DIM)
    broken.add_tokens(["a"], plait.from_matrices([np.ones((2, DIM), np.float32)]))
    broken.close()
    vectors = next((root / "broken").glob("segment-*/vectors"))
    vectors.write_bytes(vectors.read_bytes()[:-2] + b"!!")
    with serving(root, limits=LIMITS, deadline_s=5) as server:
        wire = Wire(server.target)
        wire("UpsertDocuments", collection="c", documents=[document(f"d{i}") for i in range(6)])
        wire("UpsertDocuments", collection="words", documents=[{"id": "w", "payload": {"text": "moon"}}])
        yield wire
        wire.close()


def document(id: str, tokens: int = 2, dim: int = DIM) -> dict[str, Any]:
    return {"id": id, "tokens": {"vectors": tensor(np.ones((tokens, dim), np.float32))}}


def query(tokens: int = 2, dim: int = DIM) -> dict[str, Any]:
    return {"encoded": {"tokens": {"vectors": tensor(np.ones((tokens, dim), np.float32))}}}


Q = query()
C: dict[str, Any] = {"collection": "c"}
NAN = tensor(np.full((1, DIM), np.nan, np.float32))
VECTOR = tensor(np.ones((1, 3), np.float32))
MIXED = {
    "encoded": {
        "terms": {"offsets": "AAAAAAEAAAA=", "keys": "BwAAAA==", "weights": "AACAPw==", "key_space": 2**32},
        "vector": VECTOR,
    }
}
SHORT = {**tensor(np.ones((2, DIM), np.float32)), "rows": 3}

INVALID = [
    ("Search", {"collection": "../c", "query": Q}, "collection"),
    ("Search", {"collection": "", "query": Q}, "collection"),
    ("Search", {"collection": "a" * 65, "query": Q}, "collection"),
    ("Search", {**C, "query": {}}, "query"),
    ("Search", {**C}, "query"),
    ("Search", {**C, "query": Q, "k": 0}, "k"),
    ("Search", {**C, "query": {"encoded": {}}}, "query.encoded"),
    ("Search", {**C, "query": {"encoded": {"tokens": {"vectors": SHORT}}}}, "query.encoded.tokens.vectors.data"),
    (
        "Search",
        {**C, "query": {"encoded": {"tokens": {"vectors": {"rows": 1, "cols": 4}}}}},
        "query.encoded.tokens.vectors.dtype",
    ),
    ("Search", {**C, "query": {"encoded": {"tokens": {"vectors": NAN}}}}, ""),
    ("Search", {**C, "query": query(dim=DIM + 1)}, ""),
    ("Search", {**C, "query": query(tokens=0)}, ""),
    ("Search", {**C, "query": Q, "options": {"nprobe": 0}}, "options.nprobe"),
    ("Search", {**C, "query": Q, "options": {"mode": "MODE_TERMS"}}, ""),
    ("Search", {**C, "query": Q, "options": {"mode": 77}}, "options.mode"),
    ("Search", {**C, "query": Q, "options": {"target_recall": 1.5}}, "options.target_recall"),
    ("Search", {**C, "query": Q, "options": {"missing_policy": 9}}, "options.missing_policy"),
    ("Search", {**C, "query": Q, "options": {"fusion": 9}}, "options.fusion"),
    ("Search", {**C, "query": Q, "options": {"normalise": 9}}, "options.normalise"),
    ("Search", {**C, "query": Q, "options": {"alpha": 1.5, "term_candidates": 1}}, "options.alpha"),
    ("Search", {**C, "query": Q, "options": {"query_terms": 0, "term_candidates": 1}}, "options.query_terms"),
    ("Search", {"collection": "mixed", "query": MIXED, "options": {"weights": [1, 2, 3]}}, "options.weights"),
    ("Search", {"collection": "mixed", "query": MIXED, "options": {"mode": "MODE_SUM"}}, "options.mode"),
    ("Search", {**C, "query": Q, "options": {"mode": "MODE_VECTOR"}}, ""),
    ("Search", {**C, "query": {"encoded": {"vector": VECTOR}}}, ""),
    ("Search", {**C, "query": {"encoded": {"vector": tensor(np.ones((2, 3), np.float32))}}}, "query.encoded.vector"),
    ("Search", {"collection": "mixed", "query": {"text": "moon"}, "options": {"mode": "MODE_VECTOR"}}, "options.mode"),
    ("Rerank", {"collection": "mixed", "query": MIXED, "ids": ["a"]}, ""),
    ("UpsertDocuments", {"collection": "mixed", "documents": [{"id": "a", "payload": {"text": "x"}}]}, ""),
    (
        "UpsertDocuments",
        {"collection": "mixed", "documents": [{"id": "a", "vector": tensor(np.ones((1, 4), np.float32))}]},
        "",
    ),
    ("UpsertDocuments", {**C, "documents": [{**document("a"), "vector": VECTOR}, document("b")]}, "documents"),
    (
        "UpsertDocuments",
        {"collection": "words", "documents": [{"id": "a", "payload": {"text": "x"}, "vector": VECTOR}]},
        "documents[0].vector",
    ),
    ("CreateCollection", {"collection": "new", "encoder": "none", "dim": 4, "precision": "int3"}, ""),
    ("CreateCollection", {"collection": "new", "encoder": "none", "encoder_vector": True}, ""),
    ("CreateCollection", {"collection": "new", "encoder": "none", "dim": 4, "dtype": "int3"}, ""),
    ("CreateCollection", {"collection": "new", "encoder": "none", "terms": "bm25", "dtype": "float16"}, ""),
    ("CreateCollection", {"collection": "new", "dtype": "float16"}, ""),
    ("CreateCollection", {"collection": "new", "encoder": "none", "vector_dim": 10**6}, "vector_dim"),
    ("Search", {**C, "query": Q, "options": {"filter": {}}}, "options.filter"),
    ("Search", {**C, "query": Q, "options": {"filter": {"exists": {"field": "a..b"}}}}, "options.filter"),
    ("Search", {**C, "query": Q, "options": {"filter": {"eq": {"field": "a"}}}}, "options.filter"),
    ("Search", {**C, "query": Q, "options": {"filter": {"range": {"field": "a"}}}}, "options.filter"),
    ("BatchSearch", {**C, "queries": []}, "queries"),
    ("BatchSearch", {**C, "queries": [Q, {"text": "x"}]}, "queries"),
    ("Rerank", {**C, "query": Q, "ids": []}, "ids"),
    ("Explain", {**C, "query": {}, "id": "d1"}, "query"),
    ("Encode", {**C, "texts": []}, "texts"),
    ("UpsertDocuments", {**C, "documents": []}, "documents"),
    ("UpsertDocuments", {**C, "documents": [document("")]}, "documents[0].id"),
    ("UpsertDocuments", {**C, "documents": [document("a"), document("a")]}, ""),
    ("UpsertDocuments", {**C, "documents": [document("a"), {"id": "b"}]}, "documents"),
    ("UpsertDocuments", {**C, "documents": [document("a")], "durability": 9}, "durability"),
    ("UpsertDocuments", {"collection": "words", "documents": [{"id": "a", "payload": {"n": 1}}]}, ""),
    ("DeleteDocuments", {**C}, "which"),
    ("ListDocuments", {**C, "page_size": 0}, "page_size"),
    ("ListDocuments", {**C, "filter": {"negated": {}}}, "filter"),
    ("CountDocuments", {**C, "filter": {"eq": {"field": ""}}}, "filter"),
    ("UpdatePayload", {"collection": "words", "id": "w", "patch": {"text": "sun"}}, ""),
    ("CreateCollection", {"collection": "a/b"}, "collection"),
    ("CreateCollection", {"collection": "new", "encoder": "/etc"}, "encoder"),
    ("CreateCollection", {"collection": "new", "encoder": "none", "terms": "slim:/etc"}, "terms"),
    ("CreateCollection", {"collection": "new", "encoder": "none", "dim": 4, "system": "word2vec"}, ""),
    ("CreateCollection", {"collection": "new", "encoder": "none"}, ""),
    ("DeleteCollection", {"collection": "c", "confirm_name": "d"}, "confirm_name"),
    ("UpdateCollection", {**C, "fields": ["a"]}, "update_mask"),
    ("UpdateCollection", {**C, "update_mask": "fields,colour"}, "update_mask"),
    ("UpdateCollection", {**C, "fields": ["a b"], "update_mask": "fields"}, ""),
    ("SetAlias", {"alias": "..", "collection": "c"}, "alias"),
    ("CalibrateCollection", {**C, "depths": [0]}, "depths"),
    ("CalibrateCollection", {**C, "texts": ["a"], "tokens": [Q["encoded"]["tokens"]]}, "texts"),
    ("EncodePending", {**C, "limit": 0}, "limit"),
    ("UpsertDocuments", {**C, "documents": [document("x")], "defer": True}, "defer"),
    ("CreateSnapshot", {**C, "name": "../s"}, "name"),
    ("DeleteSnapshot", {"name": "s", "confirm_name": ""}, "confirm_name"),
    ("ListCollections", {"page_size": 0}, "page_size"),
]


@pytest.mark.parametrize(("rpc", "fields", "at"), INVALID, ids=[f"{r}-{n}" for n, (r, _, _) in enumerate(INVALID)])
def test_what_cannot_be_is_invalid_and_the_field_is_named(wire: Wire, rpc: str, fields: dict, at: str) -> None:
    status, message, details = wire.error(rpc, **fields)
    assert status == "INVALID_ARGUMENT" and len(message) > 10
    assert details["ErrorInfo"].domain == "plait" and details["ErrorInfo"].reason == "INVALID_ARGUMENT"
    (violation,) = details["BadRequest"].field_violations
    assert violation.field == at and violation.description == message


NAMES = {m.name: m for s in services() for m in s.methods}
OF_ONE = [name for name, m in NAMES.items() if "collection" in m.input_type.fields_by_name and not m.client_streaming]
NEEDED = {
    "CreateCollection": None,  # makes it
    "RestoreSnapshot": None,
    "ListOperations": None,  # a filter
    "Search": {"query": Q},
    "BatchSearch": {"queries": [Q]},
    "Rerank": {"query": Q, "ids": ["d1"]},
    "Explain": {"query": Q, "id": "d1"},
    "Encode": {"texts": ["x"]},
    "DeleteDocuments": {"ids": {"ids": ["a"]}},
    "UpsertDocuments": {"documents": [document("a")]},
    "DeleteCollection": {"confirm_name": "nobody"},
    "SetAlias": {"alias": "x"},
    "UpdateCollection": {"fields": ["a"], "update_mask": "fields"},
    "CreateSnapshot": {"name": "s"},
}


@pytest.mark.parametrize("rpc", [n for n in OF_ONE if NEEDED.get(n, {}) is not None])
def test_every_call_about_a_collection_says_that_there_is_none(wire: Wire, rpc: str) -> None:
    status, message, details = wire.error(rpc, collection="nobody", **(NEEDED.get(rpc) or {}))
    assert status == "NOT_FOUND" and "nobody" in message
    assert (details["ResourceInfo"].resource_type, details["ResourceInfo"].resource_name) == ("collection", "nobody")


@pytest.mark.parametrize(
    "rpc", [n for n in OF_ONE if n not in ("DeleteCollection", "SetAlias") and NEEDED.get(n, {}) is not None]
)
def test_a_damaged_collection_is_data_loss_and_the_others_live(wire: Wire, rpc: str) -> None:
    status, message, _ = wire.error(rpc, collection="broken", **(NEEDED.get(rpc) or {}))
    assert status == "DATA_LOSS" and "vectors" in message
    assert wire("CountDocuments", collection="c").count >= 6
    (described,) = [c for c in wire("ListCollections").collections if c.name == "broken"]
    assert "vectors" in described.problem


OTHER = [
    ("Explain", {**C, "query": Q, "id": "nobody"}, "NOT_FOUND", "nobody"),
    ("Rerank", {**C, "query": Q, "ids": ["d1", "nobody"]}, "NOT_FOUND", "nobody"),
    ("UpdatePayload", {**C, "id": "nobody", "patch": {"a": 1}}, "NOT_FOUND", "nobody"),
    ("GetOperation", {"id": "nothing"}, "NOT_FOUND", "nothing"),
    ("CancelOperation", {"id": "nothing"}, "NOT_FOUND", "nothing"),
    ("RestoreSnapshot", {"name": "nothing", "collection": "x"}, "NOT_FOUND", "nothing"),
    ("DeleteSnapshot", {"name": "nothing", "confirm_name": "nothing"}, "NOT_FOUND", "nothing"),
    ("CreateCollection", {"collection": "c", "encoder": "none", "dim": 4}, "ALREADY_EXISTS", "c"),
    ("SetAlias", {"alias": "words", "collection": "c"}, "ALREADY_EXISTS", "words"),
    ("UpdateCollection", {**C, "fields": ["a"], "update_mask": "precision,fields"}, "FAILED_PRECONDITION", "precision"),
    ("Search", {**C, "query": {"text": "x"}}, "FAILED_PRECONDITION", "encoder"),
    ("Encode", {**C, "texts": ["x"]}, "FAILED_PRECONDITION", "encoder"),
    ("UpsertDocuments", {**C, "documents": [{"id": "a", "payload": {"text": "x"}}]}, "FAILED_PRECONDITION", "encoder"),
    ("Search", {**C, "query": Q, "at_least_seq": 10**9}, "UNAVAILABLE", "at_least_seq"),
]  # fmt: skip


@pytest.mark.parametrize(("rpc", "fields", "status", "named"), OTHER)
def test_other_errors_have_their_own_codes(wire: Wire, rpc: str, fields: dict, status: str, named: str) -> None:
    found, message, details = wire.error(rpc, **fields)
    assert found == status and named in message
    assert details["ErrorInfo"].metadata["request_id"]


def streamed(wire: Wire, *requests: dict[str, Any]) -> str:
    return code(lambda: list(wire.stream("IngestDocuments", requests)))


def test_streams_fail_with_the_same_codes(wire: Wire) -> None:
    assert streamed(wire, {**C, "documents": [document("s1")]}) == "OK"
    assert streamed(wire) == "OK"
    assert streamed(wire, {"collection": "nobody", "documents": [document("a")]}) == "NOT_FOUND"
    assert streamed(wire, {**C, "documents": []}) == "INVALID_ARGUMENT"
    both = {**C, "documents": [document("s2")]}, {"collection": "words", "documents": [document("s3")]}
    assert streamed(wire, *both) == "INVALID_ARGUMENT"
    assert (
        streamed(wire, {**C, "bulk": True, "documents": [document("s4")]}, {"documents": [document("s1")]})
        == "ALREADY_EXISTS"
    )
    # A bulk write is one that says where it ends; with nothing in it, it is empty.
    assert streamed(wire, {**C, "bulk": True, "documents": [document("s4")]}) == "INVALID_ARGUMENT"
    assert [a.count for a in wire.stream("IngestDocuments", [{**C, "bulk": True, "last": True}])] == [0]
    assert code(lambda: list(wire.raw("WatchOperation", b""))) == "NOT_FOUND"
    # What was acknowledged before an error is there; of a bulk write that failed, nothing is.
    assert [d.id for d in wire("GetDocuments", collection="c", ids=["s1", "s2", "s4"]).documents] == ["s1", "s2"]


def at(limit: str) -> Any:
    """A call whose size is the given number in the dimension of this limit."""
    payload = {"text": "moon"}
    return {
        "k": lambda n: ("Search", {**C, "query": Q, "k": n}),
        "query_tokens": lambda n: ("Search", {**C, "query": query(n)}),
        "document_tokens": lambda n: ("UpsertDocuments", {**C, "documents": [document("l", n)]}),
        "dim": lambda n: ("CreateCollection", {"collection": f"dim{n}", "encoder": "none", "dim": n}),
        "text_characters": lambda n: ("Search", {"collection": "words", "query": {"text": "é" * n}}),
        "id_characters": lambda n: ("UpsertDocuments", {**C, "documents": [document("é" * n)]}),
        "batch_queries": lambda n: ("BatchSearch", {**C, "queries": [Q] * n}),
        "batch_documents": lambda n: ("UpsertDocuments", {**C, "documents": [document(f"l{i}") for i in range(n)]}),
        "ids": lambda n: ("GetDocuments", {**C, "ids": ["d1"] * n}),
        "page_size": lambda n: ("ListDocuments", {**C, "page_size": n}),
        "k_token": lambda n: ("Search", {**C, "query": Q, "options": {"k_token": n}}),
        "nprobe": lambda n: ("Search", {**C, "query": Q, "options": {"nprobe": n}}),
        "candidates": lambda n: ("Search", {**C, "query": Q, "options": {"candidates": n}}),
        "term_candidates": lambda n: ("Search", {"collection": "words", "query": {"text": "moon"}, "options": {"term_candidates": n}}),
        "depth": lambda n: ("Search", {**C, "query": Q, "options": {"depth": n}}),
        "sparse_keys": lambda n: ("Search", {"collection": "words", "query": sparse(n)}),
        "filter_nodes": lambda n: ("CountDocuments", {**C, "filter": {"any_of": {"filters": [LEAF] * (n - 1)}}}),
        "filter_depth": lambda n: ("CountDocuments", {**C, "filter": nested(n)}),
        "filter_values": lambda n: ("CountDocuments", {**C, "filter": {"one_of": {"field": "a", "values": [{"integer": 1}] * n}}}),
        "text of documents": lambda n: ("UpsertDocuments", {"collection": "words", "documents": [{"id": "l", "payload": {**payload, "title": "a" * n}}]}),
    }[limit]  # fmt: skip


LEAF = {"exists": {"field": "a"}}


def nested(depth: int) -> dict[str, Any]:
    return LEAF if depth == 1 else {"negated": nested(depth - 1)}


def sparse(keys: int) -> dict[str, Any]:
    import base64

    columns = {"offsets": [0, keys], "keys": range(keys)}
    made = {k: base64.b64encode(np.array(list(v), "<u4").tobytes()).decode() for k, v in columns.items()}
    weights = base64.b64encode(np.ones(keys, "<f4").tobytes()).decode()
    return {"encoded": {"terms": {**made, "weights": weights, "key_space": 2**32}}}


@pytest.mark.parametrize(
    "limit",
    [
        *(n for n in LIMITS if n != "message_bytes"),
        "text of documents",
    ],
)
def test_at_a_limit_works_and_one_more_names_it(wire: Wire, limit: str) -> None:
    published = dict(wire("GetServerInfo").limits)
    name = "text_characters" if limit == "text of documents" else limit
    n, call = published[name], at(limit)
    for size in (n - 1, n):
        rpc, fields = call(size)
        wire(rpc, **fields)
    rpc, fields = call(n + 1)
    status, message, details = wire.error(rpc, **fields)
    assert status == "INVALID_ARGUMENT" and re.search(rf"\b{n}\b", message), message
    assert details["BadRequest"].field_violations[0].field
    assert {**published, **LIMITS} == published


def test_a_message_of_the_greatest_size_is_read_and_a_greater_one_is_not(wire: Wire) -> None:
    n = LIMITS["message_bytes"]
    for size, status in ((n - 1, "INVALID_ARGUMENT"), (n, "INVALID_ARGUMENT"), (n + 1, "RESOURCE_EXHAUSTED")):
        assert code(lambda size=size: wire.raw("Search", b"\xff" * size)) == status


@pytest.mark.parametrize("rpc", [n for n, m in NAMES.items() if not (m.client_streaming or m.server_streaming)])
def test_bytes_that_are_no_message_are_invalid(wire: Wire, rpc: str) -> None:
    if not method(rpc).input_type.fields:
        return
    try:
        wire.raw(rpc, b"\x0a\xff\xff")
    except Exception as error:
        status, message, _ = failure(error)
        assert status == "INVALID_ARGUMENT" and method(rpc).input_type.name in message
    else:
        raise AssertionError("it was taken")


@contextmanager
def failing(root: Path, error: Exception) -> Iterator[Wire]:
    """A server in this process, one of whose methods meets what nobody foresaw."""
    from plait.service.server.edge import Edge
    from plait.service.server.server import build_server
    from plait.service.settings import Settings

    def fails(*_: Any) -> Any:
        raise error

    settings = Settings(root=root, listen="127.0.0.1:0", insecure=True)
    edge = Edge(settings)
    with pytest.MonkeyPatch.context() as patch:
        for method in ("count_documents", "ingest_documents"):
            patch.setattr(f"plait.service.methods.documents.DocumentMethods.{method}", fails)
        service = build_server(settings, edge.interceptors)
    service.grpc.start()
    wire = Wire(f"127.0.0.1:{service.port}", [("x-request-id", "my-own-number")])
    try:
        yield wire
    finally:
        wire.close()
        service.stop(5)
        edge.close()


@pytest.mark.parametrize("error", [RuntimeError("secret /etc/place"), KeyError("secret"), OSError(5, "secret")])
def test_an_error_inside_shows_its_number_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    with failing(tmp_path, error) as wire:
        for call in (
            lambda: wire("CountDocuments", collection="c"),
            lambda: list(wire.stream("IngestDocuments", [{"collection": "c"}])),
        ):
            caplog.clear()
            with pytest.raises(grpc.RpcError) as raised:
                call()
            status, message, details = failure(raised.value)
            assert status == "INTERNAL" and "my-own-number" in message
            assert details.keys() == {"ErrorInfo"} and details["ErrorInfo"].reason == "INTERNAL"
            assert dict(details["ErrorInfo"].metadata) == {"request_id": "my-own-number"}
            told = f"{raised.value.details()} {raised.value.trailing_metadata()}"
            assert not any(word in told for word in ("secret", "Traceback", type(error).__name__, ".py"))
            # The log has all of it, under the same number.
            (logged,) = [r for r in caplog.records if r.exc_info and r.exc_info[1] is error]
            assert "my-own-number" in logged.getMessage()
