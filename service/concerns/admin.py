"""The port for operators: /metrics for Prometheus, /healthz (the process lives), /readyz (it takes calls)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from ...index.errors import Unavailable
from .tls import is_loopback, split_address

_LOG = logging.getLogger("plait.service")
_IDLE_S = 10


class AdminServer:
    """Serves until `stop`. `address` is where: the port that was found, if port 0 was asked for.

    Raises:
        InvalidArgument: no address.
        Unavailable: the address is taken.
    """

    def __init__(self, listen: str, registry: CollectorRegistry, ready: Callable[[], bool]):
        host, port = split_address(listen)

        pages = {"/metrics": self._metrics, "/healthz": self._health, "/readyz": self._ready}
        self._registry, self._is_ready = registry, ready
        try:
            self._server = _Server((host, port), type("Handler", (_Handler,), {"pages": pages}))
        except OSError as error:
            raise Unavailable(
                f"the admin port {listen} cannot be opened ({error}); choose another admin.listen"
            ) from None
        self.address = f"{host}:{self._server.server_address[1]}"
        if not is_loopback(host):
            _LOG.warning("the admin port is public", extra={"fields": {"address": self.address}})
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="plait-admin", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _metrics(self, accept: str) -> tuple[int, str, bytes]:
        encode, content_type = choose_encoder(accept)
        return 200, content_type, encode(self._registry)

    def _health(self, accept: str) -> tuple[int, str, bytes]:
        return 200, "text/plain", b"ok\n"

    def _ready(self, accept: str) -> tuple[int, str, bytes]:
        return (200, "text/plain", b"ready\n") if self._is_ready() else (503, "text/plain", b"not ready\n")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        _LOG.exception("admin request failed")


class _Handler(BaseHTTPRequestHandler):
    pages: dict[str, Callable[[str], tuple[int, str, bytes]]]
    timeout = _IDLE_S

    def do_GET(self) -> None:
        page = self.pages.get(self.path.partition("?")[0])
        status, content_type, body = (
            page(self.headers.get("Accept", "")) if page else (404, "text/plain", b"not found\n")
        )
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not logged."""
