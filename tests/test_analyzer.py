"""BM25's counts against bm25s, and keys that need no state."""

from typing import Any

import numpy as np
import pytest
from plait.index.errors import InvalidArgument
from plait.index.terms import Terms, check
from plait.retrieval.analyzer import KEYS, analyze, key_of, names

pytest.importorskip("bm25s", reason="extra eval is not installed")
pytest.importorskip("Stemmer", reason="extra eval is not installed")

TEXTS = ["The planets of the planet Mars", "", "a of the", "Rings, rings and MOONS; x 42"]


def test_counts_lengths_and_names() -> None:
    terms, lengths = analyze(TEXTS)
    assert check(terms).keys == KEYS and lengths.tolist() == [3, 0, 0, 4]
    known = names(TEXTS)
    rows = [
        {known[int(key)]: weight for key, weight in zip(row.indices, row.data, strict=True)} for row in _rows(terms)
    ]
    assert rows == [{"planet": 2, "mar": 1}, {}, {}, {"ring": 2, "moon": 1, "42": 1}]


def test_bm25_over_the_keys_is_bm25s() -> None:
    from plait.eval import bm25

    texts = ["Mars is a red planet", "the red rings of the planet", "moons", "red red red wine"]
    queries = ["red planets", "rings of mars"]
    documents, lengths = analyze(texts)
    known = sorted(names(texts))
    tf, asked = (_compact(terms, known) for terms in (documents, analyze(queries)[0]))
    df = (tf > 0).sum(axis=0)
    idf = np.log1p((len(texts) - df + 0.5) / (df + 0.5))
    scores = asked @ (idf * tf / (tf + 1.2 * (0.25 + 0.75 * lengths / lengths.mean())[:, None])).T
    for row, hits in zip(scores, bm25.search(bm25.build(texts), queries, 4), strict=True):
        np.testing.assert_allclose(row[hits.docs], hits.scores, rtol=1e-5)
        assert np.count_nonzero(row) == len(hits)


def test_keys_are_the_same_everywhere() -> None:
    assert key_of("planet") == 1684256756 and key_of("müller") == 2534011490
    assert len({key_of(str(i)) for i in range(20_000)}) >= 19_999


def test_languages() -> None:
    assert set(names(["Die Häuser und das Haus"], "german").values()) == {"haus"}
    with pytest.raises(InvalidArgument, match="klingon"):
        analyze(["x"], "klingon")


def _rows(terms: Terms) -> list[Any]:
    return [terms.rows[[i]] for i in range(len(terms))]


def _compact(terms: Terms, keys: list[int]) -> np.ndarray:
    """Dense rows over some keys."""
    return np.array(
        [[dict(zip(row.indices, row.data, strict=True)).get(key, 0) for key in keys] for row in _rows(terms)]
    )
