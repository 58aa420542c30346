"""grpc.health.v1: whether the server takes calls, and apart from that whether it can write.

A service with an RPC of the scope write (`plait.v1.DocumentService`) is NOT_SERVING while the disk is full or a collection
has become read-only after a failed write; all others, and the server as a whole (the empty name), go on until it drains. What
failed is tried again from time to time.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from .collections import Collections
from .protocol import SCOPES, SERVICES
from .wire import access_pb2

NAME = health.SERVICE_NAME
WRITING = frozenset(path.split("/")[1] for path, scope in SCOPES.items() if scope == access_pb2.SCOPE_WRITE)
_EVERY_S = 1.0
_AGAIN = 5
"""Looks at a failure until what failed is tried again: seldom enough for a disk that goes on to fail."""
_LOG = logging.getLogger("plait.service")


class Health:
    """Looks every second whether writes can work, and tells those who ask or watch; until `close`."""

    def __init__(self, server: grpc.Server, collections: Collections, reserve: int):
        """`reserve`: bytes that must be free where the collections lie."""
        self._collections, self._reserve = collections, reserve
        self._servicer, self._told = health.HealthServicer(), ""
        self._set(["", *(service.full_name for service in SERVICES.values())], True)
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="plait-health", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Every name is NOT_SERVING from now on."""
        self._servicer.enter_graceful_shutdown()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
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

    def _set(self, names: Sequence[str] | frozenset[str], serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        for name in names:
            self._servicer.set(name, states.SERVING if serving else states.NOT_SERVING)
