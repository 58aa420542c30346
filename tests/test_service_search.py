"""A server process over loopback gives the answers of the same collection in this process."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import plait

pytest.importorskip("grpc_tools", reason="the extra `service` is not installed")
from served import Wire, serving, tensor

DIM = 8


def matrix(rng: np.random.Generator, tokens: int) -> np.ndarray:
    return rng.standard_normal((tokens, DIM)).astype(np.float16)


def documents(count: int, seed: int = 0) -> list[tuple[str, np.ndarray, dict[str, Any]]]:
    rng, draw = np.random.default_rng(seed), random.Random(seed)
    return [
        (f"d{i:03}", matrix(rng, draw.randint(1, 6)), {"year": 2000 + i % 7, "tags": ["a", str(i % 3)], "half": i / 2})
        for i in range(count)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Wire, Path]]:
    root = tmp_path_factory.mktemp("served")
    for name in ("c", "empty"):
        plait.create(root / name, encoder=None, dim=DIM, store="exact").close()
    with serving(root) as server:
        wire = Wire(server.target)
        wire("UpsertDocuments", collection="c", documents=[as_json(d) for d in documents(60)])
        yield wire, root
        wire.close()


def as_json(document: tuple[str, np.ndarray, dict[str, Any]]) -> dict[str, Any]:
    id, tokens, payload = document
    return {"id": id, "payload": payload, "tokens": {"vectors": tensor(tokens, "D_TYPE_FLOAT16")}}


def test_search_is_the_search_of_this_process(place: tuple[Wire, Path]) -> None:
    wire, root = place
    rng = np.random.default_rng(5)
    with plait.open(root / "c") as here:
        for k, exact in ((1, False), (10, True), (100, False)):
            query = matrix(rng, 4).astype(np.float32)
            asked = {"encoded": {"tokens": {"vectors": tensor(query)}}}
            there = wire("Search", collection="c", query=asked, k=k, options={"exact": exact})
            (mine,) = here.search(plait.from_matrices([query]), k, exact=exact)
            assert [(h.id, np.float32(h.score)) for h in there.hits] == [(h.id, np.float32(h.score)) for h in mine]
            assert there.seq == here.seq and len(there.hits) == min(k, 60)
            years = [int(h.payload.fields["year"].number_value) for h in there.hits]
            assert years == [h.payload["year"] for h in mine]


def test_get_gives_what_was_written(place: tuple[Wire, Path]) -> None:
    wire, root = place
    found = wire("GetDocuments", collection="c", ids=["d004", "nobody", "d001"]).documents
    assert [d.id for d in found] == ["d004", "d001"]
    assert found[0].payload["half"] == 2 and list(found[0].payload["tags"]) == ["a", "1"]
    with plait.open(root / "c") as here:
        assert here.get(["d004"])[0] == {"id": "d004", "year": 2004, "tags": ["a", "1"], "half": 2.0}
