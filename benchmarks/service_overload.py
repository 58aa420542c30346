"""More callers than a server lets in: how many are refused and with what, how long the rest waits, memory, and what is
left of it.

    python benchmarks/service.py --overload --documents 2000 --seconds 3

The server has few places, so that callers of one process can fill them. Callers share its cores:
latencies are those of both.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from live import Corpus
from plait.index.tokens import Tokens, from_matrices
from plait.service.messages.queries import write_query
from plait.service.server.server import LINE, WINDOW
from plait.service.wire.search_pb2 import Query, SearchRequest
from service_load import quantiles, served, under_load

import plait

WORKERS, QUEUE, STREAMS = 2, 6, 2
CALLERS, CHANNELS = 64, 8
MESSAGE = 4 << 20
DIM, TOKENS, K = 128, 32, 10
WIDE, LONG = 1024, 1023
"""Dimensions and query tokens of messages of 4 MiB in float32."""
AGAIN_S = 0.01
"""A refused caller comes again so soon, a hundred times sooner than it is told to."""


class Callers:
    """Threads that send one request over several connections, and how their calls ended."""

    def __init__(self, channels: list[grpc.Channel], request: SearchRequest, key: str):
        path = "/plait.v1.SearchService/Search"
        self._calls = [channel.unary_unary(path) for channel in channels]
        self._data, self._metadata = request.SerializeToString(), (("authorization", f"Bearer {key}"),)
        self.begin()

    def begin(self) -> None:
        self.ends: Counter[str] = Counter()
        self.times: list[float] = []
        self.told = 0

    def __call__(self, number: int) -> None:
        began = time.perf_counter()
        try:
            self._calls[number % len(self._calls)](self._data, metadata=self._metadata, timeout=120)
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            self.ends[error.code().name] += 1
            self.told += _says_when(error)
            time.sleep(AGAIN_S)
        else:
            self.ends["OK"] += 1
            self.times.append(time.perf_counter() - began)

    def run(self, count: int, seconds: float) -> None:
        """So many callers without pause."""
        self.begin()
        under_load(self, count, seconds, None)


def overload(options: argparse.Namespace) -> dict[str, Any]:
    """A flood of small queries and one of large ones: before it one caller, and after it."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=options.folder) as name, ExitStack() as stack:
        root, corpus = Path(name), Corpus(options.documents, 60, 60, DIM, 0)
        with plait.create(root / "small", encoder=None, dim=DIM) as index:
            index.add_tokens([f"d{i}" for i in range(options.documents)], corpus.draw(options.documents))
        with plait.create(root / "large", encoder=None, dim=WIDE) as index:
            wide = [rng.standard_normal((4, WIDE)).astype(np.float32) for _ in range(200)]
            index.add_tokens([f"d{i}" for i in range(200)], from_matrices(wide))
        long = from_matrices([rng.standard_normal((LONG, WIDE)).astype(np.float32)])
        places = {"workers": WORKERS, "queue": QUEUE, "streams": STREAMS, "limits.message_bytes": MESSAGE}
        server, target, key = stack.enter_context(served(root, options.bare, places))
        own = [("grpc.use_local_subchannel_pool", 1)]
        channels = [stack.enter_context(grpc.insecure_channel(target, own)) for _ in range(CHANNELS)]
        queries: dict[str, Tokens] = {"small": corpus.draw(1, TOKENS, TOKENS), "large": long}
        bound = (3 * MESSAGE * (WORKERS + QUEUE + STREAMS) + LINE * WINDOW) / 2**20
        floods = []
        for collection, query in queries.items():
            encoded = Query(encoded=write_query(plait.Queries(query)))
            callers = Callers(channels, SearchRequest(collection=collection, k=K, query=encoded), key)
            floods.append({"messages": collection, **_flood(callers, options.seconds, server)})
    return {"places": places, "callers": CALLERS, "bound_mb": bound, "floods": floods}


def _flood(callers: Callers, seconds: float, server: int) -> dict[str, Any]:
    callers(0)
    callers.run(1, seconds / 2)
    calm = quantiles(callers.times)["p50_ms"]
    before = _resident(server)
    (Path("/proc") / str(server) / "clear_refs").write_text("5")  # the peak begins anew
    callers.run(CALLERS, seconds)
    peak, after = _resident(server, "VmHWM"), _resident(server)
    ends, told, times = dict(callers.ends), callers.told, callers.times
    calls = sum(ends.values())
    refused = calls - ends.get("OK", 0)
    callers.run(1, seconds / 2)
    return {
        "calls": calls,
        "refused_share": refused / calls,
        **ends,
        "told_when_share": told / refused if refused else 1.0,
        **quantiles(times),
        "before_mb": before,
        "peak_mb": peak,
        "after_mb": after,
        "one_caller_p50_ms": calm,
        "afterwards_p50_ms": quantiles(callers.times)["p50_ms"],
        "afterwards_failed": sum(callers.ends.values()) - callers.ends["OK"],
    }


def _says_when(error: grpc.Call) -> bool:
    """Whether it has the time after which to try again."""
    status = rpc_status.from_call(error)
    return status is not None and any(d.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for d in status.details)


def _resident(process: int, line: str = "VmRSS") -> float:
    """Resident MB now; `VmHWM`: at most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(one.split()[1]) / 1024 for one in lines if one.startswith(line))
