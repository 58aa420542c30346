"""An answer has a bound: it is ended before it takes memory, by an error that names the
limit and the remedy, or split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
from plait.index.errors import InvalidArgument
from plait.index.tokens import from_matrices
from plait.service.server.server import build_server
from plait.service.settings import Settings
from served import Wire, tensor

COUNT, PAYLOAD, MESSAGE = 60, 10_000, 200_000
"""Some 20 documents are one message."""
VECTOR = np.ones((1, 2), np.float32)
QUERY = {"encoded": {"tokens": {"vectors": tensor(VECTOR)}}}
IDS = [f"d{i:02}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("answers")
    with plait.create(root / "c", encoder=None, dim=2) as index:
        tokens = from_matrices([np.full((1, 2), 1 + i / 64, np.float16) for i in range(COUNT)])
        index.add_tokens(IDS, tokens, [{"n": i, "t": "x" * PAYLOAD} for i in range(COUNT)])
    made = build_server(Settings(root=root, listen="127.0.0.1:0", limits={"message_bytes": MESSAGE}))  # type: ignore[arg-type]
    made.grpc.start()
    yield made
    assert made.stop(5)


@pytest.fixture
def wire(service: Any) -> Iterator[Wire]:
    made = Wire(f"127.0.0.1:{service.port}")
    yield made
    made.close()


@pytest.fixture
def index(service: Any) -> Iterator[Any]:
    with plait.connect(f"127.0.0.1:{service.port}") as server:
        yield server.open("c")


@pytest.mark.parametrize(
    "rpc, fields",
    [
        ("Search", {"query": QUERY, "k": COUNT}),
        ("BatchSearch", {"queries": [QUERY] * 2, "k": COUNT, "payload": True}),
        ("BatchSearch", {"queries": [QUERY] * 2, "k": COUNT, "payload": True, "partial": True}),
        ("Rerank", {"query": QUERY, "ids": IDS}),
        ("GetDocuments", {"ids": IDS}),
    ],
)
def test_an_answer_that_does_not_fit_names_the_limit_and_the_remedy(
    wire: Wire, rpc: str, fields: dict[str, Any]
) -> None:
    """Not OVERLOADED, which would be tried again."""
    code, said, details = wire.error(rpc, collection="c", **fields)
    (violation,) = details["BadRequest"].field_violations
    assert code == "INVALID_ARGUMENT" and "message_bytes" in said and f"{MESSAGE:,}" in said
    assert violation.field in ("k", "ids") and ("payload" in said or "partial" in said)


def test_what_does_not_fit_costs_one_document_more_than_what_does(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are read one by one while the answer is built, and no more once it is full."""
    from plait.index.catalog.view import View

    read: list[str] = []
    real = View._document
    monkeypatch.setattr(View, "_document", lambda self, row: read.append(row[1]) or real(self, row))
    for rpc, fields in {
        "Search": {"query": QUERY, "k": COUNT},
        "BatchSearch": {"queries": [QUERY] * 50, "k": COUNT, "payload": True},
        "GetDocuments": {"ids": IDS},
        "ListDocuments": {"page_size": COUNT},
    }.items():
        read.clear()
        if rpc == "ListDocuments":
            assert wire(rpc, collection="c", **fields).next_page_token
        else:
            wire.error(rpc, collection="c", **fields)
        assert len(read) <= MESSAGE // PAYLOAD + 1, rpc


def test_the_same_id_many_times_is_one_document(wire: Wire, index: Any) -> None:
    assert [d.id for d in wire("GetDocuments", collection="c", ids=["d01"] * 9_000).documents] == ["d01"]
    assert [d["id"] for d in index.get(["d01", "d00", "d01"])] == ["d01", "d00"]


def test_the_client_splits_what_does_not_fit(index: Any) -> None:
    assert [d["id"] for d in index.get([*IDS, "none", *IDS])] == IDS
    assert [d["id"] for d in index.list_documents(COUNT)] == IDS
    queries = from_matrices([VECTOR] * 7)
    found = index.search(queries, k=9)
    best = [hit.id for hit in found[0]]
    assert best == IDS[:-10:-1] and [[hit.id for hit in hits] for hits in found] == [best] * 7
    assert all(len(hit.payload["t"]) == PAYLOAD for hits in found for hit in hits)


def test_a_partial_answer_says_where_it_ends(wire: Wire) -> None:
    some = wire("GetDocuments", collection="c", ids=["none", *IDS], partial=True)
    assert [d.id for d in some.documents] == IDS[: some.answered - 1] and 0 < len(some.documents) < COUNT
    whole = wire("GetDocuments", collection="c", ids=["none", "d00"], partial=True)
    assert whole.answered == 2 and len(whole.documents) == 1
    batch = wire("BatchSearch", collection="c", queries=[QUERY] * 7, k=9, payload=True, partial=True)
    assert (
        0 < len(batch.counts) < 7
        and len(batch.ids) == len(batch.payloads) == sum(batch.counts) == len(batch.scores) // 4
    )


def test_payloads_can_be_left_out_here_and_there(index: Any, service: Any) -> None:
    with service.collections.use("c") as opened:
        here = opened.retriever.search(from_matrices([VECTOR] * 2), k=COUNT, payloads=False)
    there = index.search(from_matrices([VECTOR] * 2), k=COUNT, payloads=False)
    one = index.search(from_matrices([VECTOR]), k=COUNT, payloads=False)
    for hits in (*here, *there, *one):
        assert [hit.id for hit in hits] == IDS[::-1] and all(hit.payload == {} for hit in hits)
    with pytest.raises(InvalidArgument, match="message_bytes"):
        index.search(from_matrices([VECTOR]), k=COUNT)


def test_every_answer_is_weighed_before_it_is_sent(wire: Wire, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of RPCs that do not count while they build."""
    with service.collections.use("c") as opened:
        info = opened.retriever.info()
        monkeypatch.setattr(opened.retriever, "info", lambda: {**info, "more": "x" * MESSAGE}, raising=False)
    code, said, _ = wire.error("GetCollection", collection="c")
    assert code == "INVALID_ARGUMENT" and "message_bytes" in said
