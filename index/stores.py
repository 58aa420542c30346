"""The stores a collection may choose: what each adds to a segment when it is sealed, and how it is opened.

`auto`         what suits the size of each segment: `exact`, then `flat`, then `lists`; codes grow with the dimension.
`exact`        nothing: a scan of the float16 rows.
`flat[:B]`     4-bit codes of B bytes a token (8, 16, 32 or 64; 16 unless said): scanned by byte shuffles, then the best
               documents are scored with their rows. Scores are exact, ranks nearly always.
`contextual`   lists of the tokens by vocabulary id, a byte a dimension (COIL): a query reads those of its own tokens.
`lists[:B]`    the same codes, grouped by centroid: a query scans only the lists nearest to its tokens. For large segments.
`faiss:...`    a FAISS inverted file over all tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .catalog.catalog import Catalog, put_resource
from .catalog.schema import Schema
from .codecs import pq4
from .codecs.codec import Codec, Vectors
from .coil import store as coil_store
from .errors import InvalidArgument
from .late import coded, faiss_merge, faiss_params, faiss_store
from .late.exact import ExactStore
from .search.part import TermStore, TokenStore
from .segments.segment import MANIFEST, Segment, SegmentWriter, columns
from .segments.term_columns import prefix
from .sparse import store as posting_store
from .sparse.exact import ExactTerms
from .vector import codes as vector_codes

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""

TOKEN_FILES = (faiss_store.FILE, *coded.FILES, *coil_store.FILES)
_CODED = ("flat", "lists")
_FLAT_FROM, _LISTS_FROM = 1 << 15, 1 << 18
"""Tokens from which `auto` codes a segment, and groups the codes by centroid: below, the
simpler plan takes a few milliseconds."""
_ROWS = 1 << 16
_TRAIN_ROWS = 1 << 15
_DRIFT_ROWS = 1 << 14


def store_files(schema: Schema) -> tuple[str, ...]:
    """Every file that some store may add to a segment."""
    postings = (file for name in schema.terms for file in posting_store.files(prefix(name)))
    return (*TOKEN_FILES, *postings, *vector_codes.FILES)


def segment_files(schema: Schema) -> frozenset[str]:
    """The name of every file that plait may write into a segment's folder."""
    return frozenset((MANIFEST, *columns(schema), *store_files(schema)))


def check_store(store: str, dim: int) -> None:
    """Whether this store can be built here.

    Raises:
        InvalidArgument: none of the stores above, or its parameters do not fit the dimension.
        FailedPrecondition: FAISS is not installed.
    """
    kind, _, rest = store.partition(":")
    if kind == "faiss" and rest:
        faiss_params.parse(rest, dim)
        faiss_params.check_installed()
    elif kind in _CODED:
        _code_bytes(store)
    elif store not in ("auto", "exact", "contextual"):
        raise InvalidArgument(
            f"store is {store!r}; it must be auto, exact, flat[:BYTES], lists[:BYTES], contextual, or faiss: and a "
            "factory string"
        )


def plan(store: str, tokens: int, dim: int) -> str:
    """What a store is for a segment of so many tokens: itself, but for `auto`."""
    if store != "auto":
        return store
    if tokens < _FLAT_FROM:
        return "exact"
    size = next((b for b in pq4.BYTES if dim <= 8 * b), pq4.BYTES[-1])
    return f"{'flat' if tokens < _LISTS_FROM else 'lists'}:{max(16, size)}"


def token_bytes(store: str, tokens: int, codec: Codec) -> float:
    """Bytes on disk that a store takes for each token of a segment of so many, its record included."""
    store, dim = plan(store, tokens, codec.dim), codec.dim
    kind, _, rest = store.partition(":")
    record = codec.width * np.dtype(codec.dtype).itemsize
    if kind == "faiss":
        return record + faiss_params.code_bytes(faiss_params.parse(rest, dim), dim)
    if kind == "contextual":
        return record + dim + 2
    size = _code_bytes(store) if kind in _CODED else 0
    # Lists are filled up to whole blocks, and every place in them names its document.
    return record + (1.1 * (size + 4) if kind == "lists" else size)


def open_store(segment: Segment, device: str, threads: int | None) -> TokenStore:
    """The store of a segment, told by its files. Fresh documents and empty segments are always exact."""
    if segment.folder is None or not set(TOKEN_FILES) & set(segment.files):
        return ExactStore(segment)
    if coil_store.FILES[0] in segment.files:
        return coil_store.CoilStore.open(segment)
    if coded.CODES in segment.files:
        opened = coded.open_lists if coded.CENTROIDS in segment.files else coded.open_flat
        return opened(segment, threads or 1)
    return faiss_store.FaissStore.open(segment.files[faiss_store.FILE].path, device=device)


