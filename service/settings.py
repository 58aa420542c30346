"""What a server is started with."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from .limits import Limits


@dataclass(frozen=True)
class Settings:
    root: Path
    """The folder whose folders are the collections."""
    listen: str = "127.0.0.1:50051"
    """Host and port; port 0 takes any that is free."""
    snapshots: Path | None = None
    """Where snapshots are kept; None: in `.snapshots` under the root, so that they can be hard links."""
    workers: int = max(2, os.cpu_count() or 2)
    """Requests worked on at once. More: a slow request blocks fewer others, and each takes longer."""
    queue: int = 64
    """Requests that wait for a worker; one more is refused. Larger: fewer refusals and longer waits."""
    streams: int = 16
    """Streams open at once (ingest, watch)."""
    deadline_s: float = 30
    """The longest that a request may take, whatever its client allows."""
    grace_s: float = 30
    """How long requests under way may go on when the server is told to stop."""
    device: str = "cpu"
    threads: int | None = None
    """CPU threads of each search and of an encoder; None: the libraries' own choice."""
    encoders: tuple[str, ...] = ()
    """Checkpoints (folders, hub ids) that clients may make collections with, beside the embedded encoder and BM25."""
    limits: Limits = field(default_factory=Limits)
