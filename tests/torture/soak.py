"""A server under all its operations at once for a while: nothing acknowledged is lost, and it does not grow.

`make soak MINUTES=30` runs `python -m torture.soak`. The server listens on the loopback device alone. The soak ends
with 1 when a call fails with a code that does not ask for another try, when a read is older than an answered write,
when a document is missing, or when memory, descriptors or SQLite's log grow beyond their bounds.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from plait.index.reading.check import check_collection
from served import Server, Wire, failure, tensor

from . import figures
from .history import History, Version

DIM = 16
COLLECTIONS = {"one": {"dim": DIM}, "two": {"terms": "bm25"}}
"""What each is made of: vectors that are given, and texts."""
IDS = 150
"""Documents of one writer, so that what is kept does not grow and what grows is a leak."""
WORDS = ("moon", "sea", "stone", "river", "cloud", "field", "house", "night", "winter", "road", "bridge", "star")
TRY_AGAIN = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED"}
MEMORY = 1.25, 96 << 20
DESCRIPTORS = 1.5, 64
"""What the last third may have at most: so many times the most of the first third, and so much more."""
LOG = 64 << 20
"""Bytes of SQLite's logs at any time."""


@dataclass
class Run:
    """What the threads share."""

    target: str
    stop: threading.Event = field(default_factory=threading.Event)
    histories: dict[str, History] = field(default_factory=lambda: {name: History() for name in COLLECTIONS})
    calls: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    """Calls that were refused for now, by kind and code."""
    search_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


Act = Callable[[Run, Wire, random.Random, int], str]
"""One operation, which says what kind it was. The number tells threads of one kind apart."""


def document(collection: str, id: str, version: int, rng: random.Random) -> dict[str, Any]:
    """The version is a text: a JSON number does not hold it exactly."""
    if collection == "one":
        return {"id": id, "payload": {"v": str(version)}, "tokens": _tokens(rng, rng.randint(1, 12))}
    return {"id": id, "payload": {"v": str(version), "text": " ".join(rng.choices(WORDS, k=rng.randint(3, 20)))}}


def _tokens(rng: random.Random, count: int) -> dict[str, Any]:
    values = np.random.default_rng(rng.randrange(1 << 30)).standard_normal((count, DIM))
    return {"vectors": tensor(values.astype(np.float32))}


def _one_of(number: int) -> str:
    return [*COLLECTIONS][number % 2]


def write(run: Run, wire: Wire, rng: random.Random, number: int) -> str:
    name = _one_of(number)
    ids = sorted({f"w{number}-{rng.randrange(IDS)}" for _ in range(rng.choice((1, 1, 3, 20)))})
    if rng.random() < 0.25:
        with run.histories[name].write(dict.fromkeys(ids)):
            wire("DeleteDocuments", collection=name, ids={"ids": ids})
        return "delete"
    version = time.monotonic_ns()
    with run.histories[name].write(dict.fromkeys(ids, version)):
        wire("UpsertDocuments", collection=name, documents=[document(name, id, version, rng) for id in ids])
    return "upsert"


def bulk(run: Run, wire: Wire, rng: random.Random, number: int) -> str:
    name, version = _one_of(number), time.monotonic_ns()
    ids = [f"bulk{version}-{i}" for i in range(100)]
    documents = [document(name, id, version, rng) for id in ids]
    messages = [
        {"collection": name, "bulk": True, "documents": documents[:50]},
        {"documents": documents[50:], "last": True},
    ]
    with run.histories[name].write(dict.fromkeys(ids, version)):
        list(wire.stream("IngestDocuments", messages))
    for _ in range(100):
        try:
            with run.histories[name].write(dict.fromkeys(ids)):
                wire("DeleteDocuments", collection=name, ids={"ids": ids})
            break
        except grpc.RpcError as error:
            if failure(error)[0] not in TRY_AGAIN:
                raise
            time.sleep(0.1)
    run.stop.wait(3)
    return "bulk"


def read(run: Run, wire: Wire, rng: random.Random, number: int) -> str:
    writer = rng.randrange(4)
    name, id = _one_of(writer), f"w{writer}-{rng.randrange(IDS)}"
    seen: list[Version] = []
    with run.histories[name].read(id, seen):
        found = wire("GetDocuments", collection=name, ids=[id]).documents
        seen.append(int(found[0].payload["v"]) if found else None)
    return "get"


def search(run: Run, wire: Wire, rng: random.Random, number: int) -> str:
    name, begun = rng.choice(("one", "two", "live")), time.perf_counter()
    query = {"text": rng.choice(WORDS)} if name == "two" else {"encoded": {"tokens": _tokens(rng, 4)}}
    hits = wire("Search", collection=name, query=query, k=10).hits
    run.search_ms.append((time.perf_counter() - begun) * 1000)
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True) and len({hit.id for hit in hits}) == len(hits), hits
    return "search"


def browse(run: Run, wire: Wire, rng: random.Random, number: int) -> str:
    name, token, ids = rng.choice([*COLLECTIONS]), "", []
    while True:
        page = wire("ListDocuments", collection=name, page_size=200, page_token=token)
        ids += [one.id for one in page.documents]
        token = page.next_page_token
        if not token:
            break
    assert ids == sorted(set(ids)), "a list is out of order"
    run.stop.wait(0.5)
    return "list"


