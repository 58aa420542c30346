"""However long what a request holds is: its error arrives, with its code, its words and its details."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from plait.service.messages.brief import brief
from plait.service.server.server import build_server
from plait.service.settings import Settings
from served import Wire

LONG = ["x" * 1_000_000, "日" * 300_000, '"' * 1_000_000]


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    root = tmp_path_factory.mktemp("long")
    plait.create(root / "c", encoder=None, terms="bm25").close()
    service = build_server(Settings(root=root, listen="127.0.0.1:0"))
    service.grpc.start()
    made = Wire(f"127.0.0.1:{service.port}")
    yield made
    made.close()
    assert service.stop(5)


def requests(long: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Calls that must fail, each with a long value somewhere."""
    twice = [{"id": "a", "payload": {"text": "a"}}, {"id": long, "payload": {"text": "a"}}]
    return {
        "collection": ("CountDocuments", {"collection": long}),
        "alias": ("SetAlias", {"alias": long, "collection": "c"}),
        "id": ("UpsertDocuments", {"collection": "c", "documents": twice}),
        "id to find": ("Explain", {"collection": "c", "query": {"text": "a"}, "id": long}),
        "id to change": ("UpdatePayload", {"collection": "c", "id": long, "patch": {"a": 1}}),
        "field": ("CountDocuments", {"collection": "c", "filter": {"exists": {"field": long}}}),
        "bound": (
            "CountDocuments",
            {"collection": "c", "filter": {"range": {"field": "a", "gt": {"text": long}, "lt": {"integer": "1"}}}},
        ),
        "lane": ("Search", {"collection": "c", "query": {"text": "a"}, "options": {"lanes": [long, "terms"]}}),
        "term field": ("Search", {"collection": "c", "query": {"text": "a"}, "options": {"field": long}}),
        "scorer": ("Search", {"collection": "c", "query": {"text": "a"}, "options": {"scorer": long}}),
        "encoder": ("CreateCollection", {"collection": "d", "encoder": long}),
        "step": ("CreateCollection", {"collection": "d", "reduce": [long]}),
        "store": ("CreateCollection", {"collection": "d", "store": long, "dim": 4, "encoder": "none"}),
        "factory": ("CreateCollection", {"collection": "d", "store": f"faiss:{long}", "dim": 4, "encoder": "none"}),
        "system": ("CreateCollection", {"collection": "d", "system": long, "dim": 4, "encoder": "none"}),
        "precision": ("CreateCollection", {"collection": "d", "precision": long, "dim": 4, "encoder": "none"}),
        "indexed field": ("UpdateCollection", {"collection": "c", "fields": [long], "update_mask": "fields"}),
        "operation": ("GetOperation", {"id": long}),
        "snapshot": ("DeleteSnapshot", {"name": long, "confirm_name": long}),
        "confirmation": ("DeleteCollection", {"collection": "c", "confirm_name": long}),
    }


@pytest.mark.parametrize("long", LONG, ids=["ascii", "three bytes each", "quotes"])
def test_an_error_arrives_whole_whatever_it_quotes(wire: Wire, long: str) -> None:
    for name, (rpc, fields) in requests(long).items():
        code, said, details = wire.error(rpc, **fields)
        assert code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"), (name, code, said[:200])
        assert details["ErrorInfo"].reason == code and len(said) <= 1_000, name


@given(st.text(max_size=60), st.integers(20, 40))
def test_a_brief_text_keeps_its_ends(text: str, most: int) -> None:
    found = brief(text, most)
    clean = text.encode(errors="replace").decode()
    assert len(found.encode()) <= most
    if len(clean.encode()) <= most:
        assert found == clean
    else:
        first, last = found.split("...")[0], found.rsplit("...")[-1]
        assert clean.startswith(first) and clean.endswith(last)
