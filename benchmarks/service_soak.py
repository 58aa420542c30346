"""Mixed reads and writes on a server for minutes: latency and memory by sixth of the time.

python benchmarks/service.py --soak 10 --documents 2000
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from live import Corpus
from service_load import memory_of, served, under_load

import plait

DIM, TOKENS, QUERY, K = 128, 60, 32, 10


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
