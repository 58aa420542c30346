"""`plait::maxsim`: late interaction between ragged queries and candidates as one operation
of torch, whatever the device.

    score(q, d) = sum_i max_{j in d} q_i . d_j

On the CPU it runs the index's own kernels, on CUDA the Triton kernel of `row_kernel.py`, and where neither fits (rows
in float32 or bfloat16 on a CPU, matches on a CPU, CUDA without Triton) the torch of `reference.py`. Nothing is padded:
queries, documents and candidates are packed one after the other with int64 offsets.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from ..index.errors import InvalidArgument
from ..index.kernels import rows as row_kernels
from . import reference

_LIBRARY = torch.library.Library("plait", "DEF")
_LIBRARY.define(
    "maxsim(Tensor query, Tensor query_offsets, Tensor rows, Tensor? scales, Tensor offsets, Tensor candidates,"
    " Tensor candidate_offsets, int width=0) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
_FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def maxsim(
    query: Tensor,
    rows: Tensor,
    offsets: Tensor,
    candidates: Tensor,
    *,
    scales: Tensor | None = None,
    query_offsets: Tensor | None = None,
    candidate_offsets: Tensor | None = None,
) -> Tensor:
    """(candidates,) float32 scores. Minus infinity for a document without tokens. All tensors lie on one device.

    Products are of the values as given and sums are float32, on every backend. (On CUDA a float32 query meets 16-bit or
    int8 rows in several 16-bit parts, which carry 22 of its 24 bits for float16 and int8 rows, all for bfloat16.)

    Args:
        query: (query tokens, dim) float32, float16 or bfloat16.
        rows: (tokens, dim) of the same types, or int8 with scales.
        offsets: (documents + 1,) int64: document d is rows[offsets[d]:offsets[d + 1]].
        candidates: (candidates,) int64 document numbers, any order, repeated or not. They are not checked.
        scales: (tokens,) float32: row r stands for scales[r] * rows[r].
        query_offsets: (queries + 1,) int64 into `query`; None: it is one query.
        candidate_offsets: (queries + 1,) int64 into `candidates`: which ones each query is scored with.

    Raises:
        InvalidArgument: types, shapes or devices that do not fit each other.
    """
    return _call(query, rows, offsets, candidates, scales, query_offsets, candidate_offsets, 0)[0]


def align(
    query: Tensor,
    rows: Tensor,
    offsets: Tensor,
    candidates: Tensor,
    width: int,
    *,
    scales: Tensor | None = None,
    query_offsets: Tensor | None = None,
    candidate_offsets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As `maxsim`, and which token each query token met: (candidates, width) int32 positions within the document.

    The first of equals; -1 beyond a query's length and where the document has no tokens. `width` is at least the
    longest query's length.
    """
    return _call(query, rows, offsets, candidates, scales, query_offsets, candidate_offsets, width)


def _call(
    query: Tensor,
    rows: Tensor,
    offsets: Tensor,
    candidates: Tensor,
    scales: Tensor | None,
    query_offsets: Tensor | None,
    candidate_offsets: Tensor | None,
    width: int,
) -> tuple[Tensor, Tensor]:
    if (query_offsets is None) != (candidate_offsets is None):
        raise InvalidArgument("give both query_offsets and candidate_offsets, or neither for a single query")
    if query_offsets is None:
        query_offsets, candidate_offsets = _ends(query), _ends(candidates)
    return torch.ops.plait.maxsim(query, query_offsets, rows, scales, offsets, candidates, candidate_offsets, width)


def _ends(packed: Tensor) -> Tensor:
    return torch.tensor([0, len(packed)], dtype=torch.int64, device=packed.device)


