"""Prometheus metrics of one server. Labels take values from fixed sets alone, or from the names of collections."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ..rpc.interceptor import End, Rpc

STAGES = ("queue", "encode", "search", "candidates", "score", "fetch")
_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_COUNTS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)

Stats = Callable[[], Iterable[tuple[str, dict[str, Any]]]]
"""Names of collections with what `Collection.stats` says of them, and whether encoding in the background has stopped.
"""


class Metrics:
    """What is counted, in a registry of its own: two servers in a process do not mix."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._seconds = Histogram(
            "plait_request_seconds",
            "Time of a call, by method and code.",
            ("method", "code"),
            registry=registry,
            buckets=_SECONDS,
        )
        self._stages = Histogram(
            "plait_stage_seconds", "Time of a stage of a search.", ("stage",), registry=registry, buckets=_SECONDS
        )
        self._candidates = Histogram(
            "plait_candidates", "Documents that a search scored exactly.", registry=registry, buckets=_COUNTS
        )
        self._under_way = Gauge("plait_requests_under_way", "Calls being answered.", registry=registry)
        self._queue = Gauge("plait_queue_depth", "Calls that wait for a thread.", registry=registry)
        self._recall = Gauge(
            "plait_probe_recall", "Mean recall@k of the latest probed searches.", ("collection",), registry=registry
        )
        self._probes = Counter(
            "plait_probes", "Searches due for a probe: answered exactly, or skipped.", ("result",), registry=registry
        )
        self._stage = {stage: self._stages.labels(stage) for stage in STAGES}
        self._request = cache(self._seconds.labels)

    def timed(self, rpc: Rpc) -> End:
        """A concern: counts and times the call."""
        rpc.observers.append(self.stage)
        started = time.perf_counter()
        self._under_way.inc()

        def end(code: grpc.StatusCode) -> None:
            self._under_way.dec()
            self._request(rpc.method, code.name).observe(time.perf_counter() - started)

        return end

    def stage(self, name: str, seconds: float, documents: int = 0) -> None:
        """Notes how long a stage of a call took, one of `STAGES`, and how many documents it scored."""
        self._stage[name].observe(seconds)
        if documents:
            self._candidates.observe(documents)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Asks for the depth of the queue at every scrape."""
        self._queue.set_function(depth)

    def watch_collections(self, stats: Stats) -> None:
        """Asks for the sizes of collections at every scrape."""
        self.registry.register(_Collections(stats))

    def watch_damage(self, damage: Callable[[], Iterable[str]]) -> None:
        """Asks at every scrape what is known to be damaged: names of collections, and of files of the server."""
        self.registry.register(_Damage(damage))

    def probed(self, collection: str, recall: float) -> None:
        self._recall.labels(collection).set(recall)
        self._probes.labels("answered").inc()

    def skipped(self) -> None:
        """A probe that the CPU budget did not allow."""
        self._probes.labels("skipped").inc()


def exposed(metrics: Metrics) -> str:
    """Everything, in Prometheus' text format."""
    return generate_latest(metrics.registry).decode()


def gathered(texts: Callable[[], Iterable[tuple[str, str]]]) -> CollectorRegistry:
    """The metrics of several processes, each sample with a label `process`.

    Args:
        texts: names of processes with what `exposed` gives there, asked for at every scrape.
    """
    registry = CollectorRegistry()
    registry.register(_Gathered(texts))
    return registry


class _Gathered(Collector):
    def __init__(self, texts: Callable[[], Iterable[tuple[str, str]]]):
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for process, text in self._texts():
            for found in text_string_to_metric_families(text):
                family = families.setdefault(found.name, Metric(found.name, found.documentation, found.type))
                family.samples += [s._replace(labels={**s.labels, "process": process}) for s in found.samples]
        return families.values()


class _Damage(Collector):
    def __init__(self, damage: Callable[[], Iterable[str]]):
        self._damage = damage

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        family = self._family()
        for name in self._damage():
            family.add_metric([name], 1)
        return [family]

    def _family(self) -> GaugeMetricFamily:
        text = "1 for every collection, or file of the server, that is damaged: calls that need it end in DATA_LOSS."
        return GaugeMetricFamily("plait_damaged", text, labels=["name"])


class _Collections(Collector):
    def __init__(self, stats: Stats):
        self._stats = stats

    def describe(self) -> Iterable[Metric]:
        return self._families().values()

    def collect(self) -> Iterable[Metric]:
        families = self._families()
        for name, stats in self._stats():
            values = {**stats, "segments": len(stats["segments"]), "bytes": stats["bytes"]["total"]}
            values |= {"log_bytes": stats["log"]["bytes"], "oldest_read_seconds": stats["log"]["oldest_read_s"]}
            for key, family in families.items():
                family.add_metric([name], values[key])
        return families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        said = {
            "documents": "Documents that are there.",
            "tokens": "Token vectors that are stored.",
            "bytes": "Bytes on disk.",
            "segments": "Sealed segments.",
            "fresh": "Fresh documents: in the catalog, not yet in a segment.",
            "pending": "Documents that wait for what a model computes of them.",
            "encoding_stopped": "1 while an error has ended encoding in the background, otherwise 0.",
            "dead": "Documents deleted or replaced, not yet merged away.",
            "seq": "The sequence number of the last write.",
            "log_bytes": "Bytes of SQLite's log beside the catalog.",
            "oldest_read_seconds": "For how long the oldest read of this process has held its state, and the log with it.",
        }
        return {
            key: GaugeMetricFamily(f"plait_collection_{key}", text, labels=["collection"]) for key, text in said.items()
        }
