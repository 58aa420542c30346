"""Contextualised exact match (COIL, Gao et al., NAACL 2021): tokens are compared at equal vocabulary ids only.

    score(q, d) = sum_i max(0, max over tokens j of d with id_j = id_i of q_i . d_j)  [+ global_q . global_d]

Found are the documents that share an id with the query; all, where there are global vectors. Scores are float64 sums over
the stored float16 values, rounded to float32, so that they do not depend on segments. A segment with lists of its tokens
(`contextual.py`) leaves out by bounds what cannot be among the best; any other one is read through.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from . import exact
from .contextual_store import ContextualStore
from .dense import products
from .errors import InvalidArgument
from .hits import Hits, best
from .kernels import among_best, widen
from .search import Alignment, Part, locate
from .segment import Segment
from .tokens import Tokens, ragged_rows

_ROWS = 1 << 17
_BITS = (1 << 15) - 1


@dataclass(frozen=True, eq=False)
class Query:
    """One query."""

    ids: np.ndarray
    """(q,) uint32."""
    vectors: np.ndarray
    """(q, dim) float32."""
    whole: np.ndarray | None
    """(width,) float32; None: the collection has no global vectors."""


def queries_of(tokens: Tokens, width: int) -> list[Query]:
    """Queries one by one. `width`: of the collection's global vectors.

    Raises:
        InvalidArgument: tokens without ids, global vectors missing or of another width, a query with nothing to compare.
    """
    if tokens.ids is None:
        raise InvalidArgument("tokens match at equal ids here, and these queries have no ids; give Tokens with ids")
    if width and (tokens.globals_ is None or tokens.globals_.shape[1:] != (width,)):
        raise InvalidArgument(f"this collection adds products of global vectors; give globals_ of {width} dimensions")
    if not width and (tokens.lengths == 0).any():
        raise InvalidArgument(f"query {int(np.argmin(tokens.lengths))} has no tokens")
    vectors = widen(tokens.vectors)
    whole = widen(tokens.globals_) if width and tokens.globals_ is not None else None
    rows = [tokens.rows(q) for q in range(len(tokens))]
    return [Query(tokens.ids[r], vectors[r], None if whole is None else whole[q]) for q, r in enumerate(rows)]


def search(parts: list[Part], queries: list[Query], k: int) -> list[Hits]:
    """The k best documents of each query."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    return [exact.merge([_best(part, query, k) for part in parts], k) for query in queries]


def score(segment: Segment, positions: np.ndarray, query: Query) -> tuple[np.ndarray, np.ndarray]:
    """(n,) float64 scores of the documents at these positions, and (n,) bool: whether they are found."""
    table, met = np.zeros((len(positions), len(query.ids))), np.zeros(len(positions), bool)
    rows, offsets = ragged_rows(segment.tokens.offsets, positions)
    places, asked, similarities = _matches(segment, rows, query)
    owners = np.searchsorted(offsets, places, side="right") - 1
    np.maximum.at(table, (owners, asked), similarities)
    met[owners] = True
    total = table.sum(axis=1)
    if query.whole is None:
        return total, met
    return total + products(segment.tokens.globals_, positions, query.whole), np.ones(len(positions), bool)


def explain(parts: list[Part], query: Query, doc: int) -> Alignment:
    """Every query token with the token of equal id that is nearest to it: its contribution is at least 0."""
    part, position = locate(parts, doc)
    document, rows = part.segment.document(position), part.segment.tokens.rows(position)
    found, asked, similarities = _matches(part.segment, np.arange(rows.start, rows.stop), query)
    matches, met = np.full(len(query.ids), -1), np.zeros(len(query.ids))
    for i in range(len(query.ids)):
        mine = np.flatnonzero(asked == i)
        if len(mine):
            top = mine[np.argmax(similarities[mine])]
            matches[i], met[i] = found[top], similarities[top]
    contributions = np.maximum(met, 0)
    whole = None if query.whole is None else float(products(document.globals_, np.array([0]), query.whole)[0])
    total = float(np.float32(contributions.sum() + (whole or 0)))
    return Alignment(total, contributions.astype(np.float32), met.astype(np.float32), matches, document, whole)


def _best(part: Part, query: Query, k: int) -> Hits:
    segment, found = part.segment, []
    for positions in _candidates(part, query, k):
        totals, met = score(segment, positions, query)
        found.append(best(segment.documents[positions[met]], totals[met].astype(np.float32), k))
    return exact.merge(found, k)


def _candidates(part: Part, query: Query, k: int) -> Iterator[np.ndarray]:
    """Positions to be scored, in blocks of bounded size."""
    segment = part.segment
    if isinstance(part.store, ContextualStore) and (query.whole is None) == (part.codes is None):
        estimates, wrong = part.store.lists.estimate(query.ids, query.vectors)
        if query.whole is not None and part.codes is not None:
            products, more = part.codes.estimate(query.whole)
            estimates, wrong = np.maximum(estimates, 0) + products, more + np.float32(wrong)
        chosen = among_best(estimates, wrong, k, open=part.allowed)
    else:
        chosen = np.arange(len(segment.documents)) if part.allowed is None else np.flatnonzero(part.allowed)
    offsets = segment.tokens.offsets
    ends = np.cumsum(offsets[chosen + 1] - offsets[chosen] + 1)
    for block in np.split(chosen, np.searchsorted(ends, np.arange(_ROWS, ends[-1] if len(ends) else 0, _ROWS))):
        if len(block):
            yield block


def _matches(segment: Segment, rows: np.ndarray, query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of equal id: places in `rows`, query tokens, and float64 products."""
    tokens = segment.tokens
    if tokens.ids is None and len(rows):
        raise InvalidArgument("tokens match at equal ids here, and the stored ones have no ids; build with an encoder")
    ids = np.zeros(0, np.uint32) if tokens.ids is None else tokens.ids[rows]
    # Most tokens are told apart by a few bits of their ids.
    known = np.zeros(_BITS + 1, bool)
    known[query.ids & _BITS] = True
    alike = np.flatnonzero(known[ids & _BITS])
    ids, order = ids[alike], np.argsort(query.ids, kind="stable")
    first = np.searchsorted(query.ids[order], ids)
    counts = np.searchsorted(query.ids[order], ids, side="right") - first
    places = np.repeat(alike, counts)
    within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    asked = order[np.repeat(first, counts) + within]
    ours = segment.codec.floats(tokens.vectors[rows[places]]).astype(np.float64)
    return places, asked, (ours * query.vectors[asked]).sum(axis=1)
