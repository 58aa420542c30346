"""What a server may be told: a TOML file, the environment, flags. Flags win over the
environment, and that over the file.

Every field is a key of the file (`k` under `[limits]`), a variable (`PLAIT_LIMITS__K`) and a flag
(`--set limits.k=100`). Unknown keys are errors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, Field, SecretStr, field_serializer, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .limits import STRICT, Limits, PerKey


class Tls(BaseModel):
    """PEM files. They are read again when they change: a renewed certificate needs no restart."""

    model_config = STRICT

    cert: Path | None = None
    """The server's certificate, with its chain. None: no TLS."""
    key: Path | None = None
    """The private key of `cert`."""
    client_ca: Path | None = None
    """Certificates of authorities: clients must show one that these have signed (mTLS)."""

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if (self.cert is None) != (self.key is None) or (self.client_ca and not self.cert):
            raise ValueError("cert and key belong together, and client_ca needs both; give all of them")
        return self


class Admin(BaseModel):
    """The port for operators: /metrics, /healthz, /readyz. It asks for no key and
    names collections: keep it private."""

    model_config = STRICT

    listen: str = ""
    """Address and port, such as 127.0.0.1:9464; empty: no such port."""
    probe_every: int = Field(default=0, ge=0, le=1_000_000_000)
    """Every n-th search is also answered exactly, in the background, for the live recall gauge; 0: none is."""
    probe_cpu: float = Field(default=0.05, gt=0, le=1)
    """The share of one core that these exact searches may use."""


class Tracing(BaseModel):
    """OpenTelemetry traces, sent by OTLP over HTTP."""

    model_config = STRICT

    endpoint: str = ""
    """Where to, such as http://127.0.0.1:4318/v1/traces; empty: no traces."""
    headers: dict[str, SecretStr] = {}
    """HTTP headers for the collector, such as its key."""

    @field_serializer("endpoint", when_used="json")
    def _shown(self, endpoint: str) -> str:
        """Without the name, the password and the query that it may hold: settings are printed."""
        parts = urlsplit(endpoint)
        host = parts.netloc.rpartition("@")[2]
        masked = parts._replace(
            netloc=f"***@{host}" if "@" in parts.netloc else host, query="***" if parts.query else ""
        )
        return urlunsplit(masked)

    share: float = Field(default=1, ge=0, le=1)
    """The share of traces begun here that is kept; a caller's own choice is followed."""


class Settings(BaseSettings):
    """All settings of a server."""

    model_config = SettingsConfigDict(
        env_prefix="PLAIT_", env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    root: Path = Path(".")
    """The folder whose folders are the collections."""
    listen: str = "127.0.0.1:50051"
    """Host and port; port 0 takes any that is free."""
    insecure: bool = False
    """Serve a public address without TLS or keys."""
    keys: Path | None = None
    """The file of API keys (`plait keys`). None: whoever reaches the port may do everything."""
    snapshots: Path | None = None
    """Where snapshots are kept; None: in `.snapshots` under the root, so that they can be hard links."""
    processes: int = Field(default=1, ge=1, le=256)
    """Processes that answer; with more than one, another one writes for all. Each connection belongs to one of them,
    and `workers`, `queue`, `streams` and `per_key` count in each. More: searches on more cores than one Python can
    feed, and each keeps the fresh documents and the encoder in its own memory."""
    workers: int = Field(default=2 * max(2, os.cpu_count() or 2), ge=1, le=1_024)
    """Requests worked on at once. More: a slow request blocks fewer others, no core is idle while one of them waits for
    a lock or the disk, and each takes longer."""
    queue: int = Field(default=64, ge=0, le=100_000)
    """Requests that wait for a worker; one more is refused. Larger: fewer refusals and longer waits."""
    streams: int = Field(default=16, ge=1, le=1_024)
    """Streams open at once (ingest, watch)."""
    watches: int = Field(default=1_024, ge=1, le=100_000)
    """Health/Watch streams open at once, which need no key; one more is refused. Each takes some 20 KB."""
    peer_watches: int = Field(default=16, ge=1, le=100_000)
    """Those of one address among them."""
    connection_calls: int = Field(default=1_000, ge=1, le=100_000)
    """Calls open at once on one connection, never fewer than four times those that the server lets in; gRPC counts one
    that has ended for a moment longer, and refuses what is too many with UNAVAILABLE. Smaller: a client that drops its
    calls as fast as it begins them makes others wait less."""
    stream_idle_s: float = Field(default=300, gt=0, le=86_400)
    """The longest that a stream may wait for its client's next message, after which it ends with DEADLINE_EXCEEDED.
    Larger: slower clients keep theirs, and one that stalls keeps others out for longer."""
    keepalive_s: float = Field(default=60, ge=0.1, le=86_400)
    """A client from which nothing came for so long is asked for a sign of life, and dropped when none comes for as long
    again. Smaller: what a client that vanished has held is free sooner, and more pings."""
    deadline_s: float = Field(default=30, gt=0, le=3_600)
    """The longest that a request may take, whatever its client allows; its message must have come by then. Smaller: a
    client that opens calls and sends nothing keeps others out for less long, and large messages need faster lines."""
    grace_s: float = Field(default=30, ge=0, le=3_600)
    """How long requests under way may go on when the server is told to stop."""
    device: str = "cpu"
    """Where encoders and FAISS run and segments lie: cpu, or cuda[:N]."""
    device_memory: int | None = Field(default=None, ge=0)
    """Bytes that all collections together may take on the device, in each process; what does not
    fit is searched by the CPU.
    None: 0.8 of what is free when the first of them is opened. More: less is searched by the
        CPU, and less is left to encoders."""
    threads: int | None = Field(default=None, ge=1, le=1_024)
    """CPU threads of each search and of an encoder; None: searches share the cores among the workers, encoders choose.
    """
    reflection: bool = True
    """Whether clients may ask for the descriptors of the services."""
    log: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged; `info` has one line for every call, `warning` only those that failed."""
    encoders: tuple[str, ...] = ()
    """Checkpoints (folders, hub ids) that clients may make collections with, beside the embedded encoder and BM25."""
    checkpoints: dict[str, str] = {}
    """Checkpoints that have moved since collections were made with them: where they lie now, by the path (or hub id)
    that the collections keep. Each is compared with the one that a collection was built with."""
    encode_pending: bool = True
    """Whether what clients defer is computed in the background, by the process that writes."""
    limits: Limits = Limits()
    per_key: PerKey = PerKey()
    tls: Tls = Tls()
    admin: Admin = Admin()
    tracing: Tracing = Tracing()

    @property
    def key_share(self) -> PerKey:
        """`per_key`, with a number for what it leaves to the server."""
        if self.per_key.concurrent is not None:
            return self.per_key
        half = max(1, (self.workers + self.queue + self.streams) // 2)
        return self.per_key.model_copy(update={"concurrent": half if self.keys else 0})
