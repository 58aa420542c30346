# pyright: strict
"""A program that uses plait as a stranger would. test_consumer.py checks its types in strict mode and runs it."""

import sys
from pathlib import Path
from typing import Any, assert_type

import plait

DOCUMENTS: list[dict[str, Any]] = [{"id": "a", "text": "Bread rises.", "year": 2020}, {"id": "b", "text": "The sea."}]
SIDES = plait.from_matrices([[[1.0, 0.0], [0.0, 1.0]], [[0.6, 0.8]]])


def ask(index: plait.Retriever | plait.Remote) -> list[str]:
    """The same calls, here and on a server."""
    query = plait.from_matrices([[[1.0, 0.0]]])
    assert_type(index.add_tokens(["a", "b"], SIDES, [{"year": 2020}, {}]), int)
    batch = index.search(query, k=2)
    assert_type(batch, list[list[plait.Hit]])
    hit = batch[0][0]
    assert_type(hit, plait.Hit)
    assert_type(hit.id, str)
    assert_type(hit.score, float)
    assert_type(hit.payload, dict[str, Any])
    assert_type(hit.explain(), plait.Explanation)
    assert_type(index.explain(query, "b", k=1), plait.Explanation)
    assert_type([match.contribution for match in hit.explain().matches], list[float])
    assert_type(index.upsert_tokens(["c"], SIDES.take([1])).seq, int)
    assert_type(index.delete(["c"]).count, int)
    assert_type(index.get("a"), list[dict[str, Any]])
    assert_type(index.count({"year": 2020}), int)
    assert_type(len(index), int)
    return [hit.id for hit in batch[0]]


def texts(index: plait.Retriever | plait.Remote) -> None:
    """One text gives one ranking, several give one each; never called, since it needs an encoder."""
    assert_type(index.search("bread", k=5), list[plait.Hit])
    assert_type(index.search(["bread", "sea"]), list[list[plait.Hit]])
    assert_type(index.encode(["bread"]), plait.Queries)
    assert_type(index.add(DOCUMENTS, defer=True), int)
    assert_type(index.upsert(DOCUMENTS).count, int)


def remote(target: str) -> list[str]:
    """Never called by the test, which has no server."""
    with plait.connect(target, api_key="secret", timeout_s=5.0) as server:
        assert_type(server, plait.Server)
        assert_type(server.open("notes"), plait.Remote)
        assert_type(server.collections(), list[str])
        return ask(server.create("notes", encoder=None, dim=2))


def local(folder: Path) -> list[str]:
    made = plait.create(folder, encoder=None, dim=2, store="exact", fields=["year"], threads=1)
    assert_type(made, plait.Retriever)
    with made:
        ids = ask(made)
    with plait.open(folder, verify=False, policy=None) as again:
        assert_type(again, plait.Retriever)
        assert ids == [hit.id for hit in again.search(plait.from_matrices([[[1.0, 0.0]]]), k=2)[0]]
    try:
        plait.create(folder, options=plait.EncoderOptions(query_length=64))
    except plait.AlreadyExists as error:
        assert_type(error.done, bool | None)
    return ids


if __name__ == "__main__":
    print(*local(Path(sys.argv[1])))
