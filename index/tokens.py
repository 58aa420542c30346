"""`Tokens`: the ragged matrix that travels from the encoder to the segment and back."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .arrays import as_array, as_column, check_finite, check_offsets
from .errors import InvalidArgument, never_fails


class Role(enum.IntEnum):
    """What a token is, independent of any tokenizer."""

    WORD = 0
    CLS = 1
    MARKER = 2
    SEP = 3
    PUNCTUATION = 4
    MASK = 5
    PATCH = 6
    POOLED = 7


@dataclass(frozen=True, eq=False)
class Tokens:
    """The token vectors of some documents (or queries), packed one after the other.

    Document i owns rows `offsets[i]:offsets[i + 1]` of every row-aligned column.

    Examples:
        >>> tokens = plait.from_matrices([[[1, 0], [0, 1]], [[0.6, 0.8]]])
        >>> tokens.take([1, 0]).offsets.tolist()
        [0, 1, 3]
    """

    vectors: np.ndarray
    """(n, dim) float32 or float16."""
    offsets: np.ndarray
    """(documents + 1,) int64, from 0 to n, never falling."""
    ids: np.ndarray | None = None
    """(n,) uint32 vocabulary ids."""
    spans: np.ndarray | None = None
    """(s, 2) uint32 [start, end) characters of the text; start = end for a token that stands for no text."""
    span_offsets: np.ndarray | None = None
    """(n + 1,) int64: row i carries spans `span_offsets[i]:span_offsets[i + 1]`. None: one span per row (s = n)."""
    weights: np.ndarray | None = None
    """(n,) float32 importance of a token as its encoder sees it (attention received)."""
    roles: np.ndarray | None = None
    """(n,) uint8 values of `Role`."""
    globals_: np.ndarray | None = None
    """(documents, g) float32 or float16: one vector for the whole document."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @never_fails
    def __repr__(self) -> str:
        has = [name for name in ("ids", "spans", "weights", "roles") if getattr(self, name) is not None]
        whole = [] if self.globals_ is None else [f"global vectors of {self.globals_.shape[1]} {self.globals_.dtype}"]
        rows = f"{len(self.vectors):,} vectors of {self.dim} {self.vectors.dtype}"
        return f"{len(self):,} documents: {', '.join([*([rows] if self.dim else []), *whole, *has])}"

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    @property
    def lengths(self) -> np.ndarray:
        """(documents,) int64 tokens per document."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> np.ndarray:
        """(n,) int64: the document that owns each row."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def rows(self, document: int) -> slice:
        return slice(int(self.offsets[document]), int(self.offsets[document + 1]))

    def select(self, rows: np.ndarray) -> Tokens:
        """Keeps the given rows: a boolean mask (n,) or rising row numbers. The documents stay, some perhaps shorter."""
        if rows.dtype == bool:
            rows = np.flatnonzero(rows)
        kept = np.searchsorted(rows, self.offsets)
        spans, span_offsets = self.spans, None
        if spans is not None and self.span_offsets is None:
            spans = spans[rows]
        elif spans is not None and self.span_offsets is not None:
            members, span_offsets = ragged_rows(self.span_offsets, rows)
            spans = spans[members]
        return Tokens(
            self.vectors[rows],
            kept.astype(np.int64),
            _pick(self.ids, rows),
            spans,
            span_offsets,
            _pick(self.weights, rows),
            _pick(self.roles, rows),
            self.globals_,
        )

    def take(self, documents: np.ndarray | Sequence[int]) -> Tokens:
        """The given documents, in the given order (repeats allowed)."""
        documents = np.asarray(documents, np.int64)
        rows, offsets = ragged_rows(self.offsets, documents)
        spans, span_offsets = self.spans, None
        if spans is not None and self.span_offsets is None:
            spans = spans[rows]
        elif spans is not None and self.span_offsets is not None:
            members, span_offsets = ragged_rows(self.span_offsets, rows)
            spans = spans[members]
        return Tokens(
            self.vectors[rows],
            offsets,
            _pick(self.ids, rows),
            spans,
            span_offsets,
            _pick(self.weights, rows),
            _pick(self.roles, rows),
            _pick(self.globals_, documents),
        )

    def spans_of(self, row: int) -> np.ndarray:
        """(members, 2) spans of one row; empty when the encoder gave none."""
        if self.spans is None:
            return np.zeros((0, 2), np.uint32)
        if self.span_offsets is None:
            return self.spans[row : row + 1]
        return self.spans[int(self.span_offsets[row]) : int(self.span_offsets[row + 1])]

    def with_vectors(self, vectors: np.ndarray) -> Tokens:
        return replace(self, vectors=vectors)