def build_store(
    catalog: Catalog,
    store: str,
    segment: SegmentWriter,
    device: str,
    threads: int | None,
    progress: Progress | None = None,
    retrain: bool = False,
    sources: Sequence[tuple[Path, np.ndarray]] = (),
) -> tuple[tuple[str, ...], float | None]:
    """Adds a store's files to a segment that is about to be sealed.

    The first segment trains the codebook; later ones share it until `retrain`. `sources` are the segments that a merge
    takes its tokens from, each with the (tokens,) int64 new row of every token or -1: their codes are taken over where
    the store can, which spares assigning and coding anew. Returns the names of the files, and the
    mean distance of tokens from what the codebook has for them: when it grows, the codebook no longer fits.
    """
    vectors = segment.vectors()
    store = plan(store, len(vectors), segment.schema.dim)
    if store == "exact" or not len(vectors):
        return (), None
    if store == "contextual":
        return coil_store.build(segment.folder, segment.ids(), vectors, segment.offsets()), None
    if progress:
        progress("train", 0, 1)
    with catalog.reading() as view:
        codebook = None if retrain else view.resource("codebook")
    if codebook is None:
        codebook = _train(store, vectors, device, threads)
        with catalog.writing() as view:
            put_resource(view, "codebook", codebook)

    def done(number: int) -> None:
        if progress:
            progress("add", number, len(vectors))

    drifted = coded.sample(vectors, _DRIFT_ROWS)
    if store.startswith("flat"):
        return coded.build_flat(segment.folder, codebook, vectors, done), coded.distortion(codebook, drifted)
    if store.startswith("lists"):
        ids = segment.ids() if len(segment.ids()) else None
        files = coded.build_lists(segment.folder, codebook, vectors, segment.offsets(), ids, done)
        return files, coded.distortion(codebook, drifted)
    file = segment.folder / faiss_store.FILE
    old = [(folder / faiss_store.FILE, rows) for folder, rows in sources if len(rows)]
    if old and not retrain and faiss_merge.splice(codebook, old, file):
        return (faiss_store.FILE,), faiss_store.residual(codebook, drifted)
    blocks = (vectors[start : start + _ROWS] for start in range(0, len(vectors), _ROWS))
    faiss_store.build(codebook, blocks, file, device=device, threads=threads, progress=done)
    return (faiss_store.FILE,), faiss_store.residual(codebook, drifted)


def build_terms(segment: SegmentWriter) -> tuple[str, ...]:
    """Adds the postings of every term field to a segment that is about to be sealed."""
    fields, written = segment.schema.terms, ()
    for name, rows in segment.terms().items():
        if len(rows.keys):
            written += posting_store.build(segment.folder, prefix(name), rows, fields[name].counts)
    return written


def build_codes(segment: SegmentWriter) -> tuple[str, ...]:
    """Adds the global vectors in bytes to a segment that is about to be sealed, where it has such vectors."""
    if not segment.schema.vector or not len(segment.globals_()):
        return ()
    return vector_codes.build(segment.folder, segment.globals_())


def open_codes(segment: Segment) -> vector_codes.GlobalCodes | None:
    """The global vectors of a sealed segment in bytes. None: it has none, or is fresh."""
    globals_ = segment.tokens.globals_
    if globals_ is None or segment.folder is None or vector_codes.FILES[0] not in segment.files:
        return None
    return vector_codes.GlobalCodes.open(segment.files, globals_.shape[1])


def open_terms(segment: Segment) -> dict[str, TermStore]:
    """The stores of a segment's term fields, told by its files."""
    stores: dict[str, TermStore] = {}
    for name, rows in segment.terms.items():
        exact = stores[name] = ExactTerms(segment.documents, rows)
        if segment.folder is not None and posting_store.files(prefix(name))[0] in segment.files:
            stores[name] = posting_store.PostingTerms.open(segment.files, prefix(name), exact)
    return stores


def _train(store: str, vectors: Vectors, device: str, threads: int | None) -> bytes:
    if store.startswith(_CODED):
        return pq4.fit(coded.sample(vectors, _TRAIN_ROWS), _code_bytes(store)).to_bytes()
    params = faiss_params.parse(store.partition(":")[2], vectors.shape[1])
    size = faiss_params.sample_size(params, len(vectors))
    rows = coded.sample(vectors, size, params.seed)
    return faiss_store.train(rows, params, len(vectors), device=device, threads=threads)


def _code_bytes(store: str) -> int:
    kind, colon, size = store.partition(":")
    if colon and size not in map(str, pq4.BYTES):
        sizes = ", ".join(map(str, pq4.BYTES))
        raise InvalidArgument(f"store is {store!r}; {kind} takes {sizes} bytes a token, as in {kind}:16")
    return int(size or 16)
