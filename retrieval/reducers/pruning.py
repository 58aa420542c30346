"""Token pruning: keep the tokens of a document that matter, drop the rest.

First-k, top-k by idf and top-k by attention are those of Lassance, Maachou, Park and Clinchant, "A Study on Token
Pruning for ColBERT" (arXiv 2112.06540; SIGIR 2022 as "Learned Token Pruning in Contextualized Late Interaction over
BERT"). The punctuation skip list is ColBERT's own; dropping stop words is not part of that paper.

Rows keep their order, and a document that had tokens keeps at least one: its first when nothing else qualifies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...index.errors import FailedPrecondition, InvalidArgument
from ...index.tokens import Role, Tokens


@dataclass(frozen=True)
class Budget:
    """How many tokens a document may keep: give exactly one. Larger: better results, larger index, slower search."""

    count: int | None = None
    """At most this many, 1 or more. Long documents lose the most."""
    share: float | None = None
    """This share of its tokens, above 0 and up to 1, rounded up. All documents lose alike."""

    def __post_init__(self) -> None:
        if (self.count is None) == (self.share is None):
            raise InvalidArgument(f"a budget is a count or a share, got count={self.count} and share={self.share}")
        if self.count is not None and self.count < 1:
            raise InvalidArgument(f"budget is {self.count} tokens; it must be at least 1")
        if self.share is not None and not 0 < self.share <= 1:
            raise InvalidArgument(f"budget share is {self.share}; it must lie above 0 and be at most 1")

    def keep(self, m: int) -> int:
        """Tokens kept of m."""
        if self.share is None:
            return min(m, self.count or m)
        # Rounding first: 0.1 * 30 lies a hair above 3 and is meant as 3.
        return min(m, max(1, math.ceil(round(self.share * m, 9))))


def first_k(tokens: Tokens, budget: Budget) -> Tokens:
    """Keeps the first tokens of each document."""
    return tokens.select(_positions(tokens) < _allowed(tokens, budget))


def top_idf(tokens: Tokens, budget: Budget, idf: np.ndarray) -> Tokens:
    """Keeps the tokens with the rarest ids; equally rare ones by position. CLS and MARKER stay and count.

    Args:
        idf: (vocabulary,) float, larger for rarer ids.

    Raises:
        FailedPrecondition: the tokens have no ids.
        InvalidArgument: an id lies beyond `idf`.
    """
    ids = _ids(tokens)
    if len(ids) and int(ids.max()) >= len(idf):
        raise InvalidArgument(f"token id {int(ids.max())} lies beyond the {len(idf)} ids of idf; use the same encoder")
    return _top(tokens, budget, idf[ids])


def top_attention(tokens: Tokens, budget: Budget) -> Tokens:
    """Keeps the tokens that receive the most attention (`weights`), ties by position. CLS and MARKER stay and count.

    Raises:
        FailedPrecondition: the tokens have no weights.
    """
    if tokens.weights is None:
        raise FailedPrecondition(
            "these tokens have no weights; load the encoder with EncoderOptions(attention=True) and encode again"
        )
    return _top(tokens, budget, tokens.weights)


def keep_roles(tokens: Tokens, roles: Iterable[Role]) -> Tokens:
    """Keeps the tokens of the given roles. FailedPrecondition: the tokens have no roles."""
    return _keep(tokens, np.isin(_roles(tokens), list(roles)))


def drop_roles(tokens: Tokens, roles: Iterable[Role]) -> Tokens:
    """Drops the tokens of the given roles: ColBERT's skip list is PUNCTUATION. FailedPrecondition: no roles."""
    return _keep(tokens, ~np.isin(_roles(tokens), list(roles)))


def drop_ids(tokens: Tokens, ids: np.ndarray) -> Tokens:
    """Drops every token whose id is among the given ones. FailedPrecondition: the tokens have no ids."""
    return _keep(tokens, ~np.isin(_ids(tokens), ids))


def drop_stopwords(tokens: Tokens, stop_ids: np.ndarray) -> Tokens:
    """Drops the words with the given ids; a pooled token that a stop word represents stays, its members may differ.

    Raises:
        FailedPrecondition: the tokens have no ids or no roles.
    """
    return _keep(tokens, ~((_roles(tokens) == Role.WORD) & np.isin(_ids(tokens), stop_ids)))


def _top(tokens: Tokens, budget: Budget, scores: np.ndarray) -> Tokens:
    special = np.zeros(len(tokens.vectors), bool)
    if tokens.roles is not None:
        special = np.isin(tokens.roles, [Role.CLS, Role.MARKER])
    ranks = np.empty(len(tokens.vectors), np.int64)
    ranks[np.lexsort((-scores, ~special, tokens.owners))] = _positions(tokens)
    return tokens.select(special | (ranks < _allowed(tokens, budget)))


def _keep(tokens: Tokens, mask: np.ndarray) -> Tokens:
    kept = np.concatenate([[0], np.cumsum(mask)])[tokens.offsets]
    barren = (np.diff(kept) == 0) & (tokens.lengths > 0)
    mask[tokens.offsets[:-1][barren]] = True
    return tokens.select(mask)


def _positions(tokens: Tokens) -> np.ndarray:
    """(n,) place of each row within its document, from 0."""
    return np.arange(len(tokens.vectors), dtype=np.int64) - tokens.offsets[tokens.owners]


def _allowed(tokens: Tokens, budget: Budget) -> np.ndarray:
    """(n,) the budget of each row's document."""
    return np.repeat(np.array([budget.keep(m) for m in tokens.lengths.tolist()], np.int64), tokens.lengths)


def _ids(tokens: Tokens) -> np.ndarray:
    if tokens.ids is None:
        raise FailedPrecondition("these tokens have no ids; encode text, and prune by id before a `single` step")
    return tokens.ids


def _roles(tokens: Tokens) -> np.ndarray:
    if tokens.roles is None:
        raise FailedPrecondition("these tokens have no roles; encode text, or give each token a Role")
    return tokens.roles
