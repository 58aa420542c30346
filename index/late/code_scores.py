"""What the codes of a segment say of its documents: the scores by which the coded plans
choose what they score exactly."""

from __future__ import annotations

import math

import numpy as np

from ..codecs import pq4
from ..codecs.codec import similarities
from ..hits import Hits, best
from ..kernels import rows as row_kernels
from ..params import SearchParams
from ..search.part import Part
from ..segments.segment import Segment
from .coded import CENTROIDS, CODES, CodedStore, load_flat, load_lists
from .flat import Flat
from .lists import Lists


def code_ranking(part: Part, query: np.ndarray, k: int, params: SearchParams) -> tuple[Hits, int] | None:
    """The documents of a segment as its codes rank them for one query (q, dim) float32, and how many of them, the best,
    a search for k scores exactly. Every document that could be a candidate is in it: where too few tokens are near the
    query, the search fills its candidates up with documents of which the lists have seen nothing.

    None: the segment has no codes, or so few documents are allowed that all are scored exactly.
    """
    coded = _loaded(part.segment)
    if coded is None:
        return None
    candidates, documents = max(params.candidates, 4 * k), len(part.segment.documents)
    if isinstance(part.store, CodedStore) and part.store.few(part.allowed, candidates):
        return None
    if isinstance(coded, Flat):
        leaders = max(10 * candidates, documents // 16)
        scores = coded._scan(query, leaders, part.allowed, 1)
        return best(part.segment.documents, scores, documents), candidates
    open_ = coded.open_documents(part.allowed)
    if candidates >= int(open_.sum()):
        return None
    return _list_ranking(coded, part, query, min(params.nprobe, len(coded.centroids)), open_), candidates


def codec_error(segment: Segment, query: np.ndarray, position: int) -> float | None:
    """MaxSim over what the codes of one document stand for, less MaxSim over what is stored
    of it. None: it has no codes."""
    coded = _loaded(segment)
    rows = segment.tokens.rows(position)
    if coded is None or rows.start == rows.stop:
        return None
    if isinstance(coded, Flat):
        places = np.arange(rows.start, rows.stop)
        codes = coded.codes
    else:
        places = np.flatnonzero(coded.postings.documents == position)
        codes = coded.postings.codes
    blocks, at = np.unique(places // pq4.BLOCK, return_inverse=True)
    decoded = pq4.decode(coded.codebook, codes[blocks], len(blocks) * pq4.BLOCK)[at * pq4.BLOCK + places % pq4.BLOCK]
    coded_best = row_kernels.product(query, decoded.T).max(axis=1)
    stored_best = similarities(segment.codec, segment.tokens.vectors[rows], query).max(axis=0)
    return float(math.fsum(coded_best) - math.fsum(stored_best))


def _list_ranking(coded: Lists, part: Part, query: np.ndarray, nprobe: int, open_: np.ndarray) -> Hits:
    """The open documents by what was seen of each, the rest at the floor of its query
    token; the earlier of equals first."""
    table = pq4.table(coded.codebook, query)
    _, _, floors = coded._probe(query, table, nprobe)
    gains = coded.gains(query, nprobe, allowed=part.allowed)
    unseen = float(table.tops.sum()) - float(floors.sum()) * table.scale
    places = np.flatnonzero(open_)
    # By the whole numbers that the search compares: as float32 scores, different gains could tie.
    places = places[np.argsort(-gains[places].astype(np.int64), kind="stable")]
    scores = gains[places] * np.float32(table.scale) + np.float32(unseen)
    return Hits(part.segment.documents[places], scores.astype(np.float32))


def _loaded(segment: Segment) -> Flat | Lists | None:
    if segment.folder is None or CODES not in segment.files:
        return None
    return load_lists(segment) if CENTROIDS in segment.files else load_flat(segment)
