"""What must hold within a segment's files so that a search can read them: lengths that fit, offsets and keys that rise.

A checksum says that a file is what somebody wrote. These rules say that it is what plait writes: a segment from a
stranger, or from a fault in a writer, is refused when it is opened, and no search meets it. They read offsets and
keys, not vectors. `index/reading/agreement.py` has what only a check asks: whether lists and postings say the same as
the rows.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..catalog.schema import Schema, TermField
from ..codecs import pq4
from ..codecs.residual import Residual
from ..coil import lists as coil_lists
from ..coil import store as coil_store
from ..errors import DataLoss
from ..late import coded, faiss_store
from ..segments.segment import Segment
from ..segments.term_columns import KEYS, OFFSETS, ROW_OFFSETS, WEIGHTS, prefix
from ..sparse import postings
from ..sparse import store as posting_store
from ..vector import codes as vector_codes

_BLOCK = 1 << 20
Fault = tuple[str, str]
"""The file, and what is wrong with it."""


def faults(segment: Segment, schema: Schema) -> list[str]:
    """What contradicts itself or the collection, each with its file; empty when all fits."""
    assert segment.folder is not None
    try:
        found = [*_found(segment, schema)]
    except DataLoss as error:
        return [str(error)]
    return [f"{segment.folder / name}: {what}" for name, what in found]


def require(segment: Segment, schema: Schema) -> None:
    """DataLoss: the segment's files contradict themselves or the collection."""
    if found := faults(segment, schema):
        raise DataLoss(f"{found[0]}; restore it from a copy or rebuild the collection")


def _found(segment: Segment, schema: Schema) -> Iterator[Fault]:
    if lacking := [*_lacking(segment, schema)]:
        yield from lacking
        return
    yield from _tokens(segment, schema)
    if segment.terms.keys() != schema.terms.keys():
        names = ", ".join(sorted(segment.terms.keys() ^ schema.terms.keys()))
        yield OFFSETS, f"the segment and the collection have other term fields ({names})"
        return
    for name, field in schema.terms.items():
        yield from _terms(segment, prefix(name), name, field)
    if coded.CODES in segment.files:
        yield from _codes(segment)
    if coil_store.FILES[0] in segment.files:
        yield from _coil_lists(segment)
    if faiss_store.FILE in segment.files:
        yield from _faiss(segment)
    if vector_codes.FILES[0] in segment.files and segment.tokens.globals_ is not None:
        codes = vector_codes.GlobalCodes.open(segment.files, segment.tokens.globals_.shape[1])
        yield from _lengths(
            {vector_codes.FILES[0]: codes.codes, vector_codes.FILES[1]: codes.scales}, len(segment.documents)
        )


def _lacking(segment: Segment, schema: Schema) -> Iterator[Fault]:
    """Files of a store that are not listed though others of it are: without them it would
    count as one that never was.
    """
    listed = segment.files.keys()
    groups = [
        coded.FILES if listed & set(coded.FILES[2:]) else coded.FILES[:2],
        coil_store.FILES,
        vector_codes.FILES,
    ]
    for group in groups:
        if listed & set(group):
            yield from ((name, "it is not listed") for name in group if name not in listed)
    for name in schema.terms:
        first, *others = posting_store.files(prefix(name))
        if first not in listed and listed & set(others):
            yield first, "it is not listed"


def _tokens(segment: Segment, schema: Schema) -> Iterator[Fault]:
    tokens, documents, count = segment.tokens, len(segment.documents), len(segment.tokens.vectors)
    if not rises(segment.documents) or (documents and segment.documents[0] < 0):
        yield "documents", "document numbers do not rise"
    yield from _offsets("offsets", tokens.offsets, documents, count)
    yield from _lengths({"ids": tokens.ids, "roles": tokens.roles}, count)
    if tokens.span_offsets is not None:
        yield from _offsets(
            "span_offsets", tokens.span_offsets, count, 0 if tokens.spans is None else len(tokens.spans)
        )
    else:
        yield from _lengths({"spans": tokens.spans}, count)
    globals_ = tokens.globals_
    if (None if globals_ is None else globals_.shape) != ((documents, schema.vector) if schema.vector else None):
        yield "globals", "they are not one vector for each document, as the collection has it"
    if schema.ids and count and tokens.ids is None:
        yield "ids", "tokens have none, by which the store lists them"
    if isinstance(segment.codec, Residual) and count:
        numbers = len(segment.codec.book.centroids)
        for start in range(0, count, _BLOCK):
            heads = np.ascontiguousarray(tokens.vectors[start : start + _BLOCK, :4]).view("<u4")
            if heads.max(initial=0) >= numbers:
                yield "vectors", f"a record names a centroid beyond the {numbers} that there are"
                return


