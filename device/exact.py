"""The exact plan on a device: every row lies in its memory, and every document is scored."""

from __future__ import annotations

import numpy as np
import torch

from ..index.hits import Hits
from ..index.scoring import SearchParams
from ..index.segment import Segment
from .records import Records
from .records import size as records_size


class DeviceExact:
    """A segment's rows, float16 or int8, on a device. Positions number its documents from 0."""

    def __init__(self, segment: Segment, device: str, rows: bool = True):
        """
        Raises:
            torch.OutOfMemoryError: the device has no room.
        """
        tokens = segment.tokens
        self.device = torch.device(device)
        self.records = Records(segment.codec, tokens.vectors, tokens.offsets, self.device, rows)
        self.bytes = self.records.bytes
        self._filled = np.diff(tokens.offsets) > 0

    def plan(self, query: np.ndarray, k: int, params: SearchParams, allowed: np.ndarray | None, threads: int) -> Hits:
        """As `index.coded.Plan`; sums are float32, in another order than the CPU's."""
        positions = np.flatnonzero(self._filled if allowed is None else self._filled & allowed)
        chosen = torch.from_numpy(positions).to(self.device)
        return self.records.best(chosen, torch.ones_like(chosen, dtype=torch.bool), query, k, threads)


def size(segment: Segment, rows: bool) -> int:
    """Bytes that a segment takes on a device."""
    return records_size(segment.codec, segment.tokens.vectors, segment.tokens.offsets, rows)
