"""Which segments lie on a device: while they fit into its budget; the CPU serves the rest, as one collection."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from functools import cache
from typing import Any
from weakref import WeakSet

import numpy as np

from ..index.errors import FailedPrecondition, InvalidArgument
from ..index.hits import Hits
from ..index.late.coded import CodedStore, load_flat, load_lists
from ..index.late.exact import ExactStore
from ..index.params import SearchParams
from ..index.search.part import TokenStore
from ..index.segments.segment import Segment
from ..index.tokens import Tokens

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_SHARE = 0.8
"""Of the memory that is free when the first segment comes; the rest is for queries, scores and encoders."""


class Placement:
    """Takes the place of segments' stores as they are opened, in that order, as long as there is room. A query reads
    every segment, so a segment is as hot as it is large, and which of them lie on the device matters little.
    """

    def __init__(self, device: str, memory: int | None = None):
        """
        Args:
            device: `cuda[:N]`, or `cpu`: the same plan in plain torch.
            memory: bytes that segments may take on the device, of all collections that this placement is given to;
                None: 0.8 of what is free when the first segment comes. More: more segments are served from the device;
                a segment whose rows do not fit keeps its codes there; one whose codes do not fit is served by the CPU.
        """
        if not _DEVICE.fullmatch(device):
            raise InvalidArgument(f"device is {device!r}; use cpu or cuda:N")
        if memory is not None and memory < 0:
            raise InvalidArgument(f"device memory is {memory} bytes; it must be at least 0, and 0 places nothing")
        self.device, self._memory = device, memory
        self._placed: WeakSet[Any] = WeakSet()
        self._lock = threading.RLock()

    @property
    def used(self) -> int:
        """Bytes that segments take on the device now."""
        with self._lock:
            return sum(placed.bytes for placed in self._placed)

    def __call__(self, segment: Segment, store: TokenStore) -> TokenStore:
        """The store of a segment that was just opened: on the device, or the one given.

        Raises:
            FailedPrecondition: there is no such device, or torch is missing.
        """
        if segment.folder is None or not (isinstance(store, CodedStore) or type(store) is ExactStore):
            return store
        torch = _torch(self.device)
        with self._lock:
            return self._place(torch, segment, store)

    def _place(self, torch: Any, segment: Segment, store: CodedStore | ExactStore) -> TokenStore:
        if self._memory is None:
            self._memory = int(_SHARE * torch.cuda.mem_get_info(self.device)[0]) if self.device != "cpu" else 1 << 62
        room = self._memory - self.used
        for made, size, source, rows in _ways(segment, store):
            if size(source, rows) > room:
                continue
            try:
                placed = made(source, self.device, rows)
            except torch.OutOfMemoryError:
                # Others use the device too: what fits by the budget may not fit in fact.
                return store
            self._placed.add(placed)
            return _seen(segment, store, placed)
        return store


def _ways(segment: Segment, store: CodedStore | ExactStore) -> list[tuple[Any, Any, Any, bool]]:
    """How a segment may lie on a device, best first: class, its size, what it is made of, whether rows come too."""
    from . import exact, flat, lists

    if isinstance(store, ExactStore):
        fits = segment.codec.precision in ("float16", "int8")
        return [(exact.placed, exact.size, segment, True)] if fits else []
    if store.probes:
        source = load_lists(segment)
        return [(lists.DeviceLists, lists.size, source, rows) for rows in (True, False)]
    source = load_flat(segment)
    return [(flat.DeviceFlat, flat.size, source, rows) for rows in (True, False)]


def _seen(segment: Segment, store: CodedStore | ExactStore, placed: Any) -> CodedStore | ExactStore:
    exact = ExactStore(segment, scanner=placed.exact)
    if isinstance(store, ExactStore):
        return exact

    def plan(queries: Tokens, k: int, params: SearchParams, allowed: np.ndarray | None) -> list[Hits]:
        return placed.plan(queries, k, params, allowed, store.threads)

    few = store.few if placed.exact is None else placed.exact.few
    return replace(store, exact=exact, plan=plan, few=few)


def placement(device: str, memory: int | None = None) -> Placement | None:
    """This process's placement on a device within so much memory: every collection opened with both shares its budget.

    None on the CPU, whose own plans are faster than torch there.
    """
    check_device(device)
    if device == "cpu":
        return None
    with _one:
        return _shared("cuda:0" if device == "cuda" else device, memory)


_one, _shared = threading.Lock(), cache(Placement)


def check_device(device: str) -> None:
    """Before any work: whether this machine has the device.

    Raises:
        InvalidArgument: neither `cpu` nor `cuda[:N]`.
        FailedPrecondition: torch is missing, or sees no such GPU.
    """
    if not _DEVICE.fullmatch(device):
        raise InvalidArgument(f"device is {device!r}; use cpu or cuda:N")
    if device != "cpu":
        _torch(device)


def _torch(device: str):
    try:
        import torch
    except ImportError:
        raise FailedPrecondition("a device needs torch: pip install 'plait[gpu-cu13]'; see `plait doctor`") from None
    if device != "cpu":
        count, number = torch.cuda.device_count(), int(device.partition(":")[2] or 0)
        if number >= count:
            raise FailedPrecondition(f"device is {device!r}, and torch sees {count} GPUs; see `plait doctor`")
    return torch
