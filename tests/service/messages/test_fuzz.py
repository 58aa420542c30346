"""Nothing that comes over the wire takes the server down: any message has an answer or
an error that blames the caller."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from served import Wire, failure, message, method, services, serving

BLAMES_THE_CALLER = {
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "FAILED_PRECONDITION",
    "UNAVAILABLE",  # at_least_seq
    "RESOURCE_EXHAUSTED",  # operations that wait
}
RPCS = [m.name for s in services() for m in s.methods if not (m.client_streaming or m.server_streaming)]
KEPT = {"DeleteCollection", "CompactCollection", "CalibrateCollection", "CheckCollection", "CreateSnapshot"}
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    root = tmp_path_factory.mktemp("root")
    plait.create(root / "c", encoder=None, dim=2).close()
    with plait.create(root / "words", encoder=None, terms="bm25") as words:
        words.add([{"id": "a", "text": "moon", "n": 1}])
    with serving(root) as server:
        wire = Wire(server.target)
        yield wire
        # It lives, and what it holds is whole.
        assert wire("Search", collection="words", query={"text": "moon"}).hits[0].id == "a"
        wire.close()


def ends_well(wire: Wire, name: str, data: bytes) -> None:
    try:
        wire.raw(name, data)
    except grpc.RpcError as error:
        status, text, details = failure(error)
        assert status in BLAMES_THE_CALLER, (name, data, status, text)
        assert "ErrorInfo" in details and "Traceback" not in text


BYTES = st.binary(max_size=24).map(lambda b: base64.b64encode(b).decode())
SMALL = st.integers(0, 4)
VALUE = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=4)}),
    st.integers(-(2**63), 2**63 - 1).map(lambda n: {"integer": str(n)}),
    st.floats().map(
        lambda f: {
            "number": f
            if f == f and abs(f) != float("inf")
            else str(f).replace("inf", "Infinity").replace("nan", "NaN")
        }
    ),
    st.booleans().map(lambda b: {"boolean": b}),
    st.just({"null": None}),
    st.just({}),
)
FIELD = st.sampled_from(["n", "text", "$id", "a.b", 'a."b.c"', "", ".", '"', "a\0"]) | st.text(max_size=5)
FILTER = st.recursive(
    st.one_of(
        st.builds(lambda f, v: {"eq": {"field": f, "value": v}}, FIELD, VALUE),
        st.builds(lambda f, v: {"one_of": {"field": f, "values": v}}, FIELD, st.lists(VALUE, max_size=3)),
        st.builds(lambda f, a, b: {"range": {"field": f, "gte": a, "lt": b}}, FIELD, VALUE, VALUE),
        st.builds(lambda f: {"exists": {"field": f}}, FIELD),
        st.just({}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda f: {"all_of": {"filters": f}}),
        st.lists(inner, max_size=3).map(lambda f: {"any_of": {"filters": f}}),
        inner.map(lambda f: {"negated": f}),
    ),
    max_leaves=6,
)
TENSOR = st.fixed_dictionaries(
    {}, optional={"data": BYTES, "dtype": st.integers(0, 6), "rows": SMALL | st.just(2**32 - 1), "cols": SMALL}
)
TOKENS = st.fixed_dictionaries(
    {}, optional={"vectors": TENSOR, **dict.fromkeys(("ids", "spans", "span_offsets", "weights", "roles"), BYTES)}
)
TERMS = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(("offsets", "keys", "weights"), BYTES), "key_space": st.sampled_from([0, 5, 2**32])}
)
QUERY = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=8)}),
    st.fixed_dictionaries(
        {"encoded": st.fixed_dictionaries({}, optional={"tokens": TOKENS, "terms": TERMS, "vector": TENSOR})}
    ),
)
NUMBER = st.sampled_from([0, 1, 2, 7, 2**32 - 1])
REAL = st.sampled_from([0.0, -1.0, 0.5, 1e308, "NaN", "Infinity"])
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("mode", "fusion", "normalise"), st.integers(0, 7)),
        "exact": st.booleans(),
        **dict.fromkeys(("k_token", "nprobe", "candidates", "depth", "term_candidates", "query_terms"), NUMBER),
        **dict.fromkeys(("fusion_k", "min_idf", "alpha", "target_recall"), REAL),
        "weights": st.lists(REAL, max_size=4),
        "filter": FILTER,
    },
)
NAME = st.sampled_from(["c", "words"])


@QUICK
@given(NAME, QUERY, OPTIONS, NUMBER)
def test_searches(wire: Wire, name: str, query: dict, options: dict, k: int) -> None:
    fields = {"collection": name, "query": query, "options": options}
    ends_well(wire, "Search", message(method("Search").input_type, {**fields, "k": k}).SerializeToString())
    ends_well(wire, "Explain", message(method("Explain").input_type, {**fields, "id": "a"}).SerializeToString())


@QUICK
@given(NAME, FILTER)
def test_filters(wire: Wire, name: str, filter: dict) -> None:
    data = message(method("CountDocuments").input_type, {"collection": name, "filter": filter}).SerializeToString()
    ends_well(wire, "CountDocuments", data)


@QUICK
@given(st.lists(TOKENS, min_size=1, max_size=3), st.text(max_size=3))
def test_documents(wire: Wire, tokens: list[dict], id: str) -> None:
    documents = [{"id": f"{id}{i}", "tokens": t, "payload": {"n": i, id: [None, id]}} for i, t in enumerate(tokens)]
    data = message(method("UpsertDocuments").input_type, {"collection": "c", "documents": documents})
    ends_well(wire, "UpsertDocuments", data.SerializeToString())


@QUICK
@given(st.sampled_from([r for r in RPCS if r not in KEPT]), st.binary(max_size=40))
def test_any_bytes_to_any_method(wire: Wire, name: str, data: bytes) -> None:
    ends_well(wire, name, data)


@QUICK
@given(st.data(), st.sampled_from(["Search", "UpsertDocuments", "BatchSearch", "Explain"]))
def test_messages_that_were_damaged_on_the_way(wire: Wire, data: st.DataObject, name: str) -> None:
    vectors = {"vectors": {"data": base64.b64encode(bytes(16)).decode(), "dtype": 1, "rows": 2, "cols": 2}}
    query: Any = {"encoded": {"tokens": vectors}}
    fields = {
        "Search": {"query": query, "options": {"filter": {"exists": {"field": "n"}}}},
        "BatchSearch": {"queries": [query, query]},
        "Explain": {"query": query, "id": "a"},
        "UpsertDocuments": {"documents": [{"id": "z", "tokens": vectors, "payload": {"a": {"b": [1]}}}]},
    }[name]
    whole = bytearray(message(method(name).input_type, {"collection": "c", **fields}).SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    ends_well(wire, name, bytes(whole))
