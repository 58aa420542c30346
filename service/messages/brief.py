"""Texts short enough for the trailing metadata of a call: beyond 8 KB gRPC drops a status with all its details."""

from __future__ import annotations

TEXT, NAME = 1_000, 200
"""Bytes of a message and of a name. A status says its message three times, once with three
bytes for each that is not ASCII."""
_CUT = "..."


def brief(text: str, most: int = TEXT) -> str:
    """The text, its middle left out where it has more than `most` bytes: an error ends with the remedy."""
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    last = (most - len(_CUT)) // 3
    first = most - len(_CUT) - last
    return f"{data[:first].decode(errors='ignore')}{_CUT}{data[-last:].decode(errors='ignore')}"
