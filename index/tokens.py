"""`Tokens`: the ragged matrix that travels from the encoder to the segment and back."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .errors import InvalidArgument


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


def from_matrices(matrices: Sequence[np.ndarray], dim: int | None = None) -> Tokens:
    """Packs one (tokens, dim) matrix per document. `dim` is needed only when every document is empty."""
    matrices = [np.asarray(m) for m in matrices]
    for i, m in enumerate(matrices):
        if m.ndim != 2:
            raise InvalidArgument(f"document {i}: expected a (tokens, dim) matrix, got shape {m.shape}")
    dims = {m.shape[1] for m in matrices if len(m)} or {dim or 0}
    if len(dims) > 1:
        raise InvalidArgument(f"documents have different dimensions {sorted(dims)}; one collection holds one dimension")
    width = dims.pop()
    offsets = np.zeros(len(matrices) + 1, np.int64)
    np.cumsum([len(m) for m in matrices], out=offsets[1:])
    half = bool(matrices) and all(m.dtype == np.float16 for m in matrices)
    vectors = np.empty((int(offsets[-1]), width), np.float16 if half else np.float32)
    for i, m in enumerate(matrices):
        if len(m):
            vectors[offsets[i] : offsets[i + 1]] = m
    return Tokens(vectors, offsets)


def from_vectors(vectors: np.ndarray) -> Tokens:
    """One global vector for each document or query, (documents, g) float32 or float16, and no tokens."""
    vectors = np.asarray(vectors)
    if vectors.ndim != 2:
        raise InvalidArgument(f"vectors must be (documents, dimensions), got shape {vectors.shape}")
    return Tokens(np.zeros((0, 0), np.float16), np.zeros(len(vectors) + 1, np.int64), globals_=vectors)


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
    """Joins batches of documents. A column stays when every part that has tokens has it; spans follow the raggedest part."""
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
    """Refuses tokens that no index could hold; gives them back with exact dtypes. `first` numbers the documents in errors."""
    vectors, offsets = np.asarray(tokens.vectors), np.asarray(tokens.offsets, np.int64)
    if vectors.ndim != 2 or vectors.dtype not in (np.float32, np.float16):
        raise InvalidArgument(f"vectors must be (n, dim) float32 or float16, got shape {vectors.shape} {vectors.dtype}")
    if dim is not None and vectors.shape[1] != dim:
        raise InvalidArgument(
            f"vectors have {vectors.shape[1]} dimensions, this collection has {dim}; use the same encoder"
        )
    if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(vectors):
        raise InvalidArgument(f"offsets must run from 0 to {len(vectors)}, the number of vectors")
    if (np.diff(offsets) < 0).any():
        raise InvalidArgument(f"offsets fall at document {first + int(np.argmax(np.diff(offsets) < 0))}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        document = first + int(np.searchsorted(offsets, row, side="right")) - 1
        raise InvalidArgument(
            f"document {document} has NaN or infinity in token {row - int(offsets[document - first])}"
        )
    if vectors.size and float(np.abs(vectors).max()) > 65504:
        raise InvalidArgument("a vector exceeds 65504, the largest float16; normalise the vectors")
    for name in ("ids", "weights", "roles"):
        column = getattr(tokens, name)
        if column is not None and len(column) != len(vectors):
            raise InvalidArgument(f"{name} has {len(column)} entries for {len(vectors)} vectors")
    if tokens.globals_ is not None and len(tokens.globals_) != len(offsets) - 1:
        raise InvalidArgument(f"globals_ has {len(tokens.globals_)} rows for {len(offsets) - 1} documents")
    spans = _span_offsets(tokens)
    if tokens.spans is not None and (len(spans) != len(vectors) + 1 or spans[-1] != len(tokens.spans)):
        raise InvalidArgument(f"spans ({len(tokens.spans)}) do not match the {len(vectors)} vectors")
    return replace(tokens, vectors=vectors, offsets=offsets)


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
