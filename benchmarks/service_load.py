"""Server processes for `service.py`, and load on them: from many callers without pause, or at random at a mean rate."""

from __future__ import annotations

import heapq
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from plait.service import keys


@contextmanager
def served(root: Path, bare: bool, settings: Mapping[str, Any] = {}) -> Iterator[tuple[int, str, str]]:
    """A server process of this folder: its number, its address, and a key for it.

    With keys, a line in a log file for every call, and metrics, as it is run for others; `bare`: without all of these.
    """
    run = [sys.executable, "-c", "from plait.service.cli.main import main; main()", "serve", str(root)]
    ring, log = root / "keys.json", root / "server.log"
    _, key = keys.create(ring, "benchmark", "admin")
    edge = ["--set", "log=warning"] if bare else ["--keys", str(ring), "--admin", "127.0.0.1:0"]
    edge += [f"--set={name}={value}" for name, value in settings.items()]
    with log.open("w") as told, subprocess.Popen([*run, *edge, "--listen", "127.0.0.1:0"], stderr=told) as process:
        try:
            while not (serving := [line for line in log.read_text().splitlines() if line.startswith("serving")]):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield process.pid, f"127.0.0.1:{serving[0].rpartition(':')[2].strip()}", key
        finally:
            process.terminate()


@contextmanager
def bare_served(root: Path, answer: bytes, queries: list[Any], k: int) -> Iterator[tuple[int, str]]:
    """`bare_server.py` on the collection `given`: its number and address."""
    np.save(root / "queries.npy", np.stack([query.vectors for query in queries]))
    (root / "answer").write_bytes(answer)
    script = Path(__file__).with_name("bare_server.py")
    run = [sys.executable, script, *(root / name for name in ("given", "queries.npy", "answer")), str(k)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.pid, f"127.0.0.1:{process.stdout.readline().split()[1]}"
        finally:
            process.terminate()


def cpu_of(process: int) -> float:
    """CPU seconds of a process so far, all its threads (its CPU clock, as clock_getcpuclockid(3) numbers it)."""
    return time.clock_gettime((~process << 3) | 2)


def memory_of(process: int) -> float:
    """Resident MB that no file stands behind."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def under_load(call: Callable[[int], Any], concurrency: int, seconds: float, server: int | None) -> dict[str, Any]:
    """Calls from so many threads without pause: rate, latencies in ms, CPU ms per call here and in the server."""
    times: list[float] = []
    ends = time.perf_counter() + seconds

    def work(number: int) -> None:
        while (start := time.perf_counter()) < ends:
            call(number)
            times.append(time.perf_counter() - start)
            number += concurrency

    began, here, there = time.perf_counter(), time.process_time(), cpu_of(server) if server else 0.0
    with ThreadPoolExecutor(concurrency) as pool:
        for done in [pool.submit(work, n) for n in range(concurrency)]:
            done.result()
    wall, count = time.perf_counter() - began, len(times)
    cpu = {"cpu_ms_here": 1000 * (time.process_time() - here) / count}
    if server:
        cpu["cpu_ms_server"] = 1000 * (cpu_of(server) - there) / count
    return {"calls": count, "qps": count / wall, **quantiles(times), **cpu}


def paced(call: Callable[[int], Any], rate: float, seconds: float) -> dict[str, Any]:
    """Calls that come at random at this mean rate, whatever has not been answered yet;
    latencies from when they were due."""
    rng, times = np.random.default_rng(0), []
    due = np.cumsum(rng.exponential(1 / rate, int(rate * seconds)))
    began = time.perf_counter()

    def work(number: int, at: float) -> None:
        call(number)
        times.append(time.perf_counter() - began - at)

    with ThreadPoolExecutor(32) as pool:
        for number, at in enumerate(due.tolist()):
            time.sleep(max(0.0, began + at - time.perf_counter()))
            pool.submit(work, number, at)
    found = quantiles(times)
    return {"rate": rate, **found, "p99_over_p50": found["p99_ms"] / found["p50_ms"]}


def quantiles(times: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(1000 * np.array(times), [50, 95, 99]).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99}


def ideal(servers: int, load: float, calls: int = 400_000) -> dict[str, float]:
    """p99 / p50 where nothing but chance is to blame: calls that come at random, each worked on for the same time by
    one of so many servers as soon as one is free (M/D/c), which are busy for this share of the time."""
    due = np.cumsum(np.random.default_rng(0).exponential(1 / (servers * load), calls))
    free, times = [0.0] * servers, []
    for at in due.tolist():
        ends = max(at, free[0]) + 1
        heapq.heapreplace(free, ends)
        times.append(ends - at)
    p50, p99 = np.percentile(times, [50, 99]).tolist()
    return {"p99_over_p50": p99 / p50}
