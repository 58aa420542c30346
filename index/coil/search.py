"""Contextualised exact match (COIL, Gao et al., NAACL 2021): tokens are compared at equal vocabulary ids only.

    score(q, d) = sum_i max(0, max over tokens j of d with id_j = id_i of q_i . d_j)  [+ global_q . global_d]

Found are the documents that share an id with the query; all, where there are global vectors. Scores are float64 sums
over the stored float16 values, rounded to float32, so that they do not depend on segments. A segment with lists of its
tokens (`index/coil/lists.py`) leaves out by bounds what cannot be among the best; any other one is read through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..codecs.half import Half
from ..codecs.int8 import Bytes
from ..errors import InvalidArgument
from ..hits import Hits, best
from ..kernels.terms import coil_scores
from ..kernels.vectors import among_best, widen
from ..late import exact
from ..search.alignment import Alignment
from ..search.part import Part, locate
from ..segments.segment import Segment
from ..stopping import steps
from ..tokens import Tokens, ragged_rows
from ..vector.search import products
from .store import CoilStore

_ROWS = 1 << 17


@dataclass(frozen=True, eq=False)
class Query:
    """One query."""

    ids: np.ndarray
    """(q,) uint32."""
    vectors: np.ndarray
    """(q, dim) float32."""
    vector: np.ndarray | None
    """(width,) float32; None: the collection has no global vectors."""


def queries_of(tokens: Tokens, width: int) -> list[Query]:
    """Queries one by one. `width`: of the collection's global vectors.

    Raises:
        InvalidArgument: tokens without ids, global vectors missing or of another width,
            a query with nothing to compare.
    """
    if tokens.ids is None:
        raise InvalidArgument("tokens match at equal ids here, and these queries have no ids; give Tokens with ids")
    if width and (tokens.globals_ is None or tokens.globals_.shape[1:] != (width,)):
        raise InvalidArgument(f"this collection adds products of global vectors; give globals_ of {width} dimensions")
    if not width and (tokens.lengths == 0).any():
        raise InvalidArgument(f"query {int(np.argmin(tokens.lengths))} has no tokens")
    ids, vectors = np.ascontiguousarray(tokens.ids, np.uint32), widen(tokens.vectors)
    globals_ = widen(tokens.globals_) if width and tokens.globals_ is not None else None
    rows = [tokens.rows(q) for q in range(len(tokens))]
    return [Query(ids[r], vectors[r], None if globals_ is None else globals_[q]) for q, r in enumerate(rows)]


def search(parts: list[Part], queries: list[Query], k: int) -> list[Hits]:
    """The k best documents of each query."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; ask for at least 1 document")
    return [exact.merge([_best(part, query, k) for part in steps(parts)], k) for query in queries]


def score(segment: Segment, positions: np.ndarray, query: Query) -> np.ndarray:
    """(n,) float64 scores of the documents at these positions; minus infinity for one that is not found."""
    scores = _sums(segment, positions, query)
    if query.vector is None:
        return scores
    return np.maximum(scores, 0) + products(segment.tokens.globals_, positions, query.vector)


def explain(parts: list[Part], query: Query, doc: int) -> Alignment:
    """Every query token with the token of equal id that is nearest to it: its contribution is at least 0."""
    part, position = locate(parts, doc)
    document, at = part.segment.document(position), np.array([position])
    met, matches = np.empty((1, len(query.ids))), np.empty((1, len(query.ids)), np.int64)
    (total,) = np.maximum(_sums(part.segment, at, query, (met, matches)), 0)
    vector = None if query.vector is None else float(products(part.segment.tokens.globals_, at, query.vector)[0])
    contributions, similarities = np.maximum(met[0], 0).astype(np.float32), met[0].astype(np.float32)
    return Alignment(
        float(np.float32(total + (vector or 0))), contributions, similarities, matches[0], document, vector
    )


def _best(part: Part, query: Query, k: int) -> Hits:
    segment, estimated = part.segment, _estimates(part, query)
    if estimated is None:
        every = np.arange(len(segment.documents)) if part.allowed is None else np.flatnonzero(part.allowed)
        blocks = exact.blocks(segment, every, _ROWS)
        return exact.merge([_ranked(segment, some, score(segment, some, query), k) for some in blocks], k)
    estimates, wrong = estimated
    chosen = among_best(estimates, wrong, k, open=part.allowed)
    upper = estimates[chosen].astype(np.float64) + (wrong if len(wrong) == 1 else wrong[chosen])
    order = np.argpartition(-upper, k - 1) if k < len(chosen) else np.arange(len(chosen))
    # The least exact score of the k likeliest is a better bound than the one that chose them; one step of float32
    # below, lest a tie after rounding be missed.
    likely, rest = np.sort(order[:k]), np.sort(order[k:])
    scores = score(segment, chosen[likely], query)
    rest = rest[upper[rest] >= np.nextafter(np.float32(scores.min(initial=np.inf)), np.float32(-np.inf))]
    scores = np.concatenate([scores, score(segment, chosen[rest], query)])
    return _ranked(segment, chosen[np.concatenate([likely, rest])], scores, k)


def _estimates(part: Part, query: Query) -> tuple[np.ndarray, np.ndarray] | None:
    """(documents,) float32 scores, minus infinity for what is not found, and by how much each (or all) may be wrong.

    None: this segment has no lists, or no bytes of its global vectors.
    """
    if not isinstance(part.store, CoilStore) or (query.vector is None) != (part.codes is None):
        return None
    estimates, wrong = part.store.lists.estimate(query.ids, query.vectors)
    if query.vector is None or part.codes is None:
        return estimates, np.array([wrong], np.float32)
    products, more = part.codes.estimate(query.vector)
    return np.maximum(estimates, 0) + products, more + np.float32(wrong)


def _ranked(segment: Segment, positions: np.ndarray, scores: np.ndarray, k: int) -> Hits:
    return best(segment.documents[positions], scores.astype(np.float32), k)


def _sums(
    segment: Segment, positions: np.ndarray, query: Query, table: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """`coil_scores` of the documents at these positions."""
    tokens, records, places = segment.tokens, segment.tokens.vectors, positions
    ids, offsets = np.zeros(0, np.uint32) if tokens.ids is None else tokens.ids, tokens.offsets
    if tokens.ids is None and (offsets[positions + 1] > offsets[positions]).any():
        raise InvalidArgument("tokens match at equal ids here, and the stored ones have no ids; build with an encoder")
    if not isinstance(segment.codec, Half | Bytes):
        rows, offsets = ragged_rows(offsets, positions)
        records, ids, places = segment.codec.floats(records[rows]), ids[rows], np.arange(len(positions))
    return coil_scores(records, ids, offsets, places, query.ids, query.vectors, table)