def _check(
    query: Tensor,
    query_offsets: Tensor,
    rows: Tensor,
    scales: Tensor | None,
    offsets: Tensor,
    candidates: Tensor,
    candidate_offsets: Tensor,
    width: int,
) -> None:
    if query.ndim != 2 or rows.ndim != 2 or query.shape[1] != rows.shape[1]:
        raise InvalidArgument(f"query is {tuple(query.shape)}, rows {tuple(rows.shape)}; both must be (n, dim)")
    if query.dtype not in _FLOATS or rows.dtype not in (*_FLOATS, torch.int8):
        raise InvalidArgument(f"query is {query.dtype}, rows {rows.dtype}; floats of 16 or 32 bits, rows also int8")
    if (scales is None) == (rows.dtype == torch.int8):
        raise InvalidArgument(f"rows are {rows.dtype}; int8 rows need scales, others have none")
    if scales is not None and (scales.dtype != torch.float32 or scales.shape != rows.shape[:1]):
        raise InvalidArgument(
            f"scales are {tuple(scales.shape)} {scales.dtype}; they must be float32, one for each row"
        )
    for name, numbers in (
        ("query_offsets", query_offsets),
        ("offsets", offsets),
        ("candidates", candidates),
        ("candidate_offsets", candidate_offsets),
    ):
        if numbers.ndim != 1 or numbers.dtype != torch.int64:
            raise InvalidArgument(f"{name} is {tuple(numbers.shape)} {numbers.dtype}; it must be (n,) int64")
    if query_offsets.shape != candidate_offsets.shape:
        raise InvalidArgument(
            f"query_offsets has {len(query_offsets)} entries, candidate_offsets {len(candidate_offsets)}; one query each"
        )
    if width < 0:
        raise InvalidArgument(f"width is {width}; it must be the longest query's length, or 0 for no matches")
    devices = {t.device for t in (query, query_offsets, rows, offsets, candidates, candidate_offsets)}
    if len(devices) > 1:
        raise InvalidArgument(f"tensors lie on {', '.join(sorted(map(str, devices)))}; bring them to one device")


def _fake(
    query: Tensor,
    query_offsets: Tensor,
    rows: Tensor,
    scales: Tensor | None,
    offsets: Tensor,
    candidates: Tensor,
    candidate_offsets: Tensor,
    width: int = 0,
) -> tuple[Tensor, Tensor]:
    _check(query, query_offsets, rows, scales, offsets, candidates, candidate_offsets, width)
    return reference.outputs(candidates, width)


def _cpu(
    query: Tensor,
    query_offsets: Tensor,
    rows: Tensor,
    scales: Tensor | None,
    offsets: Tensor,
    candidates: Tensor,
    candidate_offsets: Tensor,
    width: int = 0,
) -> tuple[Tensor, Tensor]:
    arguments = query, query_offsets, rows, scales, offsets, candidates, candidate_offsets, width
    _check(*arguments)
    if width or rows.dtype not in (torch.float16, torch.int8):
        return reference.maxsim(*arguments)
    scores, matches = reference.outputs(candidates, width)
    values = rows.contiguous().numpy()
    stored = (
        row_kernels.half_rows(values) if scales is None else row_kernels.byte_rows(values, scales.contiguous().numpy())
    )
    bounds, asked, chosen = query_offsets.tolist(), candidate_offsets.tolist(), candidates.numpy()
    for q in range(len(bounds) - 1):
        mine = slice(asked[q], asked[q + 1])
        one = query[bounds[q] : bounds[q + 1]].float().numpy()
        found = row_kernels.row_scores(
            stored, offsets.numpy(), chosen[mine], one, np.array([0, len(one)]), threads=torch.get_num_threads()
        )
        scores[mine] = torch.from_numpy(found[:, 0])
    return scores, matches


def _cuda(
    query: Tensor,
    query_offsets: Tensor,
    rows: Tensor,
    scales: Tensor | None,
    offsets: Tensor,
    candidates: Tensor,
    candidate_offsets: Tensor,
    width: int = 0,
) -> tuple[Tensor, Tensor]:
    arguments = query, query_offsets, rows, scales, offsets, candidates, candidate_offsets, width
    _check(*arguments)
    if find_spec("triton") is None:
        return reference.maxsim(*arguments)
    from . import row_kernel

    return row_kernel.maxsim(*arguments)


_LIBRARY.impl("maxsim", _cpu, "CPU")
_LIBRARY.impl("maxsim", _cuda, "CUDA")
torch.library.register_fake("plait::maxsim", _fake, lib=_LIBRARY)
