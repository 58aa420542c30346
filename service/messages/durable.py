"""Small JSON files that are replaced whole: with a checksum of what they say, and durable when the call returns."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from ...index.segments.segment import sync


def checksum(value: Any) -> str:
    """SHA-256 of a JSON value, however it is spaced and ordered in the file."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def replace(path: Path, text: str, mode: int = 0o644) -> None:
    """Readers see the old file or the new one, and after a power failure too."""
    draft = path.with_name(f".{path.name}.new")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    os.replace(draft, path)
    sync(path.parent)