def upkeep(run: Run, wire: Wire, rng: random.Random, number: int) -> str:
    name = rng.choice([*COLLECTIONS])
    chosen = rng.choice(("alias", "alias", "compact", "snapshot"))
    if chosen == "alias":
        wire("SetAlias", alias="live", collection="one")
        wire("SetAlias", alias="other", collection=name)
    elif chosen == "compact":
        _ended(wire, wire("CompactCollection", collection=name))
    else:
        snapshot = f"s{time.monotonic_ns()}"
        _ended(wire, wire("CreateSnapshot", collection=name, name=snapshot))
        wire("DeleteSnapshot", name=snapshot, confirm_name=snapshot)
    run.stop.wait(1)
    return chosen


def _ended(wire: Wire, answer: Any) -> None:
    operation = wire.ended(answer.operation)
    assert operation.state == 3, operation


THREADS: list[tuple[Act, int]] = [
    *((write, n) for n in range(4)),
    *((bulk, n) for n in range(2)),
    *((read, n) for n in range(2)),
    *((search, n) for n in range(3)),
    (browse, 0),
    (upkeep, 0),
]


def go_on(run: Run, act: Act, number: int) -> None:
    rng, wire = random.Random(f"{act.__name__} {number}"), Wire(run.target)
    while not run.stop.is_set():
        try:
            run.calls[act(run, wire, rng, number)] += 1
        except grpc.RpcError as error:
            status, text, _ = failure(error)
            if status not in TRY_AGAIN:
                run.wrong.append(f"{act.__name__}: {status}: {text}"[:500])
            run.again[f"{act.__name__} {status}"] += 1
            run.stop.wait(0.1)
        except Exception as error:
            run.wrong.append(f"{act.__name__}: {type(error).__name__}: {error}"[:500])
        run.stop.wait(rng.uniform(0, 0.02))
    wire.close()


def sample(process: int, root: Path) -> dict[str, float]:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    logs = (file.stat().st_size for file in root.glob("*/catalog.db-wal"))
    held = {
        "memory": int(status["VmRSS"].split()[0]) << 10,
        "descriptors": len(os.listdir(f"/proc/{process}/fd")),
        "log": sum(logs),
    }
    return {"at_s": round(time.monotonic(), 1), **held}


def grown(samples: list[dict[str, float]]) -> list[str]:
    """What grew beyond its bound. The first tenth is left out: caches and threads are still being made."""
    steady = samples[len(samples) // 10 :]
    third = max(1, len(steady) // 3)
    found = []
    for what, (factor, more) in {"memory": MEMORY, "descriptors": DESCRIPTORS}.items():
        before, after = (max(s[what] for s in some) for some in (steady[:third], steady[-third:]))
        if after > factor * before + more:
            found.append(f"{what} grew from {before:,.0f} to {after:,.0f}; {factor * before + more:,.0f} is the bound")
    if (log := max(s["log"] for s in samples)) > LOG:
        found.append(f"SQLite's logs took {log:,} bytes; {LOG:,} is the bound")
    return found


def soak(root: Path, seconds: float, every: float = 2.0) -> dict[str, Any]:
    """Runs it and returns figures; `wrong` is empty when all is well."""
    server = Server(root)
    wire, run = Wire(server.target), Run(server.target)
    for name, made in COLLECTIONS.items():
        wire("CreateCollection", collection=name, encoder="none", fields=["v"], **made)
    wire("SetAlias", alias="live", collection="one")
    threads = [threading.Thread(target=go_on, args=(run, *one)) for one in THREADS]
    for thread in threads:
        thread.start()
    samples, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends and server.process.poll() is None:
        samples.append(sample(server.process.pid, root))
        time.sleep(every)
    run.stop.set()
    for thread in threads:
        thread.join(120)
    wrong = [*run.wrong, *grown(samples)] + [f"a {t.name} hangs" for t in threads if t.is_alive()]
    if server.process.poll() is None:
        for name in COLLECTIONS:
            wrong += run.histories[name].check(_all(wire, name))
    wire.close()
    if code := server.stop():
        wrong.append(f"the server ended with {code}: {''.join(server.log[-5:])}")
    wrong += [str(problem) for name in COLLECTIONS for problem in check_collection(root / name)]
    times = sorted(run.search_ms) or [0.0]
    return {
        "seconds": seconds,
        "calls": dict(run.calls),
        "tried_again": dict(run.again),
        "acknowledged_writes": sum(history.acknowledged for history in run.histories.values()),
        "documents": sum(map(len, run.histories.values())),
        "search_ms": {"p50": round(times[len(times) // 2], 1), "p99": round(times[int(len(times) * 0.99)], 1)},
        "most": {what: max(s[what] for s in samples) for what in ("memory", "descriptors", "log")},
        "last": samples[-1],
        "samples": samples[:: max(1, len(samples) // 60)],
        "wrong": wrong[:50],
    }


def _all(wire: Wire, name: str) -> dict[str, Version]:
    found: dict[str, Version] = {}
    token = ""
    while True:
        page = wire("ListDocuments", collection=name, page_size=500, page_token=token, timeout=120)
        found |= {one.id: int(one.payload["v"]) for one in page.documents}
        if not (token := page.next_page_token):
            return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m torture.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folder", type=Path, default=None, help="where the collections are made and removed")
    parser.add_argument("--results", type=Path, help="a folder for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="plait-soak-", dir=options.folder) as root:
        found = soak(Path(root), options.minutes * 60)
    if options.results:
        figures.write(options.results / "soak.json", found)
    print({key: value for key, value in found.items() if key not in ("samples", "wrong")})
    for line in found["wrong"]:
        print(f"WRONG {line}", file=sys.stderr)
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())
