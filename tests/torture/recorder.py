"""What a program does to the files under a folder, as a list of events in their order (recorder.c sees them)."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")
_HEADER = struct.Struct("<5Q")
_LOG = "PLAIT_RECORD_LOG"


@dataclass(frozen=True)
class Event:
    """One change: its kind, the inode that it concerns, where it is, and its two names or its bytes.

    Kinds: C a file was made, W bytes were written, T a file has a new size, S a file or folder was synced, R a name was
    changed, L linked, U taken away; M a folder was made, D taken away; Y a file was mapped for writing; A a mark.
    """

    kind: str
    inode: int = 0
    offset: int = 0
    first: bytes = b""
    second: bytes = b""

    def __str__(self) -> str:
        names = b" ".join(filter(None, (self.first, self.second))).decode(errors="replace")
        match self.kind:
            case "W":
                return f"W inode {self.inode}: {len(self.first)} bytes at {self.offset}"
            case "T":
                return f"T inode {self.inode}: {self.offset} bytes are left"
            case "S" | "Y":
                return f"{self.kind} inode {self.inode}"
        return f"{self.kind} {names}" + (f" (inode {self.inode})" if self.inode else "")


def available() -> str:
    """Why nothing can be recorded here; empty: it can."""
    if sys.platform != "linux":
        return f"the recorder is made for Linux, and this is {sys.platform}"
    return "" if shutil.which("cc") else "there is no C compiler (cc) to build the recorder with"


def build(folder: Path) -> Path:
    """The recorder as a library to preload."""
    library = folder / "recorder.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


def record(library: Path, root: Path, log: Path, command: Sequence[str]) -> list[Event]:
    """Runs a command that must end well, and returns what it did under the root."""
    recording = {"LD_PRELOAD": str(library), "PLAIT_RECORD_ROOT": str(root), _LOG: str(log)}
    subprocess.run(command, check=True, env={**os.environ, **recording})
    return read(log)


def read(log: Path) -> list[Event]:
    data, at, events = log.read_bytes(), 0, []
    while at < len(data):
        kind, inode, offset, first, second = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        events.append(Event(chr(kind), inode, offset, data[at : at + first], data[at + first : at + first + second]))
        at += first + second
    return events


def mark(text: str) -> None:
    """Notes in the record, from inside the recorded program, that it has come this far."""
    log = os.open(os.environ[_LOG], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(log, _HEADER.pack(ord("A"), 0, 0, len(text.encode()), 0) + text.encode())
    finally:
        os.close(log)