def _terms(segment: Segment, prefix: str, name: str, field: TermField) -> Iterator[Fault]:
    rows, documents = segment.terms[name], len(segment.documents)
    if (rows.row_offsets is not None) != field.per_token:
        yield (
            prefix + ROW_OFFSETS,
            "there is a row for each document where the collection has one for each token, or the reverse",
        )
        return
    faulty = False
    if rows.row_offsets is not None:
        for fault in _offsets(prefix + ROW_OFFSETS, rows.row_offsets, documents, len(rows.offsets) - 1):
            faulty = True
            yield fault
    count = documents if rows.row_offsets is None else len(rows.offsets) - 1
    for fault in _offsets(prefix + OFFSETS, rows.offsets, count, len(rows.keys)):
        faulty = True
        yield fault
    yield from _lengths({prefix + WEIGHTS: rows.weights}, len(rows.keys))
    if faulty:
        return
    if not rises_within(rows.keys, rows.offsets):
        yield prefix + KEYS, "keys do not rise within a row"
    if len(rows.keys) and max_of(rows.keys) >= field.keys:
        yield prefix + KEYS, f"a key lies outside of the key space, 0 to {field.keys - 1}"
    if posting_store.files(prefix)[0] in segment.files:
        yield from _postings(segment, prefix, field.counts)


def _postings(segment: Segment, prefix: str, counts: bool) -> Iterator[Fault]:
    arrays = posting_store.arrays(segment.files, prefix)
    own = f"{prefix}postings."
    of_counts = {"lengths", "edges", "codes"}
    if (arrays.keys() & of_counts) != (of_counts if counts else set()) or (counts and "impacts" not in arrays):
        yield own + "lengths", "the collection holds counts of terms and the postings no lengths, or the reverse"
        return
    yield from _runs(own, arrays, len(segment.documents), postings.WINDOW, ("maxima",), ("scales", "lows"))
    if arrays.get("impacts") is not None:
        yield from _lengths({own + "impacts": arrays["impacts"]}, len(arrays["offsets"]))
    if counts:
        lengths, edges, codes = arrays["lengths"], arrays["edges"], arrays["codes"]
        yield from _lengths({own + "lengths": lengths, own + "codes": codes}, len(segment.documents))
        if not 1 <= len(edges) <= 256 or not rises(edges):
            yield own + "edges", "they are not 1 to 256 lengths that rise"
        elif len(codes) and codes.max() >= len(edges):
            yield own + "codes", f"a code stands beyond the {len(edges)} edges"


def _coil_lists(segment: Segment) -> Iterator[Fault]:
    lists = coil_store.CoilStore.open(segment).lists
    yield from _runs("contextual.", vars(lists), len(segment.documents), coil_lists.WINDOW, (), ("scales",))
    yield from _lengths(
        {"contextual.codes": lists.codes, "contextual.offsets": lists.offsets}, len(segment.tokens.vectors)
    )


def _runs(
    own: str,
    arrays: dict[str, np.ndarray],
    documents: int,
    window: int,
    of_runs: tuple[str, ...],
    of_terms: tuple[str, ...],
) -> Iterator[Fault]:
    """Keys with runs of windows with postings, as `Postings` and `CoilLists` have them."""
    keys, windows, offsets = arrays["keys"], arrays["windows"], arrays["offsets"]
    if not rises(keys):
        yield own + "keys", "keys do not rise"
    wrong = [
        *_offsets(own + "term_runs", arrays["term_runs"], len(keys), len(windows)),
        *_offsets(own + "starts", arrays["starts"], len(windows), len(offsets)),
    ]
    yield from wrong
    yield from _lengths({own + name: arrays[name] for name in of_runs}, len(windows))
    yield from _lengths({own + name: arrays[name] for name in of_terms}, len(keys))
    if wrong:
        return
    if not rises_within(windows, arrays["term_runs"]):
        yield own + "windows", "windows do not rise within a term"
    last, left = divmod(max(0, documents - 1), window)
    if len(windows) and max_of(windows) > last:
        yield own + "windows", f"a window stands beyond the {last + 1} that the documents fill"
    elif len(windows):
        # Only in the last window may an offset name a document that is not there.
        ends = arrays["starts"][1:][windows == last]
        if max_of(offsets[ends[ends > 0] - 1]) > left:
            yield own + "offsets", f"a document stands beyond the {documents} that there are"
    strictly = own != "contextual."
    if not rises_within(offsets, arrays["starts"], strictly):
        yield own + "offsets", "offsets do not rise within a run"


