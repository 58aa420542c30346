"""`repr` of what a person meets: one line that says what it is and holds, in any state, without a call or a file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plait.index.errors import never_fails
from plait.index.writing.live import Written
from scipy import sparse

import plait

TOKENS = plait.from_matrices([np.eye(4, 8), np.ones((2, 8))])
QUERY = plait.from_matrices([np.eye(1, 8)])


def made(folder: Path, **settings: Any) -> plait.Retriever:
    return plait.create(folder / "news", encoder=None, dim=8, policy=None, **settings)


def test_a_collection_says_what_it_holds(tmp_path: Path) -> None:
    with made(tmp_path, store="lists", precision="int8") as index:
        assert repr(index) == "Retriever('news': 0 documents, 0 tokens of 8 int8, lists)"
        index.add_tokens(["a", "b"], TOKENS)
        assert repr(index) == "Retriever('news': 2 documents, 6 tokens of 8 int8, lists)"
        index.upsert_tokens(["c", "d"], TOKENS)
        assert repr(index) == "Retriever('news': 2 documents, 6 tokens of 8 int8, lists; written to since)"
        index.search(QUERY)
        assert repr(index) == "Retriever('news': 4 documents, 12 tokens of 8 int8, lists)"
        index.delete(["a", "c"])
        index.search(QUERY)
        assert repr(index).startswith("Retriever('news': 2 documents, ")
    assert repr(index).startswith("Retriever('news': 2 documents, ") and repr(index).endswith(", lists; closed)")
    with plait.open(tmp_path / "news") as again:
        # Nothing was counted one by one: the dead of a segment are among them.
        assert repr(again) == "Retriever('news': at most 3 documents, 8 tokens of 8 int8, lists)"
        again.search(QUERY)
        assert repr(again).startswith("Retriever('news': 2 documents, ")


def test_a_collection_says_what_makes_its_terms_and_vectors(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
    with plait.create(tmp_path / "c", encoder=None, terms={"words": "bm25", "parts": "binary"}, vector=3) as index:
        assert repr(index) == "Retriever('c': 0 documents, vectors of 3; bm25, binary)"


def test_a_collection_says_its_encoder(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `demo` is not installed")
    with plait.create(tmp_path / "c") as index:
        assert repr(index) == "Retriever('c': 0 documents, 0 tokens of 384 float16, auto; minilm)"


def test_the_count_is_that_of_stats(tmp_path: Path) -> None:
    with made(tmp_path) as index:
        for step in range(6):
            ids = [f"{step}a", f"{step % 2}b"]
            index.upsert_tokens(ids, TOKENS)
            index.delete([f"{step - 1}a"])
            if step % 3 == 2:
                index.collection.seal()
            index.search(QUERY)
            stats = index.info()
            wanted = f"{stats['documents']} documents, {stats['tokens']} tokens"
            assert f"'news': {wanted} of 8" in repr(index), step


def test_no_file_is_read(tmp_path: Path) -> None:
    index = made(tmp_path)
    index.add_tokens(["a", "b"], TOKENS)
    index.search(QUERY)
    before = repr(index)
    with index.collection.catalog.writing():
        (tmp_path / "news").rename(tmp_path / "moved")
        assert repr(index) == before
        (tmp_path / "moved").rename(tmp_path / "news")
    index.close()


def test_half_made_and_broken_objects_have_a_text() -> None:
    for kind in (plait.Retriever, plait.Hit, plait.Hits, plait.Tokens, plait.Terms, plait.Explanation, plait.Queries):
        text = repr(object.__new__(kind))
        assert text.startswith((f"<{kind.__name__} that cannot be shown", f"{kind.__name__}(")) and "\n" not in text
    assert repr(plait.Tokens(None, "x")).startswith("<Tokens that cannot be shown: ")  # type: ignore[arg-type]


def test_only_errors_are_caught() -> None:
    class Stopped:
        @never_fails
        def __repr__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repr(Stopped())


def test_arrays_of_documents() -> None:
    assert repr(TOKENS) == "Tokens(2 documents: 6 vectors of 8 float32)"
    assert repr(plait.from_vectors(np.zeros((3, 5), np.float16))) == "Tokens(3 documents: global vectors of 5 float16)"
    full = plait.Tokens(TOKENS.vectors, TOKENS.offsets, ids=np.arange(6, dtype=np.uint32), globals_=np.zeros((2, 3)))
    assert repr(full) == "Tokens(2 documents: 6 vectors of 8 float32, global vectors of 3 float64, ids)"
    rows = sparse.csr_array(np.array([[0, 1.5, 0], [2, 0, 1], [0, 0, 0]], np.float32))
    assert repr(plait.Terms(rows)) == "Terms(3 documents: 3 weights over 3 keys)"
    assert repr(plait.Terms(rows, np.array([0, 2, 3]))) == "Terms(2 documents: 3 rows, 3 weights over 3 keys)"
    assert repr(plait.Queries(QUERY)) == "Queries(1: Tokens(1 documents: 1 vectors of 8 float32))"
    both = plait.Queries(None, {"words": plait.Terms(rows)})
    assert repr(both) == "Queries(3: words=Terms(3 documents: 3 weights over 3 keys))"


def test_answers(tmp_path: Path) -> None:
    hits = plait.Hits(np.arange(5), np.linspace(2, 1, 5, dtype=np.float32))
    assert repr(hits) == "Hits(5: 0 (2.0000), 1 (1.7500), 2 (1.5000), ...)"
    assert repr(plait.Hits(hits.docs[:1], hits.scores[:1])) == "Hits(1: 0 (2.0000))"
    hit = plait.Hit("a\n", 1.25, {"text": "Bread rises because yeast ferments the flour.\n" * 9, "year": 2020})
    assert repr(hit) == r"Hit('a\n': 1.2500, {'text': 'Bread rises ... the flour.\n', 'year': 2020})"
    assert repr(Written(7, 2)) == "Written(seq=7, count=2)"
    with made(tmp_path) as index:
        index.add_tokens(["a", "b"], TOKENS)
        assert repr(index.search(QUERY)[0][0].explain()) == "Explanation('a': 1.0000 by 1 token pairs)"
        why = index.explain(QUERY, "b", k=1)
        assert (
            repr(why) == f"Explanation('b': 1.0000 by 1 token pairs; {why.verdict})"
            and "not returned" in why.verdict.lower()
        )


def test_servers_are_not_called() -> None:
    pytest.importorskip("grpc", reason="the extra `service` is not installed")
    # Nothing listens on port 9: any call would fail, and an error would show.
    server = plait.connect("127.0.0.1:9", api_key="secret-key", timeout_s=0.01)
    assert repr(server) == "Server('127.0.0.1:9', without TLS, with a key)"
    assert repr(plait.Remote(server._channel, "news")) == "Remote('news' on '127.0.0.1:9')"
    server.close()
    assert repr(server) == "Server('127.0.0.1:9', without TLS, with a key, closed)"
    with plait.connect("search.example:443") as far:
        assert repr(far) == "Server('search.example:443', by TLS)"
