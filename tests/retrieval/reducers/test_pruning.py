"""Pruning against loops over documents and rows. A row's vector holds its own number."""

from fractions import Fraction
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.tokens import Role, Tokens, check
from plait.retrieval.reducers import pruning
from plait.retrieval.reducers.pruning import Budget

VOCABULARY = 6
budgets = st.one_of(
    st.integers(1, 9).map(lambda n: Budget(n)), st.integers(1, 100).map(lambda percent: Budget(share=percent / 100))
)


@st.composite
def batches(draw):
    lengths = draw(st.lists(st.integers(0, 9), max_size=6))
    n = sum(lengths)
    column = lambda values: draw(st.lists(values, min_size=n, max_size=n))  # noqa: E731
    return Tokens(
        np.arange(n, dtype=np.float32).reshape(n, 1),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        ids=np.array(column(st.integers(0, VOCABULARY - 1)), np.uint32),
        spans=np.arange(2 * n, dtype=np.uint32).reshape(n, 2),
        weights=np.array(column(st.sampled_from([0.0, 0.5, 1.0, 2.0])), np.float32),
        roles=np.array(column(st.sampled_from(list(Role))), np.uint8),
    )


def rows_of(pruned):
    """The original row numbers of each document."""
    check(pruned)
    rows = pruned.vectors[:, 0].astype(int)
    np.testing.assert_array_equal(pruned.spans[:, 0], 2 * rows)
    return [rows[pruned.rows(i)].tolist() for i in range(len(pruned))]


def documents(tokens):
    return [list(range(int(a), int(b))) for a, b in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)]


def at_least_first(rows, kept):
    return kept or rows[:1]


def naive_keep(budget, m):
    if budget.count is not None:
        return min(budget.count, m)
    return ceil(Fraction(round(budget.share * 100), 100) * m)


def naive_top(tokens, budget, score):
    kept = []
    for rows in documents(tokens):
        special = [r for r in rows if tokens.roles[r] in (Role.CLS, Role.MARKER)]
        others = sorted((r for r in rows if r not in special), key=lambda r: (-score(r), r))
        kept.append(sorted(special + others[: max(0, naive_keep(budget, len(rows)) - len(special))]))
    return kept


@given(batches(), budgets)
@settings(deadline=None)
def test_first_k(tokens, budget):
    want = [rows[: naive_keep(budget, len(rows))] for rows in documents(tokens)]
    assert rows_of(pruning.first_k(tokens, budget)) == want
    assert all(bool(kept) == bool(rows) for kept, rows in zip(want, documents(tokens), strict=True))


@given(batches(), budgets, st.lists(st.sampled_from([0.0, 1.5, 3.0]), min_size=VOCABULARY, max_size=VOCABULARY))
@settings(deadline=None)
def test_top_idf(tokens, budget, idf):
    got = rows_of(pruning.top_idf(tokens, budget, np.array(idf)))
    assert got == naive_top(tokens, budget, lambda r: idf[int(tokens.ids[r])])


@given(batches(), budgets)
@settings(deadline=None)
def test_top_attention(tokens, budget):
    got = rows_of(pruning.top_attention(tokens, budget))
    assert got == naive_top(tokens, budget, lambda r: float(tokens.weights[r]))


@given(batches(), st.sets(st.sampled_from(list(Role))), st.sets(st.integers(0, VOCABULARY - 1)))
@settings(deadline=None)
def test_filters_keep_order_and_at_least_the_first(tokens, roles, ids):
    listed = np.array(sorted(ids), np.uint32)
    role, id_ = (lambda r: Role(tokens.roles[r])), (lambda r: int(tokens.ids[r]))
    for pruned, qualifies in (
        (pruning.keep_roles(tokens, roles), lambda r: role(r) in roles),
        (pruning.drop_roles(tokens, roles), lambda r: role(r) not in roles),
        (pruning.drop_ids(tokens, listed), lambda r: id_(r) not in ids),
        (pruning.drop_stopwords(tokens, listed), lambda r: not (id_(r) in ids and role(r) == Role.WORD)),
    ):
        assert rows_of(pruned) == [
            at_least_first(rows, [r for r in rows if qualifies(r)]) for rows in documents(tokens)
        ]


def test_without_roles_no_token_is_special():
    tokens = Tokens(np.zeros((3, 1), np.float32), np.array([0, 3]), ids=np.array([0, 1, 2], np.uint32))
    kept = pruning.top_idf(tokens, Budget(1), np.array([0.0, 2.0, 1.0]))
    assert kept.ids is not None and kept.ids.tolist() == [1]


def test_shares_round_up_exactly():
    for percent in range(1, 101):
        for m in range(1, 300):
            assert Budget(share=percent / 100).keep(m) == -(-percent * m // 100)
    assert Budget(share=1e-12).keep(5) == 1 and Budget(share=1e-12).keep(0) == 0
    assert Budget(3).keep(2) == 2 and Budget(3).keep(4) == 3 and Budget(3).keep(0) == 0


@pytest.mark.parametrize("given_", [{}, {"count": 2, "share": 0.5}, {"count": 0}, {"share": 0.0}, {"share": 1.1}])
def test_impossible_budgets(given_):
    with pytest.raises(InvalidArgument, match="budget"):
        Budget(**given_)


def test_missing_columns_are_named_with_their_remedy():
    tokens = Tokens(np.zeros((2, 1), np.float32), np.array([0, 2]))
    with pytest.raises(FailedPrecondition, match=r"EncoderOptions\(attention=True\)"):
        pruning.top_attention(tokens, Budget(1))
    with pytest.raises(FailedPrecondition, match="no ids"):
        pruning.top_idf(tokens, Budget(1), np.zeros(3))
    with pytest.raises(FailedPrecondition, match="no ids"):
        pruning.drop_ids(tokens, np.zeros(1, np.uint32))
    with pytest.raises(FailedPrecondition, match="no roles"):
        pruning.drop_roles(tokens, [Role.PUNCTUATION])
    beyond = Tokens(np.zeros((1, 1), np.float32), np.array([0, 1]), ids=np.array([3], np.uint32))
    with pytest.raises(InvalidArgument, match="token id 3 lies beyond the 3 ids"):
        pruning.top_idf(beyond, Budget(1), np.zeros(3))
