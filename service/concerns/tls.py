"""TLS and mTLS whose certificates are read again when they change, and the refusal to stand open to a network."""

from __future__ import annotations

import ipaddress
import logging
import ssl
import threading
from pathlib import Path

import grpc

from ...index.errors import FailedPrecondition, InvalidArgument
from ..settings import Settings, Tls

_LOG = logging.getLogger("plait.service")


def split_address(listen: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:50051` or `[::1]:50051`. InvalidArgument: it is neither."""
    host, colon, port = listen.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidArgument(f"the address {listen!r} must be HOST:PORT, such as 127.0.0.1:50051")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. A name other than localhost counts as
    public: it may resolve to anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def refuse_open_door(settings: Settings) -> None:
    """FailedPrecondition: the address is public, and TLS or keys are missing."""
    host, _ = split_address(settings.listen)
    if is_loopback(host) or settings.insecure:
        return
    missing = [
        *(["TLS (tls.cert and tls.key)"] if settings.tls.cert is None else []),
        *(["API keys (--keys FILE; plait keys create makes one)"] if settings.keys is None else []),
    ]
    if missing:
        raise FailedPrecondition(
            f"{settings.listen} can be reached from other machines, and there is no {' and no '.join(missing)}; "
            "add that, listen on 127.0.0.1, or say --insecure if the network is trusted"
        )


def credentials(tls: Tls) -> grpc.ServerCredentials | None:
    """What a server needs to speak TLS; None: no certificate is set.

    The files are looked at on every handshake. A pair that does not fit (a renewal half done) leaves the former in use.

    Raises:
        FailedPrecondition: a file cannot be read, or certificate and key do not belong together.
    """
    if tls.cert is None:
        return None
    reader = _Certificates(tls)
    return grpc.dynamic_ssl_server_credentials(
        reader.current,
        reader.changed,  # pyright: ignore[reportArgumentType] None is right: keep what is used
        require_client_authentication=tls.client_ca is not None,
    )


class _Certificates:
    def __init__(self, tls: Tls):
        self._paths = [path for path in (tls.cert, tls.key, tls.client_ca) if path is not None]
        self._seen = [_stamp(path) for path in self._paths]
        self._lock = threading.Lock()
        self.current = _configuration(self._paths)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """New certificates; None: those that are used are still right."""
        with self._lock:
            stamps = [_stamp(path) for path in self._paths]
            if stamps == self._seen:
                return None
            self._seen = stamps
            try:
                self.current = _configuration(self._paths)
            except FailedPrecondition as error:
                _LOG.error("certificates not read", extra={"fields": {"error": str(error)}})
                return None
        _LOG.info("certificates read again")
        return self.current


def _configuration(paths: list[Path]) -> grpc.ServerCertificateConfiguration:
    cert, key, *ca = paths
    try:
        # OpenSSL compares the two; gRPC would accept them and fail every handshake.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_no_password)
        authorities = ca[0].read_bytes() if ca else None
        if ca:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(ca[0])
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), cert.read_bytes())], authorities)
    except (OSError, ValueError) as error:
        names = ", ".join(map(str, paths))
        raise FailedPrecondition(
            f"the TLS files {names} cannot be used ({error}); give PEM files that belong together"
        ) from None


def _no_password() -> str:
    raise ValueError("the private key is encrypted")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
