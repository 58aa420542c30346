"""Metrics as Prometheus reads them, the admin port, and the recall probe against recall by hand."""

from __future__ import annotations

import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paths import ROOT

pytest.importorskip("prometheus_client", reason="the extra `service` is not installed")
import grpc
from echo_service import call, invoker, serving
from hypothesis import given
from hypothesis import strategies as st
from plait.index.errors import NotFound, Unavailable
from plait.service.concerns import recall_probe
from plait.service.concerns.admin import AdminServer
from plait.service.concerns.metrics import Metrics
from plait.service.concerns.recall_probe import WINDOW, RecallProbe, recall
from plait.service.rpc.interceptor import stage_ended
from prometheus_client.parser import text_string_to_metric_families

STATS = {
    "documents": 5,
    "tokens": 40,
    "fresh": 2,
    "dead": 1,
    "pending": 3,
    "encoding_stopped": False,
    "seq": 9,
    "segments": [{}, {}],
    "bytes": {"total": 1234},
    "log": {"bytes": 77, "oldest_read_s": 1.5},
}


def get(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(address: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and label values."""
    status, text = get(address, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {(s.name, *(v for k, v in sorted(s.labels.items()))): s.value for f in families for s in f.samples}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def address(metrics: Metrics) -> Iterator[str]:
    metrics.watch_queue(lambda: 3)
    metrics.watch_collections(lambda: [("notes", STATS), ("mail", {**STATS, "documents": 0, "encoding_stopped": True})])
    admin = AdminServer("127.0.0.1:0", metrics.registry, lambda: True)
    yield admin.address
    admin.stop()


def test_what_was_done_is_counted(metrics: Metrics, address: str) -> None:
    def work(one: Any, context: grpc.ServicerContext) -> Any:
        stage_ended("encode", 0.004)
        stage_ended("encode", 0.3)
        stage_ended("score", 0.001, 50)
        return one

    with (
        serving([metrics.timed], {"Work": {"unary_unary": work}}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        for _ in range(3):
            call(channel, "unary_unary", ["x"])
        for text in ("abort", "crash"):
            with pytest.raises(grpc.RpcError):
                call(channel, "stream_stream", [text])
        call(channel, "unary_unary", ["x"], method="Work")
        with pytest.raises(grpc.RpcError):
            invoker(channel, "unary_unary", "Nothing")(None)
    found = samples(address)
    assert found["plait_request_seconds_count", "OK", "/test.unary_unary/Echo"] == 3
    assert found["plait_request_seconds_count", "NOT_FOUND", "/test.stream_stream/Echo"] == 1
    assert found["plait_request_seconds_count", "INTERNAL", "/test.stream_stream/Echo"] == 1
    assert found["plait_stage_seconds_count", "encode"] == 2
    assert found["plait_stage_seconds_sum", "encode"] == pytest.approx(0.304)
    assert found["plait_stage_seconds_bucket", "0.005", "encode"] == 1
    assert found["plait_candidates_sum",] == 50
    assert found["plait_requests_under_way",] == 0
    assert not [key for key in found if "Nothing" in "".join(key)], "a name that a caller made up is no label"


def test_collections_and_the_queue_are_asked_for_at_the_scrape(address: str) -> None:
    found = samples(address)
    assert found["plait_queue_depth",] == 3
    for name, value in (
        ("documents", 5),
        ("bytes", 1234),
        ("segments", 2),
        ("fresh", 2),
        ("log_bytes", 77),
        ("seq", 9),
    ):
        assert found[f"plait_collection_{name}", "notes"] == value
    assert found["plait_collection_documents", "mail"] == 0
    assert [found["plait_collection_encoding_stopped", name] for name in ("notes", "mail")] == [0, 1]


def test_health_and_readiness(metrics: Metrics) -> None:
    ready = threading.Event()
    admin = AdminServer("127.0.0.1:0", metrics.registry, ready.is_set)
    try:
        assert get(admin.address, "/healthz")[0] == 200
        assert get(admin.address, "/readyz")[0] == 503
        ready.set()
        assert get(admin.address, "/readyz?verbose")[0] == 200
        assert get(admin.address, "/")[0] == 404
        with pytest.raises(Unavailable, match=r"admin\.listen"):
            AdminServer(admin.address, metrics.registry, ready.is_set)
    finally:
        admin.stop()
    with pytest.raises(urllib.error.URLError):
        get(admin.address, "/healthz")


def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_every_nth_search_is_probed_and_the_gauge_is_the_mean_of_the_latest(metrics: Metrics, address: str) -> None:
    exact = ["a", "b", "c", "d"]
    answers = [["a", "b", "c", "d"], ["d", "x"], ["x", "y"], ["b", "a", "x"]]
    by_hand = [4 / 4, 1 / 4, 0 / 4, 2 / 4]
    probe = RecallProbe(3, 1.0, metrics)
    try:
        for number, found in enumerate(answers, 1):
            for _ in range(2):
                probe.offer("notes", ["nothing"], lambda: pytest.fail("only every third is probed"))
            probe.offer("notes", found, lambda: exact)
            eventually(lambda n=number: samples(address).get(("plait_probes_total", "answered")) == n)
            assert samples(address)["plait_probe_recall", "notes"] == pytest.approx(sum(by_hand[:number]) / number)
            eventually(lambda: probe._free)
        for _ in range(WINDOW):
            eventually(lambda: probe._free)
            for _ in range(3):
                probe.offer("notes", exact, lambda: exact)
        eventually(lambda: samples(address)["plait_probe_recall", "notes"] == 1.0)
    finally:
        probe.stop()
    assert ("plait_probes_total", "skipped") not in samples(address)


def test_a_probe_makes_no_search_wait(metrics: Metrics, address: str) -> None:
    begun, go = threading.Event(), threading.Event()

    def exactly() -> list[str]:
        begun.set()
        assert go.wait(10)
        return ["a"]

    probe = RecallProbe(1, 1.0, metrics)
    try:
        probe.offer("notes", ["a"], exactly)
        assert begun.wait(10)
        for _ in range(5):
            probe.offer("notes", ["a"], lambda: pytest.fail("one at a time"))
        go.set()
        eventually(lambda: probe._free)
    finally:
        probe.stop()
    found = samples(address)
    assert (found["plait_probes_total", "skipped"], found["plait_probes_total", "answered"]) == (5, 1)


def test_a_probe_rests_for_its_budget(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of the time: after 2 seconds of work 8 of rest."""
    rests = []

    class Resting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            rests.append(timeout)
            return False

    clock = iter([10.0, 12.0])
    monkeypatch.setattr(recall_probe, "perf_counter", lambda: next(clock))
    probe = RecallProbe(1, 0.2, metrics)
    probe._stopped = Resting()
    try:
        probe.offer("notes", ["a"], lambda: ["a"])
        eventually(lambda: probe._free)
    finally:
        probe.stop()
    assert rests == [8.0]


def test_a_probe_that_fails_is_not_the_last(metrics: Metrics, address: str) -> None:
    probe = RecallProbe(1, 1.0, metrics)

    def gone() -> list[str]:
        raise NotFound("deleted meanwhile")

    try:
        probe.offer("old", ["a"], gone)
        eventually(lambda: probe._free)
        probe.offer("new", ["a"], lambda: ["a"])
        eventually(lambda: ("plait_probe_recall", "new") in samples(address))
    finally:
        probe.stop()
    assert ("plait_probe_recall", "old") not in samples(address)


@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_recall_by_hand(found: list[int], exact: list[int]) -> None:
    f, e = [str(n) for n in found], [str(n) for n in exact]
    by_hand = sum(1 for id in e if id in f) / len(e) if e else 1.0
    assert recall(f, e) == by_hand


def test_the_metrics_that_the_manual_names_are_those_there_are(metrics: Metrics, address: str) -> None:
    manual = (ROOT / "docs" / "how-to" / "operate.md").read_text()
    named = set(re.findall(r"`(plait_\w+)`", manual)) | {
        f"plait_collection{n}" for n in re.findall(r"`(_[a-z]+)`", manual)
    }
    there = {family.name for family in metrics.registry.collect()}
    assert there == {name.removesuffix("_total") for name in named}
