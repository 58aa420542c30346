"""A system that plait does not have is a plan, its name and its record: tokens routed to several keys (CITADEL).

A token is routed to some keys with a weight for each (Li et al., ACL 2023, arXiv 2211.10411, section 3.1), and two
tokens are compared where they share a key. Here a routed token is as many rows as it has keys: the id is the key, the
vector carries the weight, and the rows of one token have one span. score(q, d) = sum_i max over shared keys of (w_i
q_i) . (w_j d_j), at least 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index import params
from plait.index.collection import Collection
from plait.index.filters.sql import Range
from plait.index.hits import Hits, best, merge
from plait.index.params import Scoring, SearchParams
from plait.index.reading import plans
from plait.index.search.alignment import Alignment
from plait.index.search.part import Part, locate
from plait.index.search.spread import spread
from plait.index.segments.segment import Segment
from plait.index.tokens import Tokens


@dataclass(frozen=True)
class Routed:
    """The plan."""

    def search(self, parts: list[Part], queries: Tokens, k: int, params: SearchParams) -> list[Hits]:
        return [merge([self._best(part, queries.take([q]), k) for part in parts], k) for q in range(len(queries))]

    def score(self, parts: list[Part], query: Tokens, documents: np.ndarray, threads: int) -> np.ndarray:
        scores = np.zeros(len(documents), np.float32)
        for part, places, positions in spread(parts, documents):
            scores[places] = [_met(part.segment, position, query)[0].sum() for position in positions]
        return scores

    def explain(self, parts: list[Part], query: Tokens, document: int, params: SearchParams) -> Alignment | None:
        part, position = locate(parts, document)
        met, matches = _met(part.segment, position, query)
        return Alignment(float(met.sum()), met, met, matches, part.segment.document(position))

    def _best(self, part: Part, query: Tokens, k: int) -> Hits:
        docs = part.segment.documents if part.allowed is None else part.segment.documents[part.allowed]
        scores = self.score([part], query, docs, 1)
        return best(docs[scores > 0], scores[scores > 0], k)


def _met(segment: Segment, position: int, query: Tokens) -> tuple[np.ndarray, np.ndarray]:
    """For each routed token of a query its best product, at least 0, and the row of the document that gave it, or
    -1."""
    document = segment.document(position)
    assert query.ids is not None and query.spans is not None and document.ids is not None
    products = np.where(query.ids[:, None] == document.ids, query.vectors @ document.vectors.T, 0)
    products = np.column_stack([np.zeros(len(products)), products])  # a column for no match at all
    _, tokens = np.unique(query.spans, axis=0, return_inverse=True)
    rows = [products[tokens.ravel() == token] for token in range(tokens.max() + 1)]
    return np.array([r.max() for r in rows], np.float32), np.array([r.max(axis=0).argmax() - 1 for r in rows])


@pytest.fixture(autouse=True, scope="module")
def system() -> None:
    """What a system adds to the common path: its name, and which plan the name means."""
    patch = pytest.MonkeyPatch()
    patch.setattr(params, "TOKENS", (*params.TOKENS, "routed"))
    patch.setitem(plans.PLANS, "routed", lambda scoring, schema: Routed())


def routed(rng: np.random.Generator, documents: int, keys: int = 5, dim: int = 4) -> Tokens:
    """Documents of 1 to 4 tokens, each routed to 1 to 3 keys with weights that float16 holds exactly."""
    ids, vectors, spans, lengths = [], [], [], []
    for _ in range(documents):
        rows = 0
        for token in range(int(rng.integers(1, 5))):
            vector = rng.integers(-4, 5, dim) / 4
            for key in rng.choice(keys, int(rng.integers(1, 4)), replace=False):
                ids.append(key)
                vectors.append(vector * float(rng.integers(1, 5)) / 4)
                spans.append((token, token + 1))
                rows += 1
        lengths.append(rows)
    offsets = np.append(0, np.cumsum(lengths))
    rows = np.array(vectors, np.float16).reshape(-1, dim)
    return Tokens(rows, offsets, ids=np.array(ids, np.uint32), spans=np.array(spans, np.uint32).reshape(-1, 2))


def by_loops(query: Tokens, document: Tokens) -> float:
    assert query.ids is not None and query.spans is not None and document.ids is not None
    greatest: dict[int, float] = {}
    for token, key, q in zip(query.spans[:, 0].tolist(), query.ids, query.vectors, strict=True):
        for other, d in zip(document.ids, document.vectors, strict=True):
            product = float(q.astype(np.float64) @ d.astype(np.float64)) if key == other else 0.0
            greatest[token] = max(greatest.get(token, 0.0), product)
    return sum(greatest.values())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(0, 2**31))
def test_it_is_searched_filtered_scored_and_explained_like_any_other(
    tmp_path_factory: pytest.TempPathFactory, documents: int, k: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    texts, query = routed(rng, documents), routed(rng, 1)
    scoring, wanted = Scoring("routed"), [by_loops(query, texts.take([d])) for d in range(documents)]
    half = documents // 2
    with Collection.create(tmp_path_factory.mktemp("routed") / "c", 4, "exact") as collection:
        for some in (range(half), range(half, documents)):
            ids, payloads = [str(d) for d in some], [{"n": d} for d in some]
            collection.live.upsert(ids, texts.take(list(some)), payloads)
            if some.start == 0:
                collection.seal()
        with collection.snapshot() as snapshot:
            for filter, low in ((None, 0), (Range("n", gte=1), 1)):
                order = sorted((d for d in range(low, documents) if wanted[d] > 0), key=lambda d: (-wanted[d], d))[:k]
                (hits,) = snapshot.search(query, k, scoring, filter=filter)
                assert hits.docs.tolist() == order
                np.testing.assert_allclose(hits.scores, [wanted[d] for d in order], atol=1e-6)
            numbers = hits.docs
            np.testing.assert_array_equal(snapshot.score_tokens(query, numbers, scoring=scoring), hits.scores)
            for number, score in zip(numbers, hits.scores, strict=True):
                why = snapshot.explain(query, int(number), scoring)
                assert why.score == pytest.approx(score) and why.contributions.sum() == pytest.approx(score)


def test_a_scoring_without_a_plan_is_refused() -> None:
    with pytest.raises(Exception, match="tokens is 'other'"):
        Scoring("other")
    assert set(plans.PLANS) == set(params.TOKENS)
