"""A server of several processes: some answer, one writes for all, and a parent starts them, and again when they die.

Nothing is shared but the folder of the collections: segments are mapped files, fresh documents are in the catalog's
log, and a transaction there shows every process the newest committed state. So an answer is as fresh as that of a
single process, and a process that was killed has lost nothing that was acknowledged.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from typing import Any

from ...index.errors import PlaitError, Unavailable
from ..concerns.access import HEALTH
from ..concerns.logs import identified, to_stderr
from ..concerns.metrics import Metrics, exposed
from ..concerns.tls import split_address
from ..concerns.tracing import tracer
from ..rpc.interceptor import Interceptor
from ..settings import Settings
from .edge import Edge, watch
from .process import settle
from .server import Service, build_server, leave, run, told_by_signals

WRITER = "writer"
_LOG = logging.getLogger("plait.service")
_SPAWN = multiprocessing.get_context("spawn")
_PAUSES_S = 0.1, 5.0
"""Before a process is started again: first, and at most when it keeps dying."""
_LIVED_S = 30.0
_SLACK_S = 30.0
"""After the grace, for a process to close what it has open, before it is killed."""
_ANSWER_S = 2.0


class Supervisor:
    """Starts the processes; returns when all take calls.

    Raises:
        Unavailable: the port cannot be bound, or a process did not start; the message says why.
    """

    def __init__(self, settings: Settings):
        host, _, port = settings.listen.rpartition(":")
        split_address(settings.listen)
        self._port = _hold(host, int(port))
        self.port: int = self._port.getsockname()[1]
        # Of the class itself: one that reads files and the environment is made within a function, and cannot be sent.
        self._settings = Settings.model_construct(**{**vars(settings), "listen": f"{host}:{self.port}"})
        self._folder = tempfile.TemporaryDirectory(prefix="plait-")
        self._ending, self._starting = threading.Event(), threading.Lock()
        self._children = {name: _Child(name) for name in (WRITER, *(f"reader-{i}" for i in range(settings.processes)))}
        self._keepers = [threading.Thread(target=self._keep, args=(c,)) for c in self._children.values()]
        try:
            for keeper in self._keepers:
                keeper.start()
            for child in self._children.values():
                child.started.result()
        except BaseException:
            self.stop()
            raise

    def ready(self) -> bool:
        """Whether some process takes calls."""
        return any(c.ready for c in self._children.values() if c.name != WRITER) and not self._ending.is_set()

    def metrics(self) -> Iterator[tuple[str, str]]:
        """What each process counts, in Prometheus' text format, by its name."""
        for name, child in self._children.items():
            if (text := child.metrics()) is not None:
                yield name, text

    def stop(self) -> None:
        """Lets the processes that answer finish what is under way, then the one that writes for them."""
        with self._starting:
            self._ending.set()
        readers = [c for c in self._children.values() if c.name != WRITER]
        for together in (readers, [self._children[WRITER]]):
            for child in together:
                child.tell()
            for child in together:
                child.end(self._settings.grace_s + _SLACK_S)
        for keeper in self._keepers:
            if keeper.ident is not None:
                keeper.join()
        self._port.close()
        self._folder.cleanup()

    def _keep(self, child: _Child) -> None:
        """Its lives, one after the other. What ends the first too early is told; after that it is started again."""
        pause = _PAUSES_S[0]
        while True:
            began = time.monotonic()
            problem = self._live(child)
            if problem and not child.started.done():
                return child.started.set_exception(Unavailable(problem))
            if self._ending.is_set():
                return
            fields = {"process": child.name, "exit_code": child.code, "problem": problem}
            _LOG.error("a process ended and is started again", extra={"fields": fields})
            pause = _PAUSES_S[0] if time.monotonic() - began > _LIVED_S else min(2 * pause, _PAUSES_S[1])
            self._ending.wait(pause)

    def _live(self, child: _Child) -> str | None:
        """From its start to its end. Returns why it did not come to take calls, if it did not."""
        try:
            # After `stop` has looked who is there, nobody is started.
            with self._starting:
                if self._ending.is_set():
                    return "the server ends"
                child.start(self._settings, f"unix:{self._folder.name}/{WRITER}")
        except Exception as error:  # no memory, no file descriptors
            return f"the process {child.name} cannot be started ({type(error).__name__}: {error})"
        return child.live()


