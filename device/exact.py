"""Exact search on a device: every row lies in its memory, and whole documents or single tokens
are compared with all of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..index.hits import Hits, best
from ..index.segments.segment import Segment
from ..index.tokens import Tokens
from .records import Records, greatest
from .records import size as records_size

_PAIRS = 1 << 22
"""Scores of queries and documents made at a time."""
_FLOATS = 1 << 24
"""Widened values of rows, or their products with query rows, held at a time."""
_FEW = 256
"""Of so many documents one is worth scoring by its rows, before all are looked at."""


class DeviceExact:
    """A segment's rows, float16 or int8, on a device (`index.exact.Scanner`). Positions number its documents from 0.

    Sums are float32, in another order than the CPU's.
    """

    def __init__(self, records: Records):
        self.records = records

    @property
    def bytes(self) -> int:
        return self.records.bytes

    @property
    def exact(self) -> DeviceExact:
        return self

    def few(self, allowed: np.ndarray | None, candidates: int) -> bool:
        """Whether scoring all allowed documents costs no more than choosing so many candidates among all."""
        return allowed is not None and int(np.count_nonzero(allowed)) <= max(candidates, len(allowed) // _FEW)

    def scan(self, queries: Tokens, k: int, allowed: np.ndarray | None) -> list[Hits]:
        """The k best documents of every query, by position. Only the best of every 4 M
        scores come back from the device."""
        places: list[Tensor] = []
        scores: list[Tensor] = []
        open_ = self.records.open(None if allowed is None else self.records.brought(allowed))
        step = max(1, _PAIRS // max(1, len(queries)))
        for start in range(0, len(open_), step):
            if allowed is not None and not allowed[start : start + step].any():
                continue
            positions = start + open_[start : start + step].nonzero()[:, 0]
            found = self.records.scores(queries, positions.expand(len(queries), -1))
            at, _ = greatest(found, None, k)
            places.append(positions[at])
            scores.append(found.gather(1, at))
        if not places:
            return [Hits(np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in range(len(queries))]
        lines = zip(torch.cat(places, 1).cpu().numpy(), torch.cat(scores, 1).cpu().numpy(), strict=True)
        return [best(docs, values, k) for docs, values in lines]

    def search_tokens(
        self, queries: np.ndarray, k_token: int, rows: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `index.exact.search_tokens`, products in float32. What exceeds the k-th best so far is all that is kept of
        a chunk."""
        asked, stored, scales = self.records.brought(queries), self.records.rows, self.records.scales
        assert stored is not None
        kept = asked.new_zeros((len(asked), 0))
        places = kept.long()
        step = max(1, _FLOATS // max(1, *queries.shape))
        for start in range(0, len(stored), step):
            mine: slice | Tensor = slice(start, min(start + step, len(stored)))
            if rows is not None:
                if not rows[mine].any():
                    continue
                mine = start + self.records.brought(rows[mine]).nonzero()[:, 0]
            block = stored[mine].float() if scales is None else stored[mine].float() * scales[mine, None]
            cut = kept.amin(1) if kept.shape[1] == k_token else kept.new_full((len(asked),), -torch.inf)
            more, columns = _above(asked @ block.T, cut)
            numbers = start + columns if isinstance(mine, slice) else mine[columns]
            kept, places = torch.cat([kept, more], 1), torch.cat([places, numbers], 1)
            # Rows rise in every line, so that the earlier of equals has the lower row.
            at, _ = greatest(kept, None, k_token)
            kept, places = kept.gather(1, at), places.gather(1, at)
        kept, order = kept.sort(dim=1, descending=True, stable=True)
        places = places.gather(1, order).masked_fill_(kept == -torch.inf, -1)
        return kept.cpu().numpy(), places.cpu().numpy()


def placed(segment: Segment, device: str, rows: bool) -> DeviceExact:
    """Brings a segment's rows. torch.OutOfMemoryError: the device has no room."""
    tokens = segment.tokens
    return DeviceExact(Records(segment.codec, tokens.vectors, tokens.offsets, torch.device(device), rows))


def size(segment: Segment, rows: bool) -> int:
    """Bytes that a segment takes on a device."""
    return records_size(segment.codec, segment.tokens.vectors, segment.tokens.offsets, rows)


def _above(products: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of each line (lines, n) that exceed its cut (lines,), packed to the left, and their columns; minus
    infinity and 0 fill up. An entry equal to the cut loses to those kept before, whose rows are lower.
    """
    line, column = (products > cut[:, None]).nonzero(as_tuple=True)
    counts = torch.bincount(line, minlength=len(products))
    place = torch.arange(len(line), device=line.device) - (counts.cumsum(0) - counts)[line]
    shape = len(products), int(counts.max()) if len(products) else 0
    values, columns = products.new_full(shape, -torch.inf), line.new_zeros(shape)
    values[line, place], columns[line, place] = products[line, column], column
    return values, columns
