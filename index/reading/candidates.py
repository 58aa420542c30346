"""Exact scores of given documents: candidates that another source found, straight into the rerank."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..codecs.codec import score
from ..coil import search as coil
from ..errors import NotFound
from ..kernels.terms import sparse_maxsim
from ..params import Counts
from ..search.part import Part
from ..sparse.exact import weighed
from ..stopping import steps
from ..term_rows import TermRows
from ..vector import search as dense


def token_scores(parts: list[Part], query: np.ndarray, docs: np.ndarray, threads: int) -> np.ndarray:
    """(docs,) float32 MaxSim of one query (q, dim) float32 with documents by number; rows are read where they lie."""
    scores = np.full(len(docs), -np.inf, np.float32)
    for part, places, positions in _spread(parts, docs):
        tokens = part.segment.tokens
        scores[places] = score(part.segment.codec, tokens.vectors, tokens.offsets, positions, query, threads)
    return scores


def coil_scores(parts: list[Part], query: coil.Query, docs: np.ndarray) -> np.ndarray:
    """(docs,) float32 scores of one query with documents by number, tokens compared at equal ids."""
    scores = np.zeros(len(docs), np.float32)
    for part, places, positions in _spread(parts, docs):
        found = coil.score(part.segment, positions, query)
        scores[places] = np.where(found > -np.inf, found, 0)
    return scores


def vector_scores(parts: list[Part], query: np.ndarray, docs: np.ndarray) -> np.ndarray:
    """(docs,) float32 products of one query (width,) float32 with the global vectors of documents by number."""
    scores = np.zeros(len(docs), np.float32)
    for part, places, positions in _spread(parts, docs):
        scores[places] = dense.products(part.segment.tokens.globals_, positions, query)
    return scores


def term_scores(
    parts: list[Part], field: str, query: TermRows, docs: np.ndarray, counts: Counts | None = None
) -> np.ndarray:
    """(docs,) float32 scores of one query with documents by number; 0 for one that shares no key in the field."""
    scores = np.zeros(len(docs), np.float32)
    for part, places, positions in _spread(parts, docs):
        rows = part.segment.terms[field].take(positions)
        scores[places] = sparse_maxsim(query, rows if counts is None else weighed(rows, counts))[0]
    return scores


def _spread(parts: list[Part], docs: np.ndarray) -> Iterator[tuple[Part, np.ndarray, np.ndarray]]:
    """Each part with the places in `docs` that it holds and their positions in it, which rise.

    Raises:
        NotFound: a document that is nowhere, or dead.
    """
    order = np.argsort(docs, kind="stable")
    waiting = np.ones(len(docs), bool)
    for part in steps(parts):
        numbers = part.segment.documents
        if not len(numbers):
            continue
        at = np.minimum(np.searchsorted(numbers, docs[order]), len(numbers) - 1)
        held = numbers[at] == docs[order]
        if part.allowed is not None:
            held &= part.allowed[at]
        if held.any():
            waiting[order[held]] = False
            yield part, order[held], at[held]
    if waiting.any():
        raise NotFound(f"no living document has the number {docs[waiting][0]}; candidates must be of this snapshot")
