"""Texts through a transformer in padded batches, and what comes out as sparse rows: the
part that all families share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ...index.stopping import steps
from ...index.terms import Terms
from .encoded import encoded
from .forked import claim_torch


@dataclass(frozen=True, eq=False)
class Model:
    """A transformer with its head."""

    run: Callable[[Tensor, Tensor], Tensor]
    """Ids and mask (texts, positions) to output (texts, positions, width), in the precision that the model has."""
    device: str
    pad: int
    budget: int
    """Padded tokens of one batch. Larger: fewer calls; memory grows with it and with the output's width."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Output of a model for some texts. What lies under `mask` = False is padding and must not reach any value."""

    numbers: list[int]
    """Which texts these are."""
    ids: np.ndarray
    """(texts, positions) int64."""
    mask: Tensor
    """(texts, positions) bool."""
    output: Tensor
    """(texts, positions, width) in the precision of the model."""

    @property
    def tokens(self) -> np.ndarray:
        """(texts, positions) bool: the text's tokens after the first, [CLS]; the last, [SEP], stays."""
        mask = self.mask.cpu().numpy().copy()
        mask[:, 0] = False
        return mask


Pool = Callable[[Batch], Terms]


@dataclass(frozen=True, eq=False)
class Loaded:
    """What a family makes of a checkpoint folder; the sides take one text or more."""

    keys: int
    lengths: tuple[int, int]
    """Of queries and of documents."""
    documents: Callable[[Sequence[str]], Terms]
    queries: Callable[[Sequence[str]], Terms]
    names: Callable[[Iterable[int]], list[str]]
    both: Callable[[Sequence[str], str], tuple[Terms, np.ndarray]] | None = None
    """Terms and (texts, dim) float32 vectors of a side, `query` or `document`, where the family has both."""
    vector: int = 0
    """The vectors' dimensions."""


def batches(model: Model, lines: Sequence[Sequence[int]]) -> Iterator[Batch]:
    """Runs lines of ids by rising length, so that little is padded; a batch stays within the model's budget."""
    for numbers in steps(by_length([len(line) for line in lines], model.budget)):
        yield _run(model, lines, numbers)
        encoded(len(numbers))


def by_length(sizes: Sequence[int] | np.ndarray, budget: int) -> Iterator[list[int]]:
    """Numbers of texts by rising size, cut so that a batch padded to its longest stays within the budget."""
    batch: list[int] = []
    for i in np.argsort(sizes, kind="stable").tolist():
        if batch and (len(batch) + 1) * sizes[i] > budget:
            yield batch
            batch = []
        batch.append(i)
    yield batch


def moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    """On a device; to a GPU through pinned memory, without waiting for it."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def precision(dtype: str | None, device: str, architecture: str) -> torch.dtype:
    """What a model runs in: as asked, or float32 on a CPU and float16 on a GPU, but for T5,
    whose activations exceed float16."""
    if dtype is not None:
        return getattr(torch, dtype)
    if torch.device(device).type != "cuda":
        return torch.float32
    return torch.bfloat16 if "t5" in architecture else torch.float16


def placed(model: Any, dtype: str | None, device: str) -> Any:
    """A transformer with its `config` on a device, in the `precision` that it runs in there."""
    return model.to(device, precision(dtype, device, model.config.model_type))


def encode(model: Model, lines: Sequence[Sequence[int]], pool: Pool) -> Terms:
    """Pooled outputs in the order of the lines, of which there must be one."""
    numbers: list[int] = []
    parts: list[Terms] = []
    for batch in batches(model, lines):
        parts.append(pool(batch))
        numbers += batch.numbers
    return joined(parts).take(np.argsort(numbers))


def joined(parts: Sequence[Terms]) -> Terms:
    """One after the other."""
    rows = sparse.csr_array(sparse.vstack([part.rows for part in parts], format="csr"))
    lengths = [np.diff(part.offsets) for part in parts if part.offsets is not None]
    return Terms(rows, _offsets(np.concatenate(lengths)) if lengths else None)


def dense_rows(values: Tensor, lengths: np.ndarray | None = None) -> Terms:
    """Terms of a dense (n, keys) matrix; `lengths`: rows of each text, None: one row each."""
    # Only what is not 0 leaves the device.
    rows, keys = values.nonzero(as_tuple=True)
    weights = values[rows, keys].float().cpu().numpy()
    starts = _offsets(rows.bincount(minlength=len(values)).cpu().numpy()).astype(np.int32)
    found = sparse.csr_array((weights, keys.int().cpu().numpy(), starts), shape=tuple(values.shape))
    return Terms(found, None if lengths is None else _offsets(lengths))


def masked_max(batch: Batch) -> Tensor:
    """(texts, width) float32: the maximum over a text's own positions. The output's padding is overwritten."""
    with torch.inference_mode():
        # In place, because a copy of an output as wide as a vocabulary takes as long as half its computation.
        batch.output[~batch.mask] = -torch.inf
        # A maximum is a value of the output, so it loses nothing in half precision; what follows it would.
        return batch.output.amax(dim=1).float()


def largest(values: Tensor, top: int | None) -> Tensor:
    """The `top` largest entries of each row, those tied with the last of them too; the others become 0. A NaN stays."""
    if top is None or top >= values.shape[-1]:
        return values
    least = values.topk(top, dim=-1).values[..., -1:]
    return torch.where(values < least, 0, values)


def by_id(texts: np.ndarray, ids: np.ndarray, weights: np.ndarray, shape: tuple[int, int], reduce: str) -> Terms:
    """Terms from token weights: for every text and id the `max` or `sum` of its occurrences; zeros are dropped.

    Args:
        texts, ids: (n,) row and key of each occurrence.
        weights: (n,) float32, none below 0.
    """
    cells, place = np.unique(texts * shape[1] + ids, return_inverse=True)
    values = np.zeros(len(cells), np.float32)
    (np.maximum if reduce == "max" else np.add).at(values, place, weights)
    rows = sparse.csr_array((values, (cells // shape[1], cells % shape[1])), shape=shape)
    rows.eliminate_zeros()
    return Terms(rows)


def count(lines: Sequence[Sequence[int]], keys: int) -> Terms:
    """How often each id occurs in each line."""
    texts = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    ids = np.array([i for line in lines for i in line], np.int64)
    return by_id(texts, ids, np.ones(len(ids), np.float32), (len(lines), keys), "sum")


def _run(model: Model, lines: Sequence[Sequence[int]], numbers: list[int]) -> Batch:
    claim_torch()
    longest = len(lines[numbers[-1]])
    ids = np.full((len(numbers), longest), model.pad, np.int64)
    mask = np.zeros((len(numbers), longest), bool)
    for row, number in enumerate(numbers):
        ids[row, : len(lines[number])] = lines[number]
        mask[row, : len(lines[number])] = True
    places = moved(torch.from_numpy(mask), model.device)
    with torch.inference_mode():
        output = model.run(moved(torch.from_numpy(ids), model.device), places)
    return Batch(numbers, ids, places, output)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
