"""Matrices on the wire: bytes with a type and a shape, every length checked before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...index.terms import Terms
from ...index.tokens import Tokens, chain, from_matrices
from ..limits import BadField, Limits
from ..wire import vectors_pb2 as wire

_TYPES = {
    wire.D_TYPE_FLOAT32: np.dtype("<f4"),
    wire.D_TYPE_FLOAT16: np.dtype("<f2"),
    wire.D_TYPE_BFLOAT16: np.dtype("<u2"),
    wire.D_TYPE_INT8: np.dtype("<i1"),
}
_COLUMNS = {"ids": np.dtype("<u4"), "weights": np.dtype("<f4"), "roles": np.dtype("<u1")}


def write_tensor(matrix: np.ndarray) -> wire.Tensor:
    """(rows, cols) float16 or float32."""
    half = matrix.dtype == np.float16
    dtype = wire.D_TYPE_FLOAT16 if half else wire.D_TYPE_FLOAT32
    data = np.ascontiguousarray(matrix, _TYPES[dtype]).tobytes()
    return wire.Tensor(data=data, dtype=dtype, rows=matrix.shape[0], cols=matrix.shape[1])


def read_tensor(tensor: wire.Tensor, field: str) -> np.ndarray:
    """(rows, cols) float16 or float32; bfloat16 becomes float32, int8 float16, both without loss.

    Raises:
        BadField: no such type, or data of another length than the shape says.
    """
    dtype = _TYPES.get(tensor.dtype)
    if dtype is None:
        raise BadField(f"{field}.dtype", f"{field}.dtype is {tensor.dtype}; choose float32, float16, bfloat16 or int8")
    expected = tensor.rows * tensor.cols * dtype.itemsize
    if len(tensor.data) != expected:
        shape = f"{tensor.rows} x {tensor.cols} {wire.DType.Name(tensor.dtype)}"
        raise BadField(f"{field}.data", f"{field}.data has {len(tensor.data)} bytes; {shape} needs {expected}")
    values = np.frombuffer(tensor.data, dtype).reshape(tensor.rows, tensor.cols)
    if tensor.dtype == wire.D_TYPE_BFLOAT16:
        return (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float16) if tensor.dtype == wire.D_TYPE_INT8 else values


def write_vector(tokens: Tokens, document: int) -> wire.Tensor | None:
    """The global vector of one document, a row."""
    return None if tokens.globals_ is None else write_tensor(tokens.globals_[document : document + 1])


def read_vectors(given: Sequence[wire.Tensor], limits: Limits, field: str) -> np.ndarray:
    """(documents, dimensions) global vectors. BadField: what `read_tensor` refuses, or
    not one row each, equally long."""
    for one in given:
        limits.check("dim", one.cols, f"{field}.cols", least=1)
        if one.rows != 1 or one.cols != given[0].cols:
            raise BadField(field, f"{field} is {one.rows} x {one.cols}; give one row, as long as the others of a batch")
    return np.concatenate([read_tensor(one, field) for one in given])


def write_tokens(tokens: Tokens, document: int) -> wire.TokenVectors:
    """The tokens of one document with all columns that the wire has."""
    one = tokens if len(tokens) == 1 else tokens.take([document])
    made = wire.TokenVectors(vectors=write_tensor(one.vectors))
    for name, dtype in _COLUMNS.items():
        column = getattr(one, name)
        if column is not None:
            setattr(made, name, np.ascontiguousarray(column, dtype).tobytes())
    if one.spans is not None:
        made.spans = np.ascontiguousarray(one.spans, "<u4").tobytes()
    if one.span_offsets is not None:
        made.span_offsets = np.ascontiguousarray(one.span_offsets, "<u4").tobytes()
    return made


def read_tokens(given: Sequence[wire.TokenVectors], limits: Limits, longest: str, field: str) -> Tokens:
    """Documents or queries as one `Tokens`; `longest` names the limit of their lengths.

    Raises:
        BadField: what `read_tensor` refuses, columns of a wrong length, or not the same columns everywhere.
    """
    matrices, columns = [], []
    for i, one in enumerate(given):
        at = f"{field}[{i}]" if len(given) > 1 else field
        limits.check(longest, one.vectors.rows, f"{at}.vectors.rows")
        limits.check("dim", one.vectors.cols, f"{at}.vectors.cols", least=1)
        matrices.append(read_tensor(one.vectors, f"{at}.vectors"))
        columns.append(_columns(one, at))
    plain = from_matrices(matrices, given[0].vectors.cols)
    named = {k for c in columns for k in c}
    if any(c.keys() != named for c in columns):
        raise BadField(field, f"{field}: give all documents the same columns; some lack one of {sorted(named)}")
    joined = {name: np.concatenate([c[name] for c in columns]) for name in named - {"span_offsets"}}
    offsets = chain([c["span_offsets"] for c in columns]) if "span_offsets" in named else None
    return Tokens(plain.vectors, plain.offsets, **joined, span_offsets=offsets)


def _columns(one: wire.TokenVectors, at: str) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    rows = one.vectors.rows
    for name, dtype in _COLUMNS.items():
        if one.HasField(name):
            found[name] = _column(getattr(one, name), dtype, rows, f"{at}.{name}")
    spans = rows
    if one.HasField("span_offsets"):
        offsets = _column(one.span_offsets, np.dtype("<u4"), rows + 1, f"{at}.span_offsets").astype(np.int64)
        _rising(offsets, f"{at}.span_offsets")
        found["span_offsets"], spans = offsets, int(offsets[-1])
    if one.HasField("span_offsets") and not one.HasField("spans"):
        raise BadField(
            f"{at}.spans", f"{at}.spans is absent, and span_offsets say where they are; give both or neither"
        )
    if one.HasField("spans"):
        found["spans"] = _column(one.spans, np.dtype("<u4"), 2 * spans, f"{at}.spans").reshape(-1, 2)
    if "roles" in found and found["roles"].size and int(found["roles"].max()) > 7:
        raise BadField(f"{at}.roles", f"{at}.roles holds {int(found['roles'].max())}; roles go from 0 to 7")
    return found


def _column(data: bytes, dtype: np.dtype, count: int, field: str) -> np.ndarray:
    if len(data) != count * dtype.itemsize:
        raise BadField(field, f"{field} has {len(data)} bytes; {count} entries need {count * dtype.itemsize}")
    return np.frombuffer(data, dtype)


def _rising(offsets: np.ndarray, field: str) -> None:
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise BadField(field, f"{field} must begin with 0 and never fall")


def write_terms(terms: Terms, query: int) -> wire.SparseVectors:
    """The sparse rows of one query."""
    rows: Any = terms.take([query]).rows
    columns = {"offsets": ("<u4", rows.indptr), "keys": ("<u4", rows.indices), "weights": ("<f4", rows.data)}
    made = {name: np.ascontiguousarray(column, dtype).tobytes() for name, (dtype, column) in columns.items()}
    return wire.SparseVectors(**made, key_space=terms.keys)


def read_terms(given: Sequence[wire.SparseVectors], limits: Limits, field: str) -> Terms:
    """Queries as one `Terms`, a row each, or several where one of them has several.

    Raises:
        BadField: lengths that contradict each other, keys outside of their space, too many of them.
    """
    from scipy import sparse

    offsets, keys, weights, spaces = [], [], [], {one.key_space for one in given}
    if len(spaces) != 1 or not 0 < min(spaces) <= 1 << 32:
        raise BadField(f"{field}.key_space", f"{field}.key_space is {sorted(spaces)}; give one, from 1 to {1 << 32}")
    for one in given:
        limits.check("sparse_keys", len(one.keys) // 4, f"{field}.keys")
        if len(one.offsets) < 8 or len(one.offsets) % 4:
            raise BadField(f"{field}.offsets", f"{field}.offsets has {len(one.offsets)} bytes; give rows + 1 uint32")
        bounds = np.frombuffer(one.offsets, "<u4").astype(np.int64)
        _rising(bounds, f"{field}.offsets")
        offsets.append(bounds)
        keys.append(_column(one.keys, np.dtype("<u4"), int(bounds[-1]), f"{field}.keys"))
        weights.append(_column(one.weights, np.dtype("<f4"), int(bounds[-1]), f"{field}.weights"))
        if len(keys[-1]) and int(keys[-1].max()) >= one.key_space:
            raise BadField(f"{field}.keys", f"{field}.keys holds {keys[-1].max()}; key_space is {one.key_space}")
    indptr, shape = chain(offsets), (sum(len(o) - 1 for o in offsets), spaces.pop())
    rows = sparse.csr_array((np.concatenate(weights), np.concatenate(keys).astype(np.int64), indptr), shape=shape)
    counts = [len(o) - 1 for o in offsets]
    return Terms(rows, None if set(counts) == {1} else np.cumsum([0, *counts]).astype(np.int64))
