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
from .codecs import Bytes, Half
from .contextual_store import ContextualStore
from .dense import products
from .errors import InvalidArgument
from .hits import Hits, best
from .kernels import among_best, widen
from .search import Alignment, Part, locate
from .segment import Segment
from .term_kernels import same_id_scores
from .tokens import Tokens, ragged_rows

_ROWS = 1 << 17


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
    ids, vectors = np.ascontiguousarray(tokens.ids, np.uint32), widen(tokens.vectors)
    whole = widen(tokens.globals_) if width and tokens.globals_ is not None else None
    rows = [tokens.rows(q) for q in range(len(tokens))]
    return [Query(ids[r], vectors[r], None if whole is None else whole[q]) for q, r in enumerate(rows)]


def search(parts: list[Part], queries: list[Query], k: int) -> list[Hits]:
    """The k best documents of each query."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    return [exact.merge([_best(part, query, k) for part in parts], k) for query in queries]


def score(segment: Segment, positions: np.ndarray, query: Query) -> tuple[np.ndarray, np.ndarray]:
    """(n,) float64 scores of the documents at these positions, and (n,) bool: whether they are found."""
    total, _, matches = _matches(segment, positions, query)
    if query.whole is None:
        return total, np.asarray((matches >= 0).any(axis=1))
    return total + products(segment.tokens.globals_, positions, query.whole), np.ones(len(positions), bool)


def explain(parts: list[Part], query: Query, doc: int) -> Alignment:
    """Every query token with the token of equal id that is nearest to it: its contribution is at least 0."""
    part, position = locate(parts, doc)
    document, at = part.segment.document(position), np.array([position])
    (total,), (met,), (matches,) = _matches(part.segment, at, query)
    whole = None if query.whole is None else float(products(part.segment.tokens.globals_, at, query.whole)[0])
    score, contributions = float(np.float32(total + (whole or 0))), np.maximum(met, 0)
    return Alignment(score, contributions.astype(np.float32), met.astype(np.float32), matches, document, whole)


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


def _matches(segment: Segment, positions: np.ndarray, query: Query) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `same_id_scores` has them, of the documents at these positions."""
    tokens, records, places = segment.tokens, segment.tokens.vectors, positions
    ids, offsets = np.zeros(0, np.uint32) if tokens.ids is None else tokens.ids, tokens.offsets
    if tokens.ids is None and (offsets[positions + 1] > offsets[positions]).any():
        raise InvalidArgument("tokens match at equal ids here, and the stored ones have no ids; build with an encoder")
    if not isinstance(segment.codec, Half | Bytes):
        rows, offsets = ragged_rows(offsets, positions)
        records, ids, places = segment.codec.floats(records[rows]), ids[rows], np.arange(len(positions))
    return same_id_scores(records, ids, offsets, places, query.ids, query.vectors)
