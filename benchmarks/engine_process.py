"""One engine in a process of its own: its CPU time and memory are its alone, and a crash takes nobody along."""

from __future__ import annotations

import os
import re
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import token_data


class EngineFailed(Exception):
    """An engine is not installed, refused its work or died; the message says which, and how to install it."""


@dataclass(eq=False)
class Engine:
    """The parent's end. It answers one request at a time."""

    name: str
    options: Mapping[str, Any]
    """Of the build."""
    grid: list[dict[str, Any]]
    """Parameters of searches to try."""
    data: Path
    peers: Path | None
    threads: int
    built: dict[str, float] = field(default_factory=dict)
    """build_cpu_s, build_wall_s, bytes_per_token, build_peak_mb."""

    def start(self, folder: Path) -> None:
        """Builds the index in an empty folder. EngineFailed: it could not."""
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self, folder), daemon=True)
        self._process.start()
        theirs.close()
        self.built = self._receive()

    def search(self, query: np.ndarray, k: int, params: Mapping[str, Any]) -> tuple[np.ndarray, float]:
        """Document numbers, best first, and the process's CPU seconds, those of the engine's own threads included."""
        self._pipe.send((query, k, params))
        return self._receive()

    def stop(self) -> float:
        """Ends the process; returns its peak resident memory over all searches in MB."""
        self._pipe.send(None)
        peak = self._receive()
        self._process.join()
        return peak

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise EngineFailed(f"{self.name}: its process ended with {self._process.exitcode}") from None
        if isinstance(answer, EngineFailed):
            raise answer
        return answer

    def __getstate__(self) -> dict[str, Any]:
        """What the child gets."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}


def _serve(pipe: Connection, engine: Engine, folder: Path) -> None:
    os.dup2(2, 1)  # what engines print is not a result
    try:
        _answer(pipe, engine, folder)
    except ImportError as error:
        adapter = import_module(f"peers.{engine.name}")
        pipe.send(EngineFailed(f"{engine.name}: {error}. Install: {adapter.INSTALL}"))
    except Exception:
        pipe.send(EngineFailed(f"{engine.name}: {traceback.format_exc()}"))


def _answer(pipe: Connection, engine: Engine, folder: Path) -> None:
    if engine.peers:
        sys.path.append(str(engine.peers))
    adapter = import_module(f"peers.{engine.name}")
    tokens = token_data.read(engine.data)
    cpu, wall = time.process_time(), time.perf_counter()
    handle = adapter.build(tokens, tokens.ids, folder, **engine.options)
    built = {"build_cpu_s": time.process_time() - cpu, "build_wall_s": time.perf_counter() - wall}
    files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    size = adapter.size(handle) if hasattr(adapter, "size") else files
    pipe.send({**built, "bytes_per_token": size / len(tokens.vectors), "build_peak_mb": _peak_mb()})
    _forget_peak()
    while (request := pipe.recv()) is not None:
        query, k, params = request
        cpu = time.process_time()
        found = adapter.search(handle, query, k, threads=engine.threads, **params)
        pipe.send((found, time.process_time() - cpu))
    pipe.send(_peak_mb())


def _peak_mb() -> float:
    """Peak resident memory of this process. Not `ru_maxrss` where it can be helped: a child inherits its parent's."""
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _forget_peak() -> None:
    """Starts a new peak where the system can; elsewhere the peak of searches includes the build."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
