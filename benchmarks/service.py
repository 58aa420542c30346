"""What the gRPC service costs beside the same collection in this process: searches, ingest, explanations; and a soak.

    python benchmarks/service.py                          # 20,000 documents of 60 tokens, 128 dimensions
    python benchmarks/service.py --documents 2000 --seconds 2 --json
    python benchmarks/service.py --floor --documents 100  # one caller: in process, a bare grpcio handler, plait
    python benchmarks/service.py --peers PEERS            # and Qdrant's engine in process (peers/qdrant_edge.py installs it)
    python benchmarks/service.py --soak 10                # minutes of mixed reads and writes
    python benchmarks/service.py --overload --documents 2000 --seconds 3   # more callers than it lets in

Server and clients share the machine's cores, so compare CPU times and ratios within one run; wall times hold for a
quiet machine alone. The in-process figure is the same `Retriever.search` from as many threads. Ways that are compared
take turns, round by round, and the medians of the rounds are told. Set OMP_NUM_THREADS=1, as a server with several
workers should have it.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from engine_process import Engine, EngineFailed
from figures import add_option, keep
from live import Corpus
from plait.index.kernels.vectors import simd_level
from plait.index.tokens import Tokens
from plait.service.messages.queries import write_query
from plait.service.wire.search_pb2 import Query, SearchRequest
from plait.service.wire.search_pb2_grpc import SearchServiceStub
from service_load import bare_served, cpu_of, ideal, paced, served, under_load
from service_overload import overload
from service_soak import soak

import plait

DIM, TOKENS, QUERY, K = 128, 60, 32, 10
CONCURRENCY = (1, 4, 16, 64)
SATURATING = (4, 16)
ROUNDS = 12
LOAD = 0.7
PACED = 3
SOME = 32
"""Queries for engines beside plait."""


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


Way = tuple[Callable[[int], Any], int | None]
"""A call by its number, and the process that works for it beside this one."""


@contextmanager
def ways(here: Any, there: Any, root: Path, queries: list[Any], server: int) -> Iterator[dict[str, Way]]:
    """The same search in process, by a bare grpcio handler and by plait; and an empty call."""
    requests = [
        SearchRequest(
            collection="given", k=K, query=Query(encoded=write_query(plait.Queries(query)))
        ).SerializeToString()
        for query in queries
    ]
    stub = SearchServiceStub(there._channel.grpc)
    answer = there._channel.call(stub.Search, SearchRequest.FromString(requests[0])).SerializeToString()
    with bare_served(root, answer, queries, K) as (bare, target), grpc.insecure_channel(target) as channel:
        echo, search = channel.unary_unary("/bare/Echo"), channel.unary_unary("/bare/Search")
        made: dict[str, Way] = {
            "in process": (lambda n: here.search(queries[n % 256], K), None),
            "empty echo": (lambda n: echo(answer), bare),
            "bare handler": (lambda n: search(requests[n % 256]), bare),
            "plait": (lambda n: there.search(queries[n % 256], K), server),
        }
        for call, _ in made.values():
            call(0)
        yield made


def floors(made: dict[str, Way], seconds: float) -> list[dict]:
    """One caller: CPU ms of a call, here and in the server, and what lies above the call in process."""
    rounds = [
        {way: _cpu_ms(under_load(call, 1, seconds, of)) for way, (call, of) in made.items()} for _ in range(ROUNDS)
    ]
    rows = []
    for way in made:
        above = [one[way] - (0 if way == "empty echo" else one["in process"]) for one in rounds]
        rows.append({"way": way, "cpu_ms": _median(one[way] for one in rounds), "above_ms": _median(above)})
    ours = [one["plait"] - one["bare handler"] for one in rounds]
    return [*rows, {"way": "plait above the bare handler", "cpu_ms": _median(ours), "least_ms": min(ours)}]


def saturated(made: dict[str, Way], seconds: float) -> list[dict]:
    """Searches a second at most, whichever number of callers gives most in a round,
    and the share of those in process."""
    rounds: list[dict[str, dict[str, Any]]] = []
    for _ in range(ROUNDS // 2):
        tried = {way: [under_load(call, c, seconds, of) for c in SATURATING] for way, (call, of) in made.items()}
        rounds.append({way: max(rows, key=lambda row: row["qps"]) for way, rows in tried.items()})
    return [
        {
            "way": way,
            "qps": _median(one[way]["qps"] for one in rounds),
            "share": _median(one[way]["qps"] / one["in process"]["qps"] for one in rounds),
            "share_of_cpu": _median(_cpu_ms(one["in process"]) / _cpu_ms(one[way]) for one in rounds),
            "cores_busy": _median(one[way]["qps"] * _cpu_ms(one[way]) / 1000 for one in rounds),
        }
        for way in made
    ]


def paced_rows(made: dict[str, Way], most: dict[str, float], seconds: float) -> list[dict]:
    """Latencies at `LOAD` of what each way can do at most, in turns; last what an ideal queue has."""
    rounds = [{way: paced(call, LOAD * most[way], seconds) for way, (call, _) in made.items()} for _ in range(PACED)]
    rows: list[dict] = []
    for way in made:
        names = rounds[0][way]
        rows.append({"way": way, **{name: _median(one[way][name] for one in rounds) for name in names}})
        rows[-1]["from"], rows[-1]["to"] = (f([one[way]["p99_over_p50"] for one in rounds]) for f in (min, max))
    cores = os.cpu_count() or 1
    return [*rows, {"way": f"ideal, {cores} cores", **ideal(cores, LOAD)}]


def beside(peers: Path, documents: Tokens, here: Any, queries: list[Any], folder: Path) -> list[dict]:
    """Qdrant's engine in a process of its own on the same vectors: CPU ms of a search, and how many of the exact top k
    it finds."""
    data, index = folder / "tokens", folder / "qdrant"
    for made in (data, index):
        made.mkdir()
    documents.vectors.astype("<f2").tofile(data / "vectors")
    documents.offsets.astype("<i8").tofile(data / "offsets")
    np.zeros(len(documents.vectors), "<u4").tofile(data / "ids")
    engine = Engine("qdrant_edge", {}, [{}], data, peers, 1)
    try:
        engine.start(index)
    except EngineFailed as error:
        return [{"way": str(error)}]
    rows: dict[str, list[tuple[float, float]]] = {"plait": [], "plait, exact": [], "Qdrant Edge": []}
    for query in queries:
        found, seconds = engine.search(query.vectors, K, {})
        told = {"Qdrant Edge": ([f"d{n}" for n in found.tolist()], seconds)}
        for way, search in (("plait", {}), ("plait, exact", {"exact": True})):
            began = time.process_time()
            (hits,) = here.search(query, K, **search)
            told[way] = [hit.id for hit in hits], time.process_time() - began
        truth = told["plait, exact"][0]
        for way, (ids, cpu) in told.items():
            rows[way].append((1000 * cpu, len({*ids} & {*truth}) / K))
    rows_of = [
        {"way": way, "cpu_ms": _median(cpu for cpu, _ in some), "recall": float(np.mean([share for _, share in some]))}
        for way, some in rows.items()
    ]
    return [*rows_of, {"way": "Qdrant Edge", **engine.built, "peak_mb": engine.stop()}]


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
                with ways(here, there, root, queries, server) as made:
                    found["floor"] = floors(made, options.seconds / 5)
                    if options.floor:
                        return found
                    made.pop("empty echo")
                    found["saturated"] = saturated(made, options.seconds / 2)
                    most = {row["way"]: row["qps"] for row in found["saturated"]}
                    found["paced"] = paced_rows(made, most, 2 * options.seconds)
                if options.peers:
                    found["peers"] = beside(options.peers, documents, here, queries[:SOME], root)
                found["given"] = searches(here, there, queries, options.seconds, server)
                found["batch"] = _batches(here, there, corpus, options.seconds, server)
                found["explain"] = _explained(here, there, queries, options.seconds, server)
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
    options.add_argument("--overload", action="store_true", help="a flood of callers instead")
    options.add_argument("--folder", type=Path, help="where collections are made; on the disk that shall be measured")
    options.add_argument("--floor", action="store_true", help="one caller alone, beside a bare grpcio handler")
    options.add_argument("--peers", type=Path, help="a folder with qdrant-edge-py, which is measured beside plait")
    options.add_argument("--bare", action="store_true", help="a server without keys, log and metrics")
    options.add_argument("--json", action="store_true")
    add_option(options)
    chosen = options.parse_args()
    found = soak(chosen) if chosen.soak else overload(chosen) if chosen.overload else report(chosen)
    keep(chosen, {"found": found}, ["grpcio"])
    for title, rows in [] if chosen.json else found.items():
        show(rows, title) if isinstance(rows, list | dict) else print(f"{title} {rows}")
    if chosen.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
