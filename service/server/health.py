"""grpc.health.v1: whether the server takes calls, and apart from that whether it can write.

A service with an RPC of the scope write (`plait.v1.DocumentService`) is NOT_SERVING while the disk is full or a
collection has become read-only after a failed write; all others, and the server as a whole (the empty name), go on
until it drains. What failed is tried again from time to time.

It asks for no key, so its calls have places of their own: they take none from others, and others none from them.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from ...index.errors import NotFound
from ..hosting.collections import Collections
from ..messages.protocol import SCOPES, SERVICES
from ..rpc.calls import Call, Gate
from ..rpc.handlers import Way, end, parsed, unary
from ..rpc.read_timeout import ReadTimeout
from ..settings import Settings
from ..wire import access_pb2
from .health_watches import Watches

wire: Any = health_pb2
"""As `Any`: the stubs lack List."""
_SERVICE = wire.DESCRIPTOR.services_by_name["Health"]
NAME = _SERVICE.full_name
WRITING = frozenset(path.split("/")[1] for path, scope in SCOPES.items() if scope == access_pb2.SCOPE_WRITE)
PLACES = 16
"""Calls at once. A Watch takes one only until its message has come."""
_SILENT = 8
"""Calls whose message has not come; one more ends the oldest of them, so that those who send theirs find a place."""
_READ_S = 5.0
_EVERY_S = 1.0
_AGAIN = 5
"""Looks at a failure until what failed is tried again: seldom enough for a disk that goes on to fail."""
_LEAVE_S = 5.0
_LOG = logging.getLogger("plait.service")
_States = wire.HealthCheckResponse


class Health:
    """Looks every second whether writes can work, and tells those who ask or watch; until `close`."""

    def __init__(self, server: grpc.Server, collections: Collections, settings: Settings):
        """While less than one message (`limits.message_bytes`) is free where the
        collections lie, writing is NOT_SERVING."""
        self._collections, self._reserve, self._told = collections, settings.limits.message_bytes, ""
        names = ["", *(service.full_name for service in SERVICES.values())]
        self._states: dict[str, Any] = dict.fromkeys(names, _States.SERVING)
        self._watches = Watches(self._state, settings.watches, settings.peer_watches)
        read = ReadTimeout(min(_READ_S, settings.deadline_s), "health", "send it when the call begins", _SILENT)
        way = Way(Gate(PLACES, 0, 0), read, settings.deadline_s, settings.limits.message_bytes)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(NAME, self._handlers(way))])
        self._ended, self._draining = threading.Event(), False
        self._thread = threading.Thread(target=self._look, name="plait-health", daemon=True)
        self._thread.start()

    def check(self, request: Any, call: Call) -> Any:
        if request.service not in self._states:
            raise NotFound(f"no service is called {request.service!r}; List has their names")
        return _States(status=self._states[request.service])

    def list(self, request: Any, call: Call) -> Any:
        states = {name: _States(status=state) for name, state in self._states.items()}
        return wire.HealthListResponse(statuses=states)

    def drain(self) -> None:
        """Every name is NOT_SERVING from now on, and every Watch ends with that."""
        self._draining = True
        self._states = dict.fromkeys(self._states, _States.NOT_SERVING)
        self._watches.end()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(_LEAVE_S)

    def _handlers(self, way: Way) -> dict[str, grpc.RpcMethodHandler]:
        methods = _SERVICE.methods_by_name

        def watch(given: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
            call = Call(context, way.gate, way.deadline_s)
            try:
                with way.gate.place():
                    request = parsed(methods["Watch"], call, way.read.next(given, context))
                # A name that is unknown stays so: of its stream nothing is kept but that it is open.
                name = request.service if request.service in self._states else "?"
                self._watches.add(name, context, lambda message: send(message and message.SerializeToString()))
            except Exception as error:
                end(context, error, None, call)

        watch.experimental_non_blocking = True  # type: ignore[attr-defined]  (gRPC's own health service does so, too)
        return {
            "Check": unary(methods["Check"], self.check, way),
            "List": unary(methods["List"], self.list, way),
            "Watch": grpc.stream_stream_rpc_method_handler(watch),
        }

    def _state(self, name: str) -> Any:
        return self._states.get(name, _States.SERVICE_UNKNOWN)

    def _look(self) -> None:
        failed = 0
        while not self._ended.wait(_EVERY_S):
            why = self._why_no_writes()
            failed = failed + 1 if why else 0
            if failed % _AGAIN == _AGAIN - 1:
                self._collections.recover()
            if bool(why) != bool(self._told):
                self._set(WRITING, not why)
                _LOG.log(logging.ERROR if why else logging.INFO, why or "writing works again")
            self._told = why

    def _why_no_writes(self) -> str:
        for name, failure in self._collections.failures().items():
            return f"writing is NOT_SERVING: {name} is read-only until its disk takes writes again ({failure})"
        try:
            free = shutil.disk_usage(self._collections.root).free
        except OSError as error:
            return f"writing is NOT_SERVING: the disk cannot be looked at ({error})"
        return f"writing is NOT_SERVING: {free:,} bytes are free, less than one message" if free < self._reserve else ""

    def _set(self, names: Iterable[str], serving: bool) -> None:
        if not self._draining:
            state = _States.SERVING if serving else _States.NOT_SERVING
            self._states = {**self._states, **dict.fromkeys(names, state)}
            self._watches.changed()
