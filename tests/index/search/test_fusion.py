"""Fusion against the formulas written with dictionaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plait.index.errors import InvalidArgument
from plait.index.hits import Hits, best
from plait.index.search.fusion import rrf, weighted

RANKINGS = st.lists(st.dictionaries(st.integers(0, 9), st.integers(-3, 3), max_size=8), max_size=4)


def hits(scores: dict[int, int]) -> Hits:
    return best(np.array([*scores], np.int64), np.array([*scores.values()], np.float32), 99)


def assert_ranked(found: Hits, wanted: dict[int, float]) -> None:
    assert dict(zip(found.docs.tolist(), found.scores.tolist(), strict=True)) == pytest.approx(wanted, abs=1e-5)
    pairs = list(zip(-found.scores, found.docs, strict=True))
    assert pairs == sorted(pairs)


@given(RANKINGS, st.sampled_from([0, 1, 60]), st.booleans())
def test_reciprocal_ranks(scores: list[dict[int, int]], k: int, weigh: bool) -> None:
    weights = [0.5 + r for r in range(len(scores))] if weigh else [1.0] * len(scores)
    wanted: dict[int, float] = {}
    for own, weight in zip(scores, weights, strict=True):
        for rank, doc in enumerate(sorted(own, key=lambda d: (-own[d], d)), 1):
            wanted[doc] = wanted.get(doc, 0) + weight / (k + rank)
    assert_ranked(rrf([hits(s) for s in scores], k, weights if weigh else None).hits, wanted)


def normal(scores: dict[int, int], how: str) -> tuple[dict[int, float], float]:
    """Normalised scores, and what a document that is not there counts."""
    values = [*scores.values()]
    if how == "none" or not values:
        return dict(scores), 0.0
    if min(values) == max(values):
        return dict.fromkeys(scores, 1.0 if how == "minmax" else 0.0), 0.0
    if how == "minmax":
        return {d: (s - min(values)) / (max(values) - min(values)) for d, s in scores.items()}, 0.0
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    found = {d: (s - mean) / deviation for d, s in scores.items()}
    return found, min(found.values())


@given(RANKINGS, st.sampled_from(["minmax", "zscore", "none"]))
def test_weighted_sums(scores: list[dict[int, int]], how: str) -> None:
    weights = [2.0 - r for r in range(len(scores))]
    tables = [normal(s, how) for s in scores]
    docs = {d for s in scores for d in s}
    wanted = {d: sum(w * t.get(d, rest) for w, (t, rest) in zip(weights, tables, strict=True)) for d in docs}
    assert_ranked(weighted([hits(s) for s in scores], weights, how).hits, wanted)


@given(RANKINGS, st.sampled_from(["minmax", "zscore", "none"]), st.sets(st.integers(0, 9)), st.integers(0, 15))
def test_where_a_ranking_is_blind_a_document_counts_as_in_the_others(
    scores: list[dict[int, int]], how: str, hidden: set[int], which: int
) -> None:
    blind = [hidden if which >> r & 1 else set() for r in range(len(scores))]
    scores = [{d: s for d, s in own.items() if d not in unseen} for own, unseen in zip(scores, blind, strict=True)]
    weights = [2.5 - r for r in range(len(scores))]
    tables = [normal(s, how) for s in scores]
    wanted, ranked = {}, {}
    for doc in {d for s in scores for d in s}:
        seeing = [r for r in range(len(scores)) if doc not in blind[r]]
        share = sum(abs(weights[r]) for r in seeing) / sum(map(abs, weights))
        wanted[doc] = sum(weights[r] * tables[r][0].get(doc, tables[r][1]) for r in seeing) / share
        places = {r: sorted(scores[r], key=lambda d, r=r: (-scores[r][d], d)) for r in seeing}
        ranks = {r: place.index(doc) + 1 for r, place in places.items() if doc in place}
        ranked[doc] = sum(weights[r] / (60 + rank) for r, rank in ranks.items()) / share
    lists, unseen = [hits(s) for s in scores], [np.array([*some], np.int64) for some in blind]
    assert_ranked(weighted(lists, weights, how, unseen).hits, wanted)
    assert_ranked(rrf(lists, 60, weights, unseen).hits, ranked)


def test_the_order_of_rankings_breaks_no_tie() -> None:
    """Documents that stand on the same ranks, in whichever rankings, tie; the lower number comes first."""
    lists = [Hits(np.array(docs), np.array([3, 2, 1], np.float32)) for docs in ([5, 1, 3], [1, 3, 5], [3, 5, 1])]
    assert rrf(lists).hits.docs.tolist() == [1, 3, 5] and len(set(rrf(lists).hits.scores.tolist())) == 1


def test_wrong_arguments_are_named() -> None:
    one = hits({1: 1})
    for call, message in (
        (lambda: rrf([one], -1), "k is -1"),
        (lambda: rrf([one], weights=[1, 2]), "for 1 rankings"),
        (lambda: weighted([one], [np.nan]), "finite"),
        (lambda: weighted([one], [1], "max"), "'max'"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            call()