def ragged_rows(offsets: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the given groups one after the other, and the offsets of the groups among them."""
    lengths = offsets[groups + 1] - offsets[groups]
    taken = np.zeros(len(groups) + 1, np.int64)
    np.cumsum(lengths, out=taken[1:])
    rows = np.arange(taken[-1], dtype=np.int64) + np.repeat(offsets[groups] - taken[:-1], lengths)
    return rows, taken


def from_matrices(matrices: Sequence[Any], dim: int | None = None) -> Tokens:
    """Packs one (tokens, dim) matrix per document: arrays, lists of rows, or tensors of
    torch, which are given by value.

    Scores are dot products: normalise the rows where they are to be cosines.

    Args:
        dim: needed only when every document is empty.

    Raises:
        InvalidArgument: no matrix, NaN or infinity in one, or different dimensions.

    Examples:
        >>> plait.from_matrices([[[1, 0], [0, 1]], [[0.6, 0.8]]])
        Tokens(2 documents: 3 vectors of 2 float32)
        >>> plait.from_matrices([[[1, 0]], [[1, 0, 0]]])
        Traceback (most recent call last):
        plait.index.errors.InvalidArgument: documents have different dimensions [2, 3]; ...
    """
    if isinstance(matrices, str | bytes | dict) or not isinstance(matrices, Iterable):
        raise InvalidArgument(f"give a list of (tokens, dim) matrices, one a document; got {type(matrices).__name__}")
    given = [as_array(m, f"document {i}") for i, m in enumerate(matrices)]
    for i, m in enumerate(given):
        if m.ndim != 2:
            raise InvalidArgument(f"document {i}: expected a (tokens, dim) matrix, got shape {m.shape}")
    dims = {m.shape[1] for m in given if len(m)} or {dim or 0}
    if len(dims) > 1:
        raise InvalidArgument(f"documents have different dimensions {sorted(dims)}; one collection holds one dimension")
    width = dims.pop()
    offsets = np.zeros(len(given) + 1, np.int64)
    np.cumsum([len(m) for m in given], out=offsets[1:])
    half = bool(given) and all(m.dtype == np.float16 for m in given)
    vectors = np.empty((int(offsets[-1]), width), np.float16 if half else np.float32)
    with np.errstate(over="ignore"):  # what exceeds float32 becomes infinite, and is refused below
        for i, m in enumerate(given):
            if len(m):
                vectors[offsets[i] : offsets[i + 1]] = m
    check_finite(vectors, offsets)
    return Tokens(vectors, offsets)


def from_vectors(vectors: Any) -> Tokens:
    """One global vector for each document or query, (documents, g), and no tokens; a
    single vector (g,) is one of these.

    Raises:
        InvalidArgument: another shape, no numbers, NaN or infinity.

    Examples:
        >>> plait.from_vectors([[0.5, 0.5, 0], [0, 1, 0]])
        Tokens(2 documents: global vectors of 3 float32)
    """
    given = as_array(vectors, "vectors")
    if given.ndim == 1 and given.size:
        given = given[None]
    if given.ndim != 2:
        raise InvalidArgument(f"vectors must be (documents, dimensions), or one of them; got shape {given.shape}")
    if given.dtype != np.float16:
        with np.errstate(over="ignore"):
            given = given.astype(np.float32)
    finite = np.isfinite(given).all(axis=1)
    if not finite.all():
        raise InvalidArgument(f"vector {int(np.argmin(finite))} has NaN or infinity")
    return Tokens(np.zeros((0, 0), np.float16), np.zeros(len(given) + 1, np.int64), globals_=given)


def whole_rows(vectors: np.ndarray, width: int) -> np.ndarray:
    """Global vectors (n, width), as they are, that a collection of this width can hold, or be asked for."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise InvalidArgument(f"global vectors are {vectors.shape}; this collection has {width} dimensions")
    # Comparisons with NaN are false.
    good = (np.abs(vectors) <= 65504).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise InvalidArgument(f"global vector {row} has NaN, infinity or an entry beyond 65504, the largest float16")
    return vectors


def concatenate(parts: Sequence[Tokens]) -> Tokens:
    """Joins batches of documents. A column stays when every part that has tokens has it;
    spans follow the raggedest part."""
    if not parts:
        raise InvalidArgument("nothing to concatenate: at least one batch of tokens is needed")
    if len({p.dim for p in parts}) > 1:
        raise InvalidArgument(f"batches have different dimensions {sorted({p.dim for p in parts})}")
    # A stored segment of empty documents has no columns.
    full = [p for p in parts if len(p.vectors)] or parts
    ragged = any(p.span_offsets is not None for p in full) and all(p.spans is not None for p in full)
    return Tokens(
        np.concatenate([p.vectors for p in parts]),
        chain([p.offsets for p in parts]),
        _join(full, "ids"),
        _join(full, "spans"),
        chain([_span_offsets(p) for p in full]) if ragged else None,
        _join(full, "weights"),
        _join(full, "roles"),
        _join(parts, "globals_"),
    )


def check(tokens: Tokens, dim: int | None = None, first: int = 0) -> Tokens:
    """Refuses tokens that no index could hold; gives them back with exact dtypes, each column in one piece.

    Args:
        first: the number of the first document in errors.

    Raises:
        InvalidArgument: names the column, and the document or row where there is one.
    """
    if not isinstance(tokens, Tokens):
        raise InvalidArgument(f"expected Tokens, got {type(tokens).__name__}; from_matrices makes Tokens of arrays")
    vectors = np.ascontiguousarray(tokens.vectors)
    if np.ndim(tokens.vectors) != 2 or vectors.dtype not in (np.float32, np.float16):
        shape = np.shape(tokens.vectors)
        raise InvalidArgument(f"vectors must be (n, dim) float32 or float16, got shape {shape} {vectors.dtype}")
    if dim is not None and vectors.shape[1] != dim:
        raise InvalidArgument(
            f"vectors have {vectors.shape[1]} dimensions, this collection has {dim}; use the same encoder"
        )
    offsets = check_offsets(tokens.offsets, len(vectors), "offsets", "document", first)
    check_finite(vectors, offsets, first)
    if vectors.size and float(np.abs(vectors).max()) > 65504:
        raise InvalidArgument("a vector exceeds 65504, the largest float16; normalise the vectors")
    rows, documents = (len(vectors),), len(offsets) - 1
    spans, span_offsets = _check_spans(tokens, len(vectors))
    globals_ = tokens.globals_
    if globals_ is not None and (np.ndim(globals_) != 2 or len(globals_) != documents):
        raise InvalidArgument(
            f"globals_ has {len(globals_)} rows for {documents} documents, shape {np.shape(globals_)}"
        )
    return Tokens(
        vectors,
        offsets,
        as_column(tokens.ids, "ids", np.uint32, rows),
        spans,
        span_offsets,
        as_column(tokens.weights, "weights", np.float32, rows),
        as_column(tokens.roles, "roles", np.uint8, rows, max(Role)),
        globals_,
    )


def _check_spans(tokens: Tokens, rows: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    if tokens.spans is None:
        if tokens.span_offsets is not None:
            raise InvalidArgument("span_offsets say where spans are, and there are none; give both or neither")
        return None, None
    offsets, count = tokens.span_offsets, rows
    if offsets is not None:
        if len(offsets) != rows + 1:
            raise InvalidArgument(
                f"span_offsets has {len(offsets)} entries for {rows} vectors; give one more than vectors"
            )
        offsets, count = check_offsets(offsets, len(tokens.spans), "span_offsets", "row"), len(tokens.spans)
    return as_column(tokens.spans, "spans", np.uint32, (count, 2)), offsets


def _pick(column: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if column is None else column[rows]


def _join(parts: Sequence[Tokens], name: str) -> np.ndarray | None:
    columns = [getattr(p, name) for p in parts]
    return None if any(c is None for c in columns) else np.concatenate(columns)


def chain(offsets: Sequence[np.ndarray]) -> np.ndarray:
    """Offsets of ragged parts laid end to end."""
    lengths = np.concatenate([np.diff(o) for o in offsets])
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _span_offsets(tokens: Tokens) -> np.ndarray:
    if tokens.span_offsets is not None:
        return tokens.span_offsets
    return np.arange((0 if tokens.spans is None else len(tokens.spans)) + 1, dtype=np.int64)


COLUMNS = tuple(f.name for f in fields(Tokens))
"""Every column's name, in order: what a segment may store."""
