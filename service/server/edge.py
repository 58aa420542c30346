"""The edge of a server, made from its settings: who may call, how much, and what is seen of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from ...index.errors import PlaitError
from ..concerns.access import HEALTH, REFLECTION, audited, guarded, rules
from ..concerns.admin import AdminServer
from ..concerns.logs import identified, logged
from ..concerns.metrics import Metrics
from ..concerns.recall_probe import RecallProbe
from ..concerns.throttle import Throttle, throttled
from ..concerns.tls import credentials, refuse_open_door
from ..concerns.tracing import tracer
from ..hosting.collections import Collections
from ..keys import KeyRing
from ..messages.protocol import SCOPES, SERVICES
from ..methods.search import Probe
from ..rpc.interceptor import Concern, Interceptor
from ..settings import Settings
from .server import Service


class Edge:
    """Interceptors and credentials for `build_server`, and what its servicers report to.

    Raises:
        FailedPrecondition: the address is public and TLS or keys are missing; TLS files that cannot be used.
        NotFound, DataLoss: the key file.
    """

    def __init__(self, settings: Settings):
        refuse_open_door(settings)
        self._settings = settings
        self.credentials = credentials(settings.tls)
        allowed = {**rules(SERVICES.values(), SCOPES), **(REFLECTION if settings.reflection else {})}
        ring = KeyRing(settings.keys) if settings.keys else None
        self.metrics = Metrics()
        self._tracer = tracer(settings.tracing)
        admin = settings.admin
        self.probe = RecallProbe(admin.probe_every, admin.probe_cpu, self.metrics) if admin.probe_every else None
        self._admin: AdminServer | None = None
        # What sees a call stands before what may refuse it, so that refusals are seen as well.
        seeing: list[Concern] = [identified, logged, self.metrics.timed]
        tracing = [self._tracer.traced] if self._tracer else []
        refusing = [guarded(allowed, ring), throttled(settings.key_share, Throttle(settings.key_share))]
        self.interceptors = [Interceptor([*seeing, *tracing, audited(allowed), *refusing], untouched=HEALTH)]

    @property
    def offer(self) -> Probe | None:
        """What the searches of a server are offered to."""
        return self.probe and self.probe.offer

    def open_admin(self, ready: Callable[[], bool]) -> str | None:
        """Opens the admin port, if there is to be one. Returns its address."""
        if not self._settings.admin.listen:
            return None
        self._admin = AdminServer(self._settings.admin.listen, self.metrics.registry, ready)
        return self._admin.address

    def close(self) -> None:
        for part in (self.probe, self._admin, self._tracer):
            if part:
                part.stop()


def watch(metrics: Metrics, service: Service) -> None:
    """Shows a server's queue among the metrics, what is damaged, and the collections that it writes."""
    metrics.watch_queue(lambda: service.gate.waiting)
    metrics.watch_damage(service.collections.damage)
    if service.writes:
        metrics.watch_collections(partial(_stats, service.collections))


def _stats(collections: Collections) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of those that can be opened."""
    for name in collections.names():
        with suppress(PlaitError), collections.use(name) as opened:
            retriever = opened.retriever
            yield name, {**retriever.collection.stats(), "encoding_stopped": retriever.pending.problem is not None}
