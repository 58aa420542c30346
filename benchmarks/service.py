"""What the gRPC service costs beside the same collection in this process: searches, ingest, explanations; and a soak.

    python benchmarks/service.py                          # 20,000 documents of 60 tokens, 128 dimensions
    python benchmarks/service.py --documents 2000 --seconds 2 --json
    python benchmarks/service.py --floor --documents 100  # one caller: in process, a bare grpcio handler, plait
    python benchmarks/service.py --soak 10                # minutes of mixed reads and writes

Server and clients share the machine's cores, so compare CPU times and ratios within one run; wall times hold for a quiet
machine alone. The in-process figure is the same `Retriever.search` from as many threads. Ways that are compared take turns,
round by round, and the medians of the rounds are told. Set OMP_NUM_THREADS=1, as a server with several workers should have it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from live import Corpus
from plait.index.kernels import simd_level
from plait.service import keys
from plait.service.queries import write_query
from plait.service.wire.search_pb2 import Query, SearchRequest
from plait.service.wire.search_pb2_grpc import SearchServiceStub

import plait

DIM, TOKENS, QUERY, K = 128, 60, 32, 10
CONCURRENCY = (1, 4, 16, 64)
SATURATING = (4, 16)
ROUNDS = 12
LOAD = 0.7
PACED = 3


@contextmanager
def served(root: Path, bare: bool) -> Iterator[tuple[int, str, str]]:
    """A server process of this folder: its number, its address, and a key for it.

    With keys, a line in a log file for every call, and metrics, as it is run for others; `bare`: without all of these.
    """
    run = [sys.executable, "-c", "from plait.service.cli import main; main()", "serve", str(root)]
    ring, log = root / "keys.json", root / "server.log"
    _, key = keys.create(ring, "benchmark", "admin")
    edge = ["--set", "log=warning"] if bare else ["--keys", str(ring), "--admin", "127.0.0.1:0"]
    with log.open("w") as told, subprocess.Popen([*run, *edge, "--listen", "127.0.0.1:0"], stderr=told) as process:
        try:
            while not (serving := [line for line in log.read_text().splitlines() if line.startswith("serving")]):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield process.pid, f"127.0.0.1:{serving[0].rpartition(':')[2].strip()}", key
        finally:
            process.terminate()


@contextmanager
def bare_served(root: Path, answer: bytes, queries: list[Any]) -> Iterator[tuple[int, str]]:
    """`bare_server.py` on the collection `given`: its number and address."""
    np.save(root / "queries.npy", np.stack([query.vectors for query in queries]))
    (root / "answer").write_bytes(answer)
    script = Path(__file__).with_name("bare_server.py")
    run = [sys.executable, script, *(root / name for name in ("given", "queries.npy", "answer")), str(K)]
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
    """Calls that come at random at this mean rate, whatever has not been answered yet; latencies from when they were due."""
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


def searches(here: Any, there: Any, queries: list[Any], seconds: float, server: int, **search: Any) -> list[dict]:
    rows = []
    for concurrency in CONCURRENCY:
        for place, index in (("in process", here), ("service", there)):
            measured = under_load(
                lambda n, index=index: index.search(queries[n % len(queries)], K, **search),
                concurrency,
                seconds,
                server if index is there else None,
            )
            rows.append({"place": place, "concurrency": concurrency, **measured})
    return rows


def floors(here: Any, there: Any, root: Path, queries: list[Any], seconds: float, server: int) -> list[dict]:
    """One caller: CPU ms of a call, here and in the server, and what lies above the call in process."""
    requests = [
        SearchRequest(
            collection="given", k=K, query=Query(encoded=write_query(plait.Queries(query)))
        ).SerializeToString()
        for query in queries
    ]
    stub = SearchServiceStub(there._channel.grpc)
    answer = there._channel.call(stub.Search, SearchRequest.FromString(requests[0])).SerializeToString()
    with bare_served(root, answer, queries) as (bare, target), grpc.insecure_channel(target) as channel:
        echo, search = channel.unary_unary("/bare/Echo"), channel.unary_unary("/bare/Search")
        ways: dict[str, tuple[Callable[[int], Any], int | None]] = {
            "in process": (lambda n: here.search(queries[n % 256], K), None),
            "empty echo": (lambda n: echo(answer), bare),
            "bare handler": (lambda n: search(requests[n % 256]), bare),
            "plait": (lambda n: there.search(queries[n % 256], K), server),
        }
        for call, _ in ways.values():
            call(0)
        rounds = [
            {way: _cpu_ms(under_load(call, 1, seconds, of)) for way, (call, of) in ways.items()} for _ in range(ROUNDS)
        ]
    rows = []
    for way in ways:
        above = [one[way] - (0 if way == "empty echo" else one["in process"]) for one in rounds]
        rows.append({"way": way, "cpu_ms": _median(one[way] for one in rounds), "above_ms": _median(above)})
    ours = [one["plait"] - one["bare handler"] for one in rounds]
    return [*rows, {"way": "plait above the bare handler", "cpu_ms": _median(ours), "least_ms": min(ours)}]


def saturated(here: Any, there: Any, queries: list[Any], seconds: float, server: int) -> dict[str, Any]:
    """Searches a second at most, in process and by the service, whichever number of callers gives most in a round."""
    rounds = []
    for _ in range(ROUNDS // 2):
        one: dict[str, dict[str, Any]] = {}
        for place, index in (("in process", here), ("service", there)):
            tried = [
                under_load(
                    lambda n, index=index: index.search(queries[n % 256], K),
                    c,
                    seconds,
                    server if index is there else None,
                )
                for c in SATURATING
            ]
            one[place] = max(tried, key=lambda row: row["qps"])
        rounds.append(one)
    return {
        "qps_in_process": _median(one["in process"]["qps"] for one in rounds),
        "qps_service": _median(one["service"]["qps"] for one in rounds),
        "share": _median(one["service"]["qps"] / one["in process"]["qps"] for one in rounds),
        "share_of_cpu": _median(_cpu_ms(one["in process"]) / _cpu_ms(one["service"]) for one in rounds),
    }


def _cpu_ms(row: dict[str, Any]) -> float:
    return row["cpu_ms_here"] + row.get("cpu_ms_server", 0.0)


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def report(options: argparse.Namespace) -> dict[str, Any]:
    corpus = Corpus(options.documents, TOKENS, TOKENS, DIM, 0)
    ids = [f"d{i}" for i in range(options.documents)]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        root = Path(name)
        documents = corpus.draw(options.documents)
        with plait.create(root / "given", encoder=None, dim=DIM, store=options.store) as index:
            index.add_tokens(
                ids, documents, [{"title": f"document {i}", "year": 2000 + i % 25} for i in range(len(ids))]
            )
        plait.create(root / "fresh", encoder=None, dim=DIM, store=options.store).close()
        with plait.create(root / "text") as index:
            index.add([{"id": str(i), "text": f"{words} and number {i}"} for i, words in enumerate(_texts())])
        queries = [corpus.draw(1, QUERY, QUERY) for _ in range(256)]
        found: dict[str, Any] = {"simd": simd_level(), "cores": os.cpu_count(), "documents": options.documents}
        found["load"] = os.getloadavg()[0]
        with (
            served(root, options.bare) as (server, target, key),
            plait.connect(target, api_key=key) as connection,
        ):
            there = connection.open("given")
            with plait.open(root / "given") as here:
                for index in (here, there):
                    index.search(queries[0], K)
                found["floor"] = floors(here, there, root, queries, options.seconds / 5, server)
                if options.floor:
                    return found
                found["saturated"] = saturated(here, there, queries, options.seconds / 2, server)
                found["given"] = searches(here, there, queries, options.seconds, server)
                found["batch"] = _batches(here, there, corpus, options.seconds, server)
                found["explain"] = _explained(here, there, queries, options.seconds, server)
            rate = LOAD * found["saturated"]["qps_service"]
            found["paced"] = [
                paced(lambda n: there.search(queries[n % 256], K), rate, 2 * options.seconds) for _ in range(PACED)
            ]
            with plait.open(root / "text") as here:
                texts = _texts()
                here.search(texts[0])
                found["text"] = searches(here, connection.open("text"), texts, options.seconds, server)
            found["ingest"] = _ingested(connection.open("fresh"), corpus, options.ingest, server)
    return found


def _texts() -> list[str]:
    return [
        f"what is the {a} of a {b}" for a in ("colour", "weight", "age", "name") for b in ("fox", "sea", "king", "tree")
    ]


def _batches(here: Any, there: Any, corpus: Corpus, seconds: float, server: int) -> list[dict]:
    batch = corpus.draw(64, QUERY, QUERY)
    rows = []
    for place, index in (("in process", here), ("service", there)):
        one = under_load(lambda _, index=index: index.search(batch, K), 1, seconds, server if index is there else None)
        rows.append({"place": place, "queries": len(batch), **one})
    return rows


def _explained(here: Any, there: Any, queries: list[Any], seconds: float, server: int) -> list[dict]:
    rows = []
    for place, index in (("in process", here), ("service", there)):
        one = under_load(
            lambda n, index=index: index.explain(queries[n % 256], f"d{n % 1000}"),
            1,
            seconds,
            server if index is there else None,
        )
        rows.append({"place": place, **one})
    return rows


def _ingested(index: Any, corpus: Corpus, count: int, server: int) -> dict[str, Any]:
    tokens = corpus.draw(count)
    start, here, there = time.perf_counter(), time.process_time(), cpu_of(server)
    written = index.upsert_tokens([f"n{i}" for i in range(count)], tokens)
    wall = time.perf_counter() - start
    assert written.count == count == index.count()
    cpu = {"here": time.process_time() - here, "server": cpu_of(server) - there}
    return {
        "documents": count,
        "documents_per_s": count / wall,
        **{f"cpu_ms_{k}": 1000 * v / count for k, v in cpu.items()},
    }


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Four readers and one writer that replaces, adds and deletes; memory and latency by sixth of the time."""
    corpus = Corpus(options.documents, TOKENS, TOKENS, DIM, 0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        plait.create(Path(name) / "c", encoder=None, dim=DIM).close()
        with (
            served(Path(name), options.bare) as (server, target, key),
            plait.connect(target, api_key=key) as connection,
        ):
            index = connection.open("c")
            index.upsert_tokens([f"d{i}" for i in range(options.documents)], corpus.draw(options.documents))
            queries, draws = [corpus.draw(1, QUERY, QUERY) for _ in range(256)], [corpus.draw(32) for _ in range(16)]
            ends, parts, writes = time.perf_counter() + 60 * options.soak, [], 0
            stop = threading.Event()

            def write() -> None:
                nonlocal writes
                while not stop.wait(0.05):
                    first = 32 * (writes % (options.documents // 32))
                    index.upsert_tokens([f"d{first + i}" for i in range(32)], draws[writes % 16])
                    index.delete([f"d{first}"])
                    writes += 1

            writer = threading.Thread(target=write)
            writer.start()
            while time.perf_counter() < ends:
                part = under_load(lambda n: index.search(queries[n % 256], K), 4, 10 * options.soak, server)
                parts.append({**part, "memory_mb": memory_of(server), "writes": writes})
            stop.set()
            writer.join()
            return {"minutes": options.soak, "documents": index.count(), "parts": parts, "problems": index.check()}


def show(rows: Any, title: str) -> None:
    print(f"\n{title}")
    for row in rows if isinstance(rows, list) else [rows]:
        print("  " + "  ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--documents", type=int, default=20_000)
    options.add_argument("--store", default="auto")
    options.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    options.add_argument("--ingest", type=int, default=10_000, help="documents ingested")
    options.add_argument("--soak", type=float, default=0.0, metavar="MINUTES", help="mixed reads and writes instead")
    options.add_argument("--folder", type=Path, help="where collections are made; on the disk that shall be measured")
    options.add_argument("--floor", action="store_true", help="one caller alone, beside a bare grpcio handler")
    options.add_argument("--bare", action="store_true", help="a server without keys, log and metrics")
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    found = soak(chosen) if chosen.soak else report(chosen)
    if chosen.json:
        print(json.dumps(found))
        return
    for title, rows in found.items():
        show(rows, title) if isinstance(rows, list | dict) else print(f"{title} {rows}")


if __name__ == "__main__":
    main()