class _Child:
    """One of the processes, over all its lives."""

    def __init__(self, name: str):
        self.name, self.ready, self.code = name, False, 0
        self.started: Future[None] = Future()
        """Done when it took calls for the first time."""
        self._process: Any = None
        self._pipe: Connection | None = None
        self._asking = threading.Lock()

    def start(self, settings: Settings, writer: str) -> None:
        """Another process, not a fork: gRPC's threads and locks would not survive one."""
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(self.name, settings, writer, theirs), name=self.name)
        with theirs:
            process.start()
        self._process, self._pipe = process, ours

    def live(self) -> str | None:
        """Returns when it has ended: why it did not come to take calls, if it did not."""
        assert self._pipe is not None
        try:
            problem = self._pipe.recv()
        except (EOFError, OSError):
            problem = f"the process {self.name} died while it started"
        if problem is None:
            self.ready = True
            _LOG.info("a process takes calls", extra={"fields": {"process": self.name, "pid": self._process.pid}})
            if not self.started.done():
                self.started.set_result(None)
        self._process.join()
        self.ready, self.code = False, self._process.exitcode
        return problem

    def metrics(self) -> str | None:
        """In Prometheus' text format; None: it does not answer now."""
        pipe = self._pipe
        with self._asking:
            try:
                if not self.ready or pipe is None:
                    return None
                while pipe.poll():
                    pipe.recv()  # an answer that came too late
                pipe.send(None)
                return pipe.recv() if pipe.poll(_ANSWER_S) else None
            except (EOFError, OSError):
                return None

    def tell(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def end(self, within_s: float) -> None:
        if self._process is not None:
            self._process.join(within_s)
            self._process.kill()


def _work(name: str, settings: Settings, writer: str, pipe: Connection) -> None:
    """The life of a process. It ends when told, and when its parent has died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal it reaches all: the parent says who ends when
    told = told_by_signals([signal.SIGTERM])
    to_stderr(settings.log)
    settle(settings)
    try:
        service, metrics, close = _writer(settings, writer) if name == WRITER else _reader(settings, writer)
    except PlaitError as error:
        pipe.send(str(error))
        return
    watch(metrics, service)
    threading.Thread(target=_tell_metrics, args=(pipe, metrics, told), daemon=True).start()
    ended = run(service, told, lambda: pipe.send(None))
    close()
    if not ended:
        leave()


def _reader(settings: Settings, writer: str) -> tuple[Service, Metrics, Callable[[], None]]:
    edge = Edge(settings)
    service = build_server(settings, edge.interceptors, edge.credentials, edge.offer, writer)
    return service, edge.metrics, edge.close


def _writer(settings: Settings, address: str) -> tuple[Service, Metrics, Callable[[], None]]:
    """Its socket lies in a folder of this user alone, and what comes has passed the edge of a process that answers."""
    metrics, traces = Metrics(), tracer(settings.tracing)
    concerns = [identified, metrics.timed, *([traces.traced] if traces else [])]
    interceptors = [Interceptor(concerns, untouched=HEALTH)]
    service = build_server(settings.model_copy(update={"listen": address}), interceptors)
    return service, metrics, traces.stop if traces else lambda: None


def _tell_metrics(pipe: Connection, metrics: Metrics, told: threading.Event) -> None:
    try:
        while True:
            pipe.recv()
            pipe.send(exposed(metrics))
    except (EOFError, OSError):
        told.set()  # the parent has died


def _hold(host: str, port: int) -> socket.socket:
    """A socket that has the port and does not listen: the processes share it, and no other server can take it."""
    family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
    try:
        # Alone first: with SO_REUSEPORT a server that runs there already would be joined without a word.
        with socket.socket(family, kind) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
            address = alone.getsockname()
        held = socket.socket(family, kind)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        raise Unavailable(f"{host}:{port} cannot be bound ({error}); is another server running there?") from None
    return held
