"""Health/Watch: streams that are told a state and its changes. None holds a thread, and their number has a bound."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2 as wire

from ...index.errors import Overloaded, Unavailable
from ..rpc.read_timeout import ReadTimeout

_TAKE_S = 2.0
"""The longest that one client may take to accept a message. The others wait meanwhile."""


@dataclass
class _Watch:
    name: str
    context: grpc.ServicerContext
    peer: str
    send: Callable[[Any], None]
    """Sends a message; None: ends the stream."""
    told: int | None = None


class Watches:
    """One thread tells all of them."""

    def __init__(self, state: Callable[[str], int], most: int, peer_most: int):
        """
        Args:
            state: of a name, known or not.
            most: streams that may be open; `peer_most`: of one address.
        """
        self._state, self._most, self._peer_most = state, most, peer_most
        self._open: dict[int, _Watch] = {}
        self._peers: Counter[str] = Counter()
        self._lock, self._ended = threading.Lock(), False
        self._changed = threading.Event()
        self._taking = ReadTimeout(_TAKE_S, "Watch", "")
        self._thread = threading.Thread(target=self._tell, name="plait-watches", daemon=True)
        self._thread.start()

    def add(self, name: str, context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
        """Tells a new stream the state of this name. Overloaded: too many are open. Unavailable: the server ends."""
        # Without the port: each stream of a client may have a connection of its own.
        watch = _Watch(name, context, context.peer().rpartition(":")[0], send)
        with self._lock:
            if self._ended:
                raise Unavailable("the server ends; ask another one")
            if len(self._open) >= self._most:
                raise Overloaded(f"{self._most} Watch streams are open, the limit (watches); end one, or call Check")
            if self._peers[watch.peer] >= self._peer_most:
                raise Overloaded(
                    f"{self._peer_most} Watch streams of this address are open, the limit (peer_watches); end one, or call Check"
                )
            self._open[id(watch)] = watch
            self._peers[watch.peer] += 1
        if not context.add_callback(lambda: self._remove(watch)):
            self._remove(watch)
        self._changed.set()

    def changed(self) -> None:
        """Tells all whose state is another than they were told."""
        self._changed.set()

    def end(self) -> None:
        """Tells all their last state, and ends them."""
        with self._lock:
            self._ended = True
        self._changed.set()

    def _remove(self, watch: _Watch) -> None:
        with self._lock:
            if self._open.pop(id(watch), None) is None:
                return
            self._peers[watch.peer] -= 1
            if not self._peers[watch.peer]:
                del self._peers[watch.peer]

    def _tell(self) -> None:
        ended = False
        while not ended:
            self._changed.wait()
            self._changed.clear()
            with self._lock:
                ended, watches = self._ended, list(self._open.values())
            for watch in watches:
                state = self._state(watch.name)
                with suppress(Exception):  # its client may be gone; the others are told
                    if state != watch.told:
                        watch.told = state
                        with self._taking.within(watch.context):
                            watch.send(wire.HealthCheckResponse(status=state))  # type: ignore[arg-type]
                    if ended:
                        watch.send(None)