def _codes(segment: Segment) -> Iterator[Fault]:
    tokens, documents = len(segment.tokens.vectors), len(segment.documents)
    lists = coded.CENTROIDS in segment.files
    opened = coded.load_lists(segment) if lists else coded.load_flat(segment)
    book = opened.codebook
    if book.dim != segment.dim:
        yield coded.CODEBOOK, f"it is of {book.dim} dimensions, and the vectors have {segment.dim}"
    if not (np.isfinite(book.rotation).all() and np.isfinite(book.centroids).all()):
        yield coded.CODEBOOK, "it holds NaN or infinity"
    if isinstance(opened, coded.Lists):
        held = opened.postings
        blocks = len(held.codes)
        yield from _offsets(coded.BOUNDS, held.bounds, len(opened.centroids), blocks)
        yield from _lengths({coded.OWNERS: held.documents}, blocks * pq4.BLOCK)
        if len(held.documents) and max_of(held.documents) > documents:
            yield coded.OWNERS, f"a document stands beyond the {documents} that there are"
        if not len(opened.centroids) or not np.isfinite(opened.centroids).all():
            yield coded.CENTROIDS, "there are none, or they hold NaN or infinity"
    elif len(opened.codes) != -(-tokens // pq4.BLOCK):
        yield coded.CODES, f"they are {len(opened.codes)} blocks of {pq4.BLOCK}, and there are {tokens} tokens"


def _faiss(segment: Segment) -> Iterator[Fault]:
    store = faiss_store.FaissStore.open(segment.files[faiss_store.FILE].path)
    count = len(segment.tokens.vectors)
    seen = np.zeros(count, bool)
    for rows in map(store.held, range(store.lists)) if store.tokens == count else ():
        if len(rows) and rows.min() >= 0 and rows.max() < count:
            seen[rows] = True
    # As many rows as there are tokens, so that each that is there is there once.
    if store.dim != segment.dim or not seen.all():
        yield faiss_store.FILE, f"it does not hold each of {count} tokens of {segment.dim} dimensions once"


def _offsets(name: str, offsets: np.ndarray, count: int, last: int) -> Iterator[Fault]:
    if (
        len(offsets) != count + 1
        or not len(offsets)
        or offsets[0] != 0
        or offsets[-1] != last
        or (offsets[1:] < offsets[:-1]).any()
    ):
        yield name, f"they are not {count + 1} offsets that never fall, from 0 to {last}"


def _lengths(arrays: dict[str, np.ndarray | None], count: int) -> Iterator[Fault]:
    for name, array in arrays.items():
        if array is not None and len(array) != count:
            yield name, f"it has {len(array)} values where {count} belong"


def rises(values: np.ndarray) -> bool:
    """Every value is greater than the one before."""
    return bool((values[1:] > values[:-1]).all())


def rises_within(values: np.ndarray, starts: np.ndarray, strictly: bool = True) -> bool:
    """Values rise within each run; offsets say where runs begin. In blocks: nothing as long as the values is made."""
    for at in range(0, max(0, len(values) - 1), _BLOCK):
        block = values[at : at + _BLOCK + 1]
        falls = np.flatnonzero(block[1:] <= block[:-1] if strictly else block[1:] < block[:-1]) + at + 1
        begins = starts[np.minimum(np.searchsorted(starts, falls), len(starts) - 1)]
        if (begins != falls).any():
            return False
    return True


def max_of(values: np.ndarray) -> int:
    return int(values.max(initial=0))
