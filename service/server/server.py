"""The gRPC server: every service on one port, drained before it ends."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import grpc

from ...index.errors import Unavailable
from ..concerns.tls import split_address
from ..hosting.collections import Collections
from ..hosting.operations import OperationMethods, Operations
from ..messages.protocol import SERVICES
from ..methods.collections import CollectionMethods
from ..methods.documents import DocumentMethods
from ..methods.search import Probe, SearchMethods
from ..methods.snapshots import SnapshotMethods
from ..methods.system import SystemMethods
from ..rpc.calls import Gate
from ..rpc.forward import Forwarding, to_writer
from ..rpc.handlers import handlers
from ..rpc.pool import Threads
from ..settings import Settings
from .health import NAME, PLACES, Health
from .reflection import REFLECTION, ReflectionMethods

_SPARE = 8
"""Threads that refuse, answer health checks and the like, while all others work or wait."""
_LEAVE_S = 5.0
"""For calls that were cancelled at the end of the grace to notice it, for operations to end,
and for collections to be closed."""
LINE = 1_024
"""Calls, of which nothing was read, that may wait for such a thread; gRPC refuses one more,
without saying when to try again."""
WINDOW = 64 << 10
"""Bytes that a client may send before its message is asked for."""
_LOG = logging.getLogger("plait.service")


@dataclass(frozen=True)
class Service:
    """A server that can be started, and what it holds."""

    grpc: grpc.Server
    port: int
    collections: Collections
    operations: Operations
    health: Health
    settings: Settings
    gate: Gate
    threads: Threads
    writes: bool
    """Whether it changes collections itself, and does not ask another process to."""
    ready: threading.Event = field(default_factory=threading.Event)
    """Set while requests are let in."""

    def stop(self, grace_s: float) -> bool:
        """Takes no new requests, lets those under way end, and closes every collection.

        Returns whether all of it has ended, within a few seconds after the grace. False: some step goes on that cannot
        be stopped, and nothing is closed under it; the process must be left (`leave`).
        """
        self.ready.clear()
        self.health.drain()
        self.grpc.stop(grace_s).wait(grace_s + _LEAVE_S)
        self.health.close()
        self.threads.shutdown(timeout_s=_LEAVE_S)
        ended = self.operations.close(_LEAVE_S) and not self.threads.busy
        return ended and _within(_LEAVE_S, self.collections.close)


def build_server(
    settings: Settings,
    interceptors: Sequence[grpc.ServerInterceptor] = (),
    credentials: grpc.ServerCredentials | None = None,
    probe: Probe | None = None,
    writer: str | None = None,
) -> Service:
    """Opens all collections and binds the port; `grpc.start()` lets requests in.

    Args:
        interceptors: outermost first; they see requests as bytes, see `handlers`.
        credentials: None: plain text.
        probe: told of every approximate search; see `Probe`.
        writer: where the process listens that writes for this one, which only reads; others may share its port. None:
            it reads and writes, and has its port for itself.

    Raises:
        Unavailable: the port cannot be bound.
    """
    collections = Collections(settings, follows=writer is not None)
    threads = Threads(settings.workers + settings.queue + settings.streams + PLACES + _SPARE, "plait")
    size = settings.limits.message_bytes
    server = grpc.server(
        cast(Any, threads),  # typed as the one executor that gRPC's own examples use
        interceptors=[*interceptors],
        maximum_concurrent_rpcs=threads.most + settings.watches + LINE,
        options=[
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            *_transport(settings.keepalive_s),
            # A client that begins calls and drops them at once fills no more than its connection's share of gRPC's
            # line; without this bound one connection alone filled it, and calls of others were dropped.
            ("grpc.max_concurrent_streams", max(settings.connection_calls, 4 * threads.most)),
            # Otherwise two servers on one port would share its requests without a word.
            ("grpc.so_reuseport", int(writer is not None)),
        ],
    )
    gate = Gate(settings.workers, settings.queue, settings.streams)
    operations = Operations()
    methods: dict[str, Any] = {
        "CollectionService": CollectionMethods(collections, operations, settings),
        "DocumentService": DocumentMethods(collections, settings.limits),
        "OperationService": OperationMethods(operations),
        "SearchService": SearchMethods(collections, settings.limits, probe),
        "SnapshotService": SnapshotMethods(collections, operations, settings),
        "SystemService": SystemMethods(settings),
    }
    if writer is not None:
        channel = to_writer(writer)
        methods = {name: Forwarding(d, methods[name], channel) for name, d in SERVICES.items()}
    served = [(descriptor, methods[name]) for name, descriptor in SERVICES.items()]
    if settings.reflection:
        names = [descriptor.full_name for descriptor in SERVICES.values()]
        served.append((REFLECTION, ReflectionMethods([*names, NAME])))
    server.add_generic_rpc_handlers(handlers(served, gate, settings))
    port = _bind(server, settings.listen, credentials, writer is not None)
    health = Health(server, collections, settings)
    return Service(server, port, collections, operations, health, settings, gate, threads, writer is None)


def run(service: Service, told: threading.Event, began: Callable[[], None]) -> bool:
    """Serves until told to end, then drains. Returns: `Service.stop`.

    Args:
        began: called when requests are let in and nothing is left to load for the first of them.
    """
    service.grpc.start()

    def begin() -> None:
        service.collections.warm()
        if not told.is_set():
            service.ready.set()
            began()

    beginning = threading.Thread(target=begin, name="plait-begin", daemon=True)
    beginning.start()
    told.wait()
    return service.stop(service.settings.grace_s) and not beginning.is_alive()


def leave() -> NoReturn:
    """Ends this process with 0, as it was told to, in the middle of a step that cannot be stopped.

    What was acknowledged is on the disk; what was not is undone by the next start, as after a crash.
    """
    _LOG.warning("the server ends in the middle of a step that could not be stopped; nothing that was answered is lost")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)


def _within(seconds: float, work: Callable[[], None]) -> bool:
    """Whether this work ended in time."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return not thread.is_alive()


def told_by_signals(numbers: Sequence[int] = (signal.SIGTERM, signal.SIGINT)) -> threading.Event:
    """What is set when a signal tells this process to end."""
    told = threading.Event()
    for number in numbers:
        signal.signal(number, lambda *_: told.set())
    return told


def _transport(keepalive_s: float) -> list[tuple[str, int]]:
    silent = int(1000 * keepalive_s)
    return [
        ("grpc.keepalive_time_ms", silent),
        ("grpc.keepalive_timeout_ms", silent),
        ("grpc.http2.ping_timeout_ms", silent),  # a minute otherwise, whatever the line above says
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # Otherwise the window of every stream grows with the bandwidth, to megabytes, read or not.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW),
    ]


def _bind(server: grpc.Server, listen: str, credentials: grpc.ServerCredentials | None, shared: bool) -> int:
    try:
        if not shared:
            _try(listen)
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    except (RuntimeError, OSError) as error:
        raise Unavailable(f"{listen} cannot be bound ({error}); is another server running there?") from None
    if not port:
        raise Unavailable(f"{listen} cannot be bound; is another server running there?")
    return port


def _try(listen: str) -> None:
    """OSError: the port is taken. gRPC would say so on stderr as well, in lines of its own."""
    if listen.startswith("unix:"):
        return
    family, kind, _, _, address = socket.getaddrinfo(*split_address(listen), type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tried.bind(address)
