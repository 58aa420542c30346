"""What a check asks beyond the structure: whether codes, lists and postings say the same as the rows they come from.

Searches choose by codes, lists and postings and score by rows: a contradiction would lose documents without an error.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..codecs import pq4
from ..codecs.half import Half
from ..coil import lists as coil_lists
from ..coil import store as coil_store
from ..kernels.vectors import widen
from ..late import coded
from ..segments.segment import Segment
from ..segments.term_columns import WEIGHTS, prefix
from ..sparse import postings
from ..sparse import store as posting_store
from ..sparse.postings import maxima
from ..vector import codes as vector_codes
from ..vector.codes import GlobalCodes
from .structure import Fault

_BLOCK = 1 << 16
_DRIFT = 0.05
"""The share by which the distance of a sample from its codes may differ from the one noted when they were made."""


def disagreements(segment: Segment, drift: float | None) -> list[str]:
    """What contradicts the rows, each with its file. The segment's structure is right
    (`index/reading/structure.py`)."""
    assert segment.folder is not None
    return [f"{segment.folder / name}: {what}" for name, what in _found(segment, drift)]


def _found(segment: Segment, drift: float | None) -> Iterator[Fault]:
    if isinstance(segment.codec, Half) and not _finite(segment.tokens.vectors):
        yield "vectors", "they hold NaN or infinity"
    globals_ = segment.tokens.globals_
    if globals_ is not None and not _finite(globals_):
        yield "globals", "they hold NaN or infinity"
    elif globals_ is not None and vector_codes.FILES[0] in segment.files:
        yield from _global_codes(globals_, GlobalCodes.open(segment.files, globals_.shape[1]))
    for name, rows in segment.terms.items():
        if not _finite(rows.weights):
            yield prefix(name) + WEIGHTS, "they hold NaN or infinity"
        elif posting_store.files(prefix(name))[0] in segment.files:
            yield from _postings(segment, name)
    if coil_store.FILES[0] in segment.files:
        yield from _coil_lists(segment)
    if coded.CODES in segment.files:
        yield from _codes(segment, drift)


def _finite(values: np.ndarray) -> bool:
    return all(np.isfinite(values[at : at + _BLOCK]).all() for at in range(0, len(values), _BLOCK))


def _global_codes(globals_: np.ndarray, codes: GlobalCodes) -> Iterator[Fault]:
    for at in range(0, len(globals_), _BLOCK):
        rows, scales = widen(globals_[at : at + _BLOCK]), codes.scales[at : at + _BLOCK, None]
        with np.errstate(all="ignore"):
            off = np.abs(codes.codes[at : at + _BLOCK] * scales - rows)
        if not (off <= 0.51 * np.abs(scales)).all():
            yield vector_codes.FILES[0], "a vector in bytes is not the one of its document"
            return


def _postings(segment: Segment, name: str) -> Iterator[Fault]:
    arrays, rows = posting_store.arrays(segment.files, prefix(name)), segment.terms[name]
    one = rows if rows.row_offsets is None else maxima(rows)
    own = f"{prefix(name)}postings."
    # Both sides as rising pairs of key and document, each of which occurs once.
    owners = np.repeat(np.arange(len(one.offsets) - 1, dtype=np.int64), np.diff(one.offsets))
    cells = one.keys.astype(np.int64) << 31 | owners if len(owners) else np.zeros(0, np.int64)
    order = np.argsort(cells, kind="stable")
    terms, documents = _placed(arrays, postings.WINDOW)
    held = arrays["keys"][terms].astype(np.int64) << 31 | documents if len(terms) else np.zeros(0, np.int64)
    if not np.array_equal(cells[order], held):
        yield own + "offsets", "the postings do not name the documents that hold their keys"
        return
    weights = one.weights[order].astype(np.float64)
    impacts = np.ones(len(terms)) if arrays.get("impacts") is None else arrays["impacts"].astype(np.float64)
    runs = np.repeat(np.arange(len(arrays["windows"])), np.diff(arrays["starts"]))
    if "lengths" in arrays:
        yield from _counts(arrays, own, weights, impacts)
    elif not (impacts * arrays["scales"][terms] >= weights).all():
        yield own + "impacts", "an impact stands for less than its weight"
    if not (arrays["maxima"][runs] >= impacts).all():
        yield own + "maxima", "the greatest impact of a run is less than one in it"
    least = np.zeros(len(arrays["keys"]))
    np.minimum.at(least, np.searchsorted(arrays["keys"], rows.keys), rows.weights)
    if not (arrays["lows"] <= least).all():
        yield own + "lows", "the least weight of a key is greater than one of it"


def _counts(arrays: dict[str, np.ndarray], own: str, weights: np.ndarray, impacts: np.ndarray) -> Iterator[Fault]:
    if not np.array_equal(impacts, np.minimum(weights, postings.LEVELS)):
        yield own + "impacts", "a frequency is not the one of its document"
    edges = np.append(arrays["edges"].astype(np.int64), 1 << 32)
    lengths, codes = arrays["lengths"].astype(np.int64), arrays["codes"]
    if not ((edges[codes] <= lengths) & (lengths < edges[codes.astype(np.int64) + 1])).all():
        yield own + "codes", "the code of a length is not the one between its edges"


def _placed(arrays: dict[str, np.ndarray], window: int) -> tuple[np.ndarray, np.ndarray]:
    """(postings,) int64 term and document of each posting."""
    sizes = np.diff(arrays["starts"])
    of_run = np.repeat(np.arange(len(arrays["keys"])), np.diff(arrays["term_runs"]))
    firsts = arrays["windows"].astype(np.int64) * window
    return np.repeat(of_run, sizes), np.repeat(firsts, sizes) + arrays["offsets"]


def _coil_lists(segment: Segment) -> Iterator[Fault]:
    lists, tokens = coil_store.CoilStore.open(segment).lists, segment.tokens
    terms, documents = _placed(vars(lists), coil_lists.WINDOW)
    assert tokens.ids is not None
    order = np.argsort(tokens.ids, kind="stable")
    if not (np.array_equal(tokens.ids[order], lists.keys[terms]) and np.array_equal(tokens.owners[order], documents)):
        yield "contextual.offsets", "the lists do not name the documents that hold their keys"
        return
    for at in range(0, len(order), _BLOCK):
        rows = segment.codec.floats(tokens.vectors[order[at : at + _BLOCK]])
        scales = lists.scales[terms[at : at + _BLOCK], None]
        with np.errstate(all="ignore"):
            off = np.abs(lists.codes[at : at + _BLOCK] * scales - rows)
        if not (off <= 0.51 * np.abs(scales)).all():
            yield "contextual.codes", "a vector in bytes is not the one of its token"
            return


def _codes(segment: Segment, drift: float | None) -> Iterator[Fault]:
    tokens = segment.tokens
    if coded.CENTROIDS in segment.files:
        lists = coded.load_lists(segment)
        held = np.bincount(lists.postings.documents, minlength=len(segment.documents) + 1)[: len(segment.documents)]
        if not np.array_equal(held, tokens.lengths):
            yield coded.OWNERS, "a document has another number of tokens in the lists than in the rows"
        return
    flat = coded.load_flat(segment)
    if drift is None or not len(tokens.vectors):
        return
    rows = coded.sample_rows(len(tokens.vectors), _BLOCK // 4)
    blocks, at = np.unique(rows // pq4.BLOCK, return_inverse=True)
    decoded = pq4.decode(flat.codebook, flat.codes[blocks], len(blocks) * pq4.BLOCK)[at * pq4.BLOCK + rows % pq4.BLOCK]
    found = float(np.linalg.norm(segment.codec.floats(tokens.vectors[rows]) - decoded, axis=1).mean())
    if not abs(found - drift) <= _DRIFT * max(drift, 1e-3):
        yield coded.CODES, f"tokens lie {found:.3g} from what their codes stand for, and {drift:.3g} was noted"
