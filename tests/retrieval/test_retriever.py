"""Text in, ranked documents out: the whole route with the embedded encoder, against its parts done by hand."""

import json
from pathlib import Path

import numpy as np
import oracle
import pytest
from plait.index.tokens import Tokens, from_matrices
from plait.retrieval.corpus import Corpus
from plait.retrieval.offline.build import build
from plait.retrieval.reducers import projection
from plait.retrieval.reducers.pooling import pool
from plait.retrieval.retriever import Retriever

import plait

pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
DOCUMENTS = [
    {"id": "cats", "text": "Cats sleep most of the day. They hunt at dawn.", "year": 2020},
    {"id": "bread", "title": "Sourdough", "text": "Bread rises because wild yeast ferments the flour."},
    {"id": "empty", "text": ""},
    {"id": "marks", "text": "?! ... ;;"},
    {"id": "moon", "text": "The moon pulls the sea and makes the tides."},
]
QUERIES = ["why does bread rise", "tides", "a b c"]


def corpus(documents: list[dict]) -> Corpus:
    return Corpus("test", None, lambda: iter(documents))


def _tokens(index: Retriever, number: int) -> Tokens:
    with index.collection.snapshot() as snapshot:
        return snapshot.tokens(number)


def by_hand(recipe: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Document and query vectors without the index."""
    encoder = plait.load_encoder("minilm")
    texts = [f"{d['title']} {d['text']}" if "title" in d else d["text"] for d in DOCUMENTS]
    tokens, queries = encoder.encode_documents(texts), encoder.encode_queries(QUERIES)
    tokens = tokens.with_vectors(tokens.vectors.astype(np.float16))
    if recipe == "pool:2":
        tokens = pool(tokens, 2)
    stored = tokens.with_vectors(tokens.vectors.astype(np.float16))
    asked = queries.with_vectors(queries.vectors.astype(np.float16).astype(np.float32))
    return oracle.matrices(stored), oracle.matrices(asked)


@pytest.mark.parametrize("recipe", ["", "pool:2"])
@pytest.mark.parametrize("system", ["colbert", "xtr"])
def test_search_is_brute_force_over_the_encoder(tmp_path: Path, system: str, recipe: str) -> None:
    index = plait.create(tmp_path / "c", system=system, reduce=[recipe] if recipe else [])
    assert index.add(DOCUMENTS) == len(index) == 5
    documents, queries = by_hand(recipe)
    for query, vectors, hits in zip(QUERIES, queries, index.search(QUERIES, k=4, k_token=6), strict=True):
        if system == "xtr":
            wanted = oracle.xtr(vectors, documents, 6, "kth")
        else:
            wanted = {d: oracle.maxsim(vectors, document) for d, document in enumerate(documents)}
        ranked = sorted(wanted.values(), reverse=True)[:4]
        np.testing.assert_allclose([h.score for h in hits], ranked, atol=1e-4)
        for hit in hits:
            number = [d["id"] for d in DOCUMENTS].index(hit.id)
            assert abs(wanted[number] - hit.score) < 1e-4, query
            assert hit.payload == {k: v for k, v in DOCUMENTS[number].items() if k != "id"}


@pytest.mark.parametrize("system", ["colbert", "xtr"])
@pytest.mark.parametrize("reduce", [[], ["pool:2"]])
def test_explanations_show_the_tokens_and_sum_to_the_score(tmp_path: Path, system: str, reduce: list[str]) -> None:
    index = plait.create(tmp_path / "c", system=system, reduce=reduce)
    index.add(DOCUMENTS)
    for hit in index.search("why does bread rise", k=5, k_token=5):
        why = hit.explain()
        assert abs(sum(m.contribution for m in why.matches) - hit.score) < 1e-5 and abs(why.score - hit.score) < 1e-5
        assert [m.query.text for m in why.matches] == ["[CLS]", "why", "does", "bread", "rise", "[SEP]"]
        for match in why.matches:
            if match.document and match.document.spans:
                forms = {why.text[a:b] for a, b in match.document.spans}
                assert sorted(match.document.text.split(" · ")) == sorted(forms)
        json.dumps(why.as_json())
    top = index.search("why does bread rise")[0]
    assert top.id == "bread"
    met = {m.query.text: m.document.text for m in top.explain().matches if m.document}
    assert "Bread" in met["bread"] and "rises" in met["rise"]


def test_a_collection_opens_again_as_it_was(tmp_path: Path) -> None:
    first = plait.create(tmp_path / "c", reduce=["skip:punctuation", "idf:80%"], dim=24)
    first.add(DOCUMENTS[:3])
    again = plait.open(tmp_path / "c")
    again.add(DOCUMENTS[3:])
    a, b = first.search("tides", k=5), plait.open(tmp_path / "c").search("tides", k=5)
    assert [(h.id, h.score) for h in a] == [(h.id, h.score) for h in b] and len(a) == 5
    assert again.info()["recipe"] == ["skip:punctuation", "idf:80%"] and again.collection.dim == 24
    # What was learned from the first documents stays for ever.
    np.testing.assert_array_equal(first.encoding.axes, again.encoding.axes)
    assert again.encoding.statistics is not None and again.encoding.statistics.documents == 3


def test_one_who_asked_before_the_recipe_was_learned_elsewhere_learns_it(tmp_path: Path) -> None:
    writer = plait.create(tmp_path / "c", reduce=["skip:punctuation", "idf:80%"], dim=24)
    reader = plait.open(tmp_path / "c")
    reader.encode(["tides"])
    assert not reader.encoding.fitted
    writer.add(DOCUMENTS)
    a, b = reader.search("tides", k=5), writer.search("tides", k=5)
    assert [(h.id, h.score) for h in a] == [(h.id, h.score) for h in b] and len(a) == 5


def test_every_document_keeps_a_token(tmp_path: Path) -> None:
    index = plait.create(tmp_path / "c", reduce=["keep:word"])
    index.add(DOCUMENTS)
    assert [len(_tokens(index, n).vectors) > 0 for n in range(5)] == [True] * 5
    assert {h.id for h in index.search("anything", k=9)} == {d["id"] for d in DOCUMENTS}


def test_single_turns_it_into_the_single_vector_baseline(tmp_path: Path) -> None:
    index = plait.create(tmp_path / "c", reduce=["single"])
    index.add(DOCUMENTS)
    encoder = plait.load_encoder("minilm")
    texts = [f"{d['title']} {d['text']}" if "title" in d else d["text"] for d in DOCUMENTS]
    documents, queries = encoder.encode_documents(texts).globals_, encoder.encode_queries(["tides"]).globals_
    assert documents is not None and queries is not None
    scores = {DOCUMENTS[i]["id"]: float(s) for i, s in enumerate(documents @ queries[0])}
    for hit in index.search("tides", k=5):
        assert abs(scores[hit.id] - hit.score) < 2e-3
    assert index.info()["tokens"] == 5


def test_given_token_vectors_need_no_encoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    documents = from_matrices([rng.standard_normal((n, 6)).astype(np.float16) for n in (3, 0, 5)])
    query = from_matrices([rng.standard_normal((2, 6)).astype(np.float32)])
    index = plait.create(tmp_path / "c", encoder=None, dim=6)
    index.add_tokens(["a", "b", "c"], documents, [{"n": 1}, {}, {"n": 3}])
    hits = index.search(query)[0]
    wanted = [oracle.maxsim(query.vectors, m) for m in oracle.matrices(documents)]
    assert {h.id for h in hits} == {"a", "c"}
    for hit in hits:
        assert abs(hit.score - wanted["abc".index(hit.id)]) < 1e-4
        assert abs(hit.explain().score - hit.score) < 1e-5
    with pytest.raises(plait.FailedPrecondition, match="token vectors"):
        index.search("text")


def test_bad_documents_are_refused_and_nothing_is_lost(tmp_path: Path) -> None:
    index = plait.create(tmp_path / "c")
    index.add(DOCUMENTS[:2])
    for error, message, bad in (
        (plait.AlreadyExists, "'cats'", {"id": "cats", "text": "again"}),
        (plait.InvalidArgument, "'text'", {"id": "x"}),
        (plait.InvalidArgument, "'id'", {"id": 3, "text": "x"}),
        (plait.InvalidArgument, "non-empty", {"id": "", "text": "x"}),
    ):
        with pytest.raises(error, match=message):
            index.add([DOCUMENTS[4], bad])
        assert len(index) == 2 and {h.id for h in index.search("x")} == {"cats", "bread"}
    assert index.add(DOCUMENTS[2:]) == 3
    with pytest.raises(plait.InvalidArgument, match="candidate"):
        index.search("x", nprobes=3)  # type: ignore[call-overload]
    with pytest.raises(plait.InvalidArgument, match="bm26"):
        plait.create(tmp_path / "d", system="bm26")
    with pytest.raises(plait.InvalidArgument, match="dim is 385"):
        plait.create(tmp_path / "d", dim=385)
    with pytest.raises(plait.InvalidArgument, match="pool:x"):
        plait.create(tmp_path / "d", reduce=["pool:x"])
    assert not (tmp_path / "d").exists()


def test_a_changed_encoder_is_noticed(tmp_path: Path) -> None:
    index = plait.create(tmp_path / "c")
    settings = dict(index.settings)
    settings["encoder"]["spec"]["fingerprint"] = "another"
    with index.collection.builder() as writer:
        writer.put({"retrieval": settings})
    with pytest.raises(plait.FailedPrecondition, match="not the one that this collection was built with"):
        plait.open(tmp_path / "c").search("x")


def test_an_interrupted_build_resumes_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = [{"id": f"d{i}", "text": f"document number {i} about {'cats' if i % 2 else 'dogs'}"} for i in range(20)]
    monkeypatch.setattr("plait.retrieval.text.documents.BATCH", 4)
    index = plait.create(tmp_path / "c", reduce=["idf:90%"], dim=16)
    encoded: list[int] = []

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "encode" and done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(index, corpus(many), stop)
    with index.collection.catalog.reading() as view:
        kept = view.staged
    assert 0 < kept <= 8, "batches that are whole, fewer than were encoded"
    with pytest.raises(plait.FailedPrecondition, match=f"{kept} documents waiting"):
        index.add([{"id": "x", "text": "x"}])
    again = Retriever(tmp_path / "c")
    with pytest.raises(plait.FailedPrecondition, match="has 'd0' where the corpus now has 'd1'"):
        build(again, corpus(many[1:]))
    done = build(again, corpus(many), lambda stage, n, _: encoded.append(n) if stage == "encode" else None)
    assert done["documents"] == 20 and done["resumed_after"] == encoded[0] == kept
    whole = plait.create(tmp_path / "whole", reduce=["idf:90%"], dim=16)
    build(whole, corpus(many))
    for a, b in zip(again.search(["cats", "dogs 7"]), whole.search(["cats", "dogs 7"]), strict=True):
        assert [(h.id, h.score) for h in a] == [(h.id, h.score) for h in b]
    with pytest.raises(plait.AlreadyExists, match="built already"):
        build(again, corpus(many))


def test_restart_drops_what_an_interrupted_build_left(tmp_path: Path) -> None:
    index = plait.create(tmp_path / "c")
    with index.collection.builder() as writer:
        writer.add(["old"], index.encoding.documents(["old"]), [{"text": "old"}])
    assert build(index, corpus(DOCUMENTS), restart=True)["documents"] == 5
    with pytest.raises(plait.NotFound):
        index.explain("x", "old")


def test_a_cached_run_equals_a_fresh_one(tmp_path: Path) -> None:
    rankings = []
    for name in ("fresh", "filled", "cached"):
        cache = None if name == "fresh" else tmp_path / "cache"
        index = plait.create(tmp_path / name, reduce=["pool:2"], dim=32, cache=cache)
        index.add(DOCUMENTS)
        rankings.append([[(h.id, h.score) for h in hits] for hits in index.search(QUERIES)])
    assert rankings[0] == rankings[1] == rankings[2]
    assert len(list((tmp_path / "cache").glob("*.npz"))) == 2, "one for the documents, one for the queries"


def test_pca_keeps_the_leading_axes() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((500, 6)) * [9, 5, 3, 1, 0.1, 0.01]).astype(np.float32)
    axes = projection.fit(rows, 3)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-5)
    _, _, right = np.linalg.svd(rows.astype(np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(axes.T @ right[:3].T), np.eye(3), atol=1e-3)
    tokens = projection.project(Tokens(rows, np.array([0, 500])), axes)
    wanted = rows @ axes
    np.testing.assert_allclose(tokens.vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    np.testing.assert_array_equal(projection.from_bytes(projection.to_bytes(axes)), axes)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the encoder makes of the texts, kept from one store to the next."""
    return tmp_path_factory.mktemp("encoded")


@pytest.mark.parametrize("store", ["exact", "flat", "lists", "faiss:IVF,SQ8", "faiss:IVF,PQ96x4fs"])
def test_an_estimate_foretells_the_size(tmp_path: Path, encoded: Path, store: str) -> None:
    """Within a fifth on documents of like length; codebooks, which do not grow with the collection, are not in it."""
    texts = [f"The {n} cats of house number {n * 7} sleep while {n + 3} dogs bark at the moon." for n in range(300)]
    many = [{"id": str(n), "text": t} for n, t in enumerate(texts)]
    index = plait.create(tmp_path / "c", store=store, reduce=["pool:2"], cache=encoded)
    expected = build(index, corpus(many), measure=False)["estimate"]
    info = index.info()
    assert abs(expected["tokens"] / info["tokens"] - 1) < 0.05
    # In the segment and in the catalog.
    codebooks = 2 * (64 * 384 * 4 if store.startswith("faiss") else info["bytes"].get("codebook", 0))
    assert abs(expected["bytes"] / (info["bytes"]["total"] - codebooks) - 1) < 0.2
