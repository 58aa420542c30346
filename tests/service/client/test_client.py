"""The Python client and the command line give over a server what they give here: the same script, run on both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle import coil, product, some_tokens

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
from served import serving
from shell import here

DOCUMENTS = [
    {
        "id": "a",
        "text": "Bread rises because yeast ferments the flour.",
        "year": 2020,
        "deep": {"x": [1, None, True, 0.5]},
    },
    {"id": "b", "title": "Tides", "text": "The moon pulls the sea.", "year": 2021},
    {"id": "c", "text": "Foxes hunt at dusk.", "year": 2021},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with serving(tmp_path_factory.mktemp("root")) as process, plait.connect(process.target) as connection:
        yield connection


def plain(hits: list[Any]) -> list[Any]:
    return [(h.id, np.float32(h.score), h.payload) for h in hits]


def with_text(index: Any) -> Iterator[Any]:
    """Everything that a collection with an encoder does, as values that can be compared."""
    yield index.add(DOCUMENTS)
    with pytest.raises(plait.AlreadyExists, match="'a'"):
        index.add([{"id": "z", "text": "never"}, DOCUMENTS[0]])
    yield index.count(), len(index), index.get(["b", "nobody", "a"])
    yield plain(index.search("why does bread rise", k=2))
    yield [plain(hits) for hits in index.search(["tides", "foxes"], k=2, filter={"year": 2021})]
    for mode in ("tokens", "terms", "hybrid", "rerank"):
        hits = index.search("the moon and the bread", k=3, mode=mode)
        yield mode, plain(hits), [hit.explain().as_json() for hit in hits]
        yield [index.explain("the moon", id, k=2, mode=mode, depth=2).as_json() for id in ("a", "b", "c")]
    queries = index.encode(["tides"], mode="hybrid")
    yield plain(index.search(queries, k=1, mode="hybrid", weights=(1, 3), fusion_k=5)[0])
    yield index.upsert([{"id": "d", "text": "One more", "year": 1999}, {"id": "a", "text": "Replaced"}]).count
    yield index.update_payload("d", {"year": None, "tag": "new"}).count, index.get(["d", "a"])
    yield index.delete(filter={"tag": "new"}, dry_run=True).count, index.delete(["c", "nobody"]).count
    yield index.list_documents(limit=2), index.list_documents(limit=2, after="b"), index.count({"year": 2021})
    index.collection.index_fields(["tag", "deep.x"])
    yield index.info()["fields"], index.count({"tag": "new"})
    for wrong in ({"k": 0}, {"mode": "loud"}, {"nprobe": 0}, {"filter": {"like": {"a": 1}}}, {"what": 1}):
        with pytest.raises(plait.InvalidArgument):
            index.search("x", **wrong)
    with pytest.raises(plait.NotFound):
        index.explain("x", "nobody")
    with pytest.raises(plait.InvalidArgument):
        index.update_payload("a", {"text": "other"})
    info = index.info()
    yield {k: info[k] for k in ("documents", "system", "store", "dim", "recipe", "encoder", "terms", "fields")}
    index.collection.compact()
    measured = index.calibrate().to_json()
    # Which points it keeps depends on times.
    assert measured["terms"].pop("points")
    yield len(index.collection.stats()["segments"]), measured


def with_tokens(index: Any) -> Iterator[Any]:
    tokens = some_tokens(40)
    ids = [f"d{i}" for i in range(40)]
    yield index.add_tokens(ids, tokens, [{"n": i} for i in range(40)])
    yield index.upsert_tokens(ids[:3], tokens.take([5, 6, 7]), durable=False).count
    queries = some_tokens(9, seed=3)
    queries = queries.take(np.flatnonzero(queries.lengths))
    found = index.search(queries, k=7)
    yield [plain(hits) for hits in found]
    yield [hit.explain().as_json() for hit in found[0]]
    with pytest.raises(plait.InvalidArgument, match="dim"):
        index.upsert_tokens(["x"], some_tokens(1, dim=3, seed=5))
    with pytest.raises(plait.FailedPrecondition, match="encoder"):
        index.search("text")


def with_vectors(index: Any) -> Iterator[Any]:
    """Global vectors that documents come with, beside BM25."""
    rng = np.random.default_rng(6)
    documents = [{**d, "vector": rng.standard_normal(3).tolist()} for d in DOCUMENTS]
    yield index.add(documents[:2]), index.upsert(documents[2:]).count, index.get(["a", "c"])
    terms = index.encode(["the moon pulls bread", "foxes"], mode="terms").terms
    asked = plait.Queries(plait.from_vectors(np.array([[1, 0.25, -1], [0, 2, 0.5]], np.float32)), terms)
    for search in (
        {},
        {"fusion": "rrf", "fusion_k": 3.0, "weights": (1, 2)},
        {"fusion": "weighted"},
        {"fusion": "weighted", "weights": (0.25, 4)},
        {"fusion": "weighted", "normalise": "zscore", "depth": 2},
        {"fusion": "weighted", "normalise": "none", "weights": [1, 0.5], "filter": {"year": 2021}},
        {"mode": "vector"},
        {"mode": "vector", "exact": True},
        {"mode": "terms", "term_candidates": 1, "query_terms": 1, "min_idf": 0.1, "alpha": 0.9},
    ):
        found = index.search(asked, k=3, **search)
        yield search, [plain(hits) for hits in found]
        whys = [hit.explain() for hit in found[0]]
        assert all((why.vector_score is not None) == (search.get("mode") != "terms") for why in whys)
        yield [why.as_json() for why in whys]
        yield [index.explain(asked.one(0), id, k=2, **search).as_json() for id in ("a", "b", "c")]
    wrong = ({"weights": (1, 2, 3)}, {"weights": ()}, {"fusion": "sum"}, {"normalise": "max", "fusion": "weighted"})
    for search in (*wrong, {"mode": "sum"}, {"mode": "tokens"}, {"query_terms": 1}, {"alpha": 2}):
        with pytest.raises(plait.InvalidArgument):
            index.search(asked, **search)
    with pytest.raises(plait.InvalidArgument, match="vector"):
        index.search("a text", mode="vector")
    for vector in ([1, 2], ["x", "y", "z"], None):
        with pytest.raises(plait.InvalidArgument, match="needs 'vector', 3 numbers"):
            index.upsert([{"id": "e", "text": "short", "vector": vector}])
    with pytest.raises(plait.InvalidArgument, match="needs 'vector', 3 numbers"):
        index.upsert([{"id": "e", "text": "none"}])


def with_sums(index: Any) -> Iterator[Any]:
    """Terms that are no BM25, and a vector, added."""
    vectors = np.random.default_rng(7).standard_normal((4, 3)).astype(np.float32)
    yield index.add([{**d, "vector": v.tolist()} for d, v in zip(DOCUMENTS, vectors, strict=False)])
    asked = plait.Queries(plait.from_vectors(vectors[3:]), index.encode(["moon and foxes"], mode="terms").terms)
    for search in ({}, {"mode": "sum"}, {"mode": "sum", "exact": True}, {"mode": "hybrid", "fusion": "weighted"}):
        (hits,) = index.search(asked, k=3, **search)
        yield plain(hits), [hit.explain().as_json() for hit in hits]
        yield [index.explain(asked, id, k=1, **search).as_json() for id in ("a", "b", "c")]
    why = index.explain(asked, "c", mode="sum")
    assert why.vector_score and why.terms_score and why.score == pytest.approx(why.vector_score + why.terms_score)


def with_fields(index: Any) -> Iterator[Any]:
    """Two named term fields."""
    yield index.add(DOCUMENTS[:2]), index.upsert(DOCUMENTS[2:]).count
    asked = "the moon and the bread of foxes"
    searches: list[dict[str, Any]] = [
        {},
        {"field": "sets"},
        {"mode": "hybrid"},
        {"lanes": ("sets", "words"), "weights": (1, 0.5), "fusion": "weighted"},
        {"scorer": "sets", "depth": 2},
        {"scorer": "words", "field": "sets"},
    ]
    for search in searches:
        hits = index.search(asked, k=3, **search)
        yield search, plain(hits), [hit.explain().as_json() for hit in hits]
        yield [index.explain(asked, id, k=2, **search).as_json() for id in ("a", "b", "c")]
        queries = index.encode([asked, "foxes"], **search)
        yield [plain(found) for found in index.search(queries, k=2, **search)]
        yield [plain(found) for found in index.search([asked, "the sea"], k=2, **search)]
    for wrong in ({"field": "x"}, {"lanes": ("words", "x")}, {"lanes": ()}, {"scorer": "x"}, {"mode": "rerank"}):
        with pytest.raises(plait.InvalidArgument):
            index.search(asked, **wrong)
    queries = index.encode([asked], mode="hybrid")
    with pytest.raises(plait.InvalidArgument, match="no terms of the field sets"):
        index.search(plait.Queries(None, {"words": queries.terms["words"]}), mode="hybrid")
    with pytest.raises(plait.InvalidArgument, match="by the names of their fields"):
        index.search(plait.Queries(None, queries.terms["words"]), mode="hybrid")
    yield index.info()["term_fields"]


def with_vectors_alone(index: Any) -> Iterator[Any]:
    vectors = np.random.default_rng(8).standard_normal((9, 4)).astype(np.float16)
    ids = [f"v{i}" for i in range(9)]
    yield index.add_tokens(ids[:5], plait.from_vectors(vectors[:5]), [{"n": i} for i in range(5)])
    yield index.upsert_tokens(ids[5:], plait.from_vectors(vectors[5:]), [{"text": "kept, not encoded"}] * 4).count
    yield index.upsert([{"id": "t", "text": "x", "vector": [3, 0, 0, 1]}]).count, index.get(["v1", "v8", "t"])
    asked = plait.from_vectors(vectors[:3].astype(np.float32) * 2)
    for search in ({}, {"mode": "vector"}, {"filter": {"n": 3}}):
        yield [plain(hits) for hits in index.search(asked, k=4, **search)]
    (hit, *_) = index.search(asked, k=1)[0]
    yield hit.explain().as_json(), index.explain(asked.take([1]), "v7", k=3).as_json()


def with_an_encoder_s_vector(index: Any) -> Iterator[Any]:
    yield index.add([{**d, "vector": [1, "payload"]} for d in DOCUMENTS])
    for search in (
        {"mode": "vector"},
        {"mode": "hybrid", "weights": (1, 1, 2)},
        {"mode": "hybrid", "fusion": "weighted"},
    ):
        hits = index.search("the moon and the bread", k=3, **search)
        yield plain(hits), [hit.explain().as_json() for hit in hits]
        queries = index.encode(["tides", "foxes"], **search)
        yield [plain(hits) for hits in index.search(queries, k=2, **search)]
        yield index.explain("tides", "a", k=1, **search).as_json()


def keyed(tokens: Any, seed: int) -> Any:
    """With vocabulary ids, of which many are equal, and global vectors of 3 dimensions."""
    rng = np.random.default_rng(seed)
    whole = rng.standard_normal((len(tokens), 3)).astype(np.float16)
    return replace(tokens, ids=rng.integers(0, 5, len(tokens.vectors)).astype(np.uint32), globals_=whole)


def with_coil(index: Any) -> Iterator[Any]:
    """Tokens with vocabulary ids and a global vector."""
    tokens, ids = keyed(some_tokens(30), 9), [f"d{i}" for i in range(30)]
    yield index.add_tokens(ids[:20], tokens.take(range(20))), index.upsert_tokens(ids[20:], tokens.take(range(20, 30)))
    queries = some_tokens(9, seed=3)
    queries = keyed(queries.take(np.flatnonzero(queries.lengths)), 10)
    for search in ({}, {"mode": "vector"}, {"exact": True}):
        found = index.search(queries, k=7, **search)
        yield [plain(hits) for hits in found], [hit.explain().as_json() for hit in found[0]]
        yield [index.explain(queries.take([1]), id, k=3, **search).as_json() for id in ids]
    for lacking in ({"ids": None}, {"globals_": None}):
        with pytest.raises(plait.InvalidArgument):
            index.search(replace(queries, **lacking))
        with pytest.raises(plait.InvalidArgument):
            index.upsert_tokens(ids, replace(tokens, **lacking))


@pytest.mark.parametrize(
    ("script", "settings"),
    [
        (with_text, {"terms": "bm25", "reduce": ["pool:2"], "fields": ["year"]}),
        (with_tokens, {"encoder": None, "dim": 5}),
        (with_tokens, {"encoder": None, "dim": 5, "precision": "int8"}),
        (with_vectors, {"encoder": None, "terms": "bm25", "vector": 3}),
        (with_sums, {"encoder": None, "terms": "binary", "vector": 3}),
        (with_fields, {"encoder": None, "terms": {"words": "bm25", "sets": "binary"}}),
        (with_vectors_alone, {"encoder": None, "vector": 4}),
        (with_an_encoder_s_vector, {"terms": "bm25", "vector": True}),
        (with_coil, {"encoder": None, "system": "coil", "dim": 5, "vector": 3}),
    ],
    ids=["text", "tokens", "int8", "vectors", "sums", "fields", "vectors-alone", "own-vector", "coil"],
)
def test_a_collection_is_the_same_here_and_there(server: Any, tmp_path: Path, script: Any, settings: Any) -> None:
    name = f"{script.__name__}-{settings.get('precision', 'plain')}"
    there = script(server.create(name, **settings))
    with plait.create(tmp_path / "here", **settings) as here:
        described = {n: v for n, v in here.info().items() if n not in ("path", "bytes", "created")}
        assert {n: v for n, v in server.open(name).info().items() if n in described} == described
        for step, mine in enumerate(script(here)):
            assert next(there) == mine, step
    assert next(there, "the end") == "the end"


def test_given_documents_are_reranked_by_a_field(server: Any) -> None:
    index = server.create("scored", encoder=None, terms={"words": "bm25", "sets": "binary"})
    index.add(DOCUMENTS)
    for field in ("words", "sets"):
        found = {hit.id: hit.score for hit in index.search("the moon and foxes", field=field)}
        hits = index.rerank("the moon and foxes", ["c", "a", "b"], scorer=field)
        assert {hit.id: hit.score for hit in hits} == {id: found.get(id, 0.0) for id in "abc"}
        assert hits[0].explain().as_json() == index.explain("the moon and foxes", hits[0].id, field=field).as_json()
    with pytest.raises(plait.InvalidArgument, match="no term field is called 'x'"):
        index.rerank("foxes", ["a"], scorer="x")
    for terms in ({"a": "bm25", "tokens": "bm25"}, {"a": "no such encoder"}):
        with pytest.raises(plait.InvalidArgument):
            server.create("wrong", encoder=None, terms=terms)


def test_given_documents_are_reranked_by_coil(server: Any) -> None:
    index = server.create("coil-rerank", encoder=None, system="coil", dim=5, vector=3)
    tokens, ids = keyed(some_tokens(30), 9), [f"d{i}" for i in range(30)]
    index.add_tokens(ids, tokens)
    queries = some_tokens(9, seed=3)
    queries = keyed(queries.take(np.flatnonzero(queries.lengths)), 10)
    given = ids[::-2]
    for i in range(len(queries)):
        query = queries.take([i])
        truth = {id: coil(query, tokens.take([n])) for n, id in enumerate(ids)}
        hits = index.rerank(query, given)
        assert sorted(hit.id for hit in hits) == sorted(given)
        assert [hit.score for hit in hits] == pytest.approx([truth[hit.id] for hit in hits], abs=2e-2)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        searched = {hit.id: hit.score for hit in index.search(query, k=30, exact=True)[0]}
        assert all(hit.score == searched[hit.id] for hit in hits if hit.id in searched)
        by_vector = index.rerank(query, given, scorer="vector")
        assert [h.score for h in by_vector] == pytest.approx(
            [product(query, tokens.take([ids.index(h.id)])) for h in by_vector], abs=2e-2
        )
        assert [h.id for h in index.rerank(query, given, k=3)] == [h.id for h in hits[:3]]
    with pytest.raises(plait.InvalidArgument):
        index.rerank(replace(queries.take([0]), ids=None), given)


def test_large_writes_go_in_several_messages(server: Any) -> None:
    index = server.create("large", encoder=None, terms="bm25")
    texts = [{"id": str(i), "text": "word " * 2000 + str(i)} for i in range(1000)]
    assert index.upsert(texts).count == 1000 and index.count() == 1000
    (hit,) = index.search("777", k=1)
    assert hit.id == "777" and hit.payload["text"].endswith(" 777")


def test_integers_beyond_a_double_come_back_exactly(server: Any) -> None:
    index = server.create("numbers", encoder=None, terms="bm25")
    large = {
        "n": 2**53 + 1,
        "post": 1_234_567_890_123_456_789,
        "a/b~c": [-(2**63), {"": 2**64 - 1}],
        "f": 0.1,
        "small": 2**53,
    }
    kept = [
        {"id": "a", "text": "moon", **large},
        {"id": "b", "text": "moon tide", "none": 1},
        {"id": "c", "text": "moon tide fox", "n": 2**60 + 1},
    ]
    index.add(kept)
    assert index.get(["a", "b", "c"]) == kept == index.list_documents()
    assert all(isinstance(index.get(["a"])[0][name], int) for name in ("n", "post", "small"))
    by_id = {d["id"]: {k: v for k, v in d.items() if k != "id"} for d in kept}
    assert {hit.id: hit.payload for hit in index.search("moon")} == by_id
    assert [{hit.id: hit.payload for hit in hits} for hits in index.search(["moon", "fox"])] == [
        by_id,
        {"c": by_id["c"]},
    ]
    assert [hit.payload for hit in index.rerank("moon", ["c"], scorer="terms")] == [by_id["c"]]
    index.update_payload("b", {"none": None, "n": -(2**62) - 1})
    assert index.get(["b"]) == [{"id": "b", "text": "moon tide", "n": -(2**62) - 1}]
    index.upsert([{**index.get(["a"])[0], "seen": True}])
    assert index.get(["a"]) == [{**kept[0], "seen": True}]
    assert index.count({"post": 1_234_567_890_123_456_789}) == 1


def test_collections_come_are_named_and_go(server: Any) -> None:
    server.create("one", encoder=None, dim=3)
    server.create("two", encoder=None, dim=3).upsert_tokens(["x"], some_tokens(1, dim=3))
    assert {"one", "two"} <= set(server.collections())
    assert server.set_alias("live", "one") is None and server.open("live").count() == 0
    assert server.set_alias("live", "two") == "one" and server.open("live").count() == 1
    with pytest.raises(plait.AlreadyExists):
        server.create("live", encoder=None, dim=3)
    assert server.create_snapshot("live", "kept") == server.open("two").seq
    assert {"name": "kept", "seq": server.open("two").seq, "documents": 1, "problem": ""} in server.snapshots()
    server.delete("two")
    with pytest.raises(plait.NotFound):
        server.open("live")
    server.restore_snapshot("kept", "three")
    assert server.open("three").count() == 1
    server.delete_snapshot("kept")
    assert "kept" not in [one["name"] for one in server.snapshots()] and server.open("three").count() == 1
    with pytest.raises(plait.NotFound, match="'kept'"):
        server.delete_snapshot("kept")
    info = server.info()
    assert info["limits"]["k"] == 10_000 and info["stream_idle_s"] == 300 and info["encoders"] == ["minilm"]
    server.update("one", fields=["year", "lang"])
    assert server.open("one").info()["fields"] == ["year", "lang"]


def test_commands_take_a_server(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = server._channel.grpc._channel.target().decode().removeprefix("dns:///")
    server.create("shell", encoder=None, terms="bm25", fields=["year"])
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps(d) for d in DOCUMENTS))

    def run(command: str, *arguments: object, code: int = 0, answer: str = "") -> Any:
        there = "--server", target, "--json"
        done = here(*command.split(), "shell", *arguments, *there, code=code, answer=answer)
        return json.loads(done.stdout) if not code else done.stderr

    assert run("add", data)["written"] == 3
    found = run("search", "bread", "--explain")["hits"]
    assert [h["id"] for h in found] == ["a"] and found[0]["explanation"]["terms"]
    why = run("explain", "bread", "b", "-k", 1)
    assert [(s["name"], s["passed"]) for s in why["stages"]] == [("terms", False)] and why["id"] == "b"
    assert "nobody" in run("explain", "bread", "nobody", code=2)
    assert run("delete", "--filter", '{"year": 2021}')["deleted"] == 2
    assert run("stats")["documents"] == 1 and run("check") == {"ok": True, "problems": []}
    assert run("fields") == run("fields", "year") == {"fields": ["year"]}
    assert run("fields", "tag", "deep.x") == {"fields": ["tag", "deep.x"]} and run("fields", "--none") == {"fields": []}
    assert "--none" in run("fields", "tag", "--none", code=2) and "declared" in run("fields", "a b", code=2)
    assert len(run("compact")["after"]["segments"]) == 1
    assert "nprobe" in run("search", "bread", "--nprobe", 0, code=2)
    # The snapshot is called as the collection is.
    copied = run("snapshot create", "shell")
    assert copied == {"snapshot": "shell", "seq": server.open("shell").seq}
    assert "shell" in run("snapshot create", "shell", code=1)
    assert run("snapshot restore", "back") == {"collection": "back", "seq": copied["seq"]}
    assert server.open("back").get(["a"]) == server.open("shell").get(["a"]) != []
    assert "back" in run("snapshot restore", "back", code=1)
    assert "leave one out" in run("snapshot list", code=2)
    assert "--yes" in run("snapshot delete", code=1) and "shell" in [one["name"] for one in server.snapshots()]
    assert run("snapshot delete", answer="y\n") == {"deleted": "shell"}
    assert "'shell'" in run("snapshot delete", "--yes", code=2)
    assert not list(tmp_path.glob("shell"))
