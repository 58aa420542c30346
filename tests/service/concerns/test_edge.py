"""`plait serve` as an operator meets it: TLS, keys, logs, metrics, probe and limits on real servers."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import plait

pytest.importorskip("grpc_tools", reason="grpcio-tools, for development, is not installed")
pytest.importorskip("trustme", reason="a development dependency")
pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
import trustme
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.service import keys
from plait.service.cli.main import app
from plait.service.limits import PerKey
from plait.service.server.edge import Edge, watch
from plait.service.server.server import Service, build_server
from plait.service.settings import Admin, Settings
from prometheus_client.parser import text_string_to_metric_families
from served import Server, Wire, tensor

DIM, K = 16, 10
MARKER = "zebra7f3a"


def samples(text: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text)
    return {
        (s.name, *(v for k, v in sorted(s.labels.items()) if k != "le")): s.value for f in families for s in f.samples
    }


def page(address: str, path: str) -> str:
    with urllib.request.urlopen(f"{address}{path}", timeout=10) as answer:
        return answer.read().decode()


def queries(count: int) -> list[Any]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal((6, DIM)).astype(np.float32) for _ in range(count)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection whose search misses something, and one of texts."""
    folder = tmp_path_factory.mktemp("root")
    rng = np.random.default_rng(2)
    with plait.create(folder / "vectors", encoder=None, dim=DIM, store="lists") as index:
        documents = [rng.standard_normal((4, DIM)).astype(np.float32) for _ in range(1500)]
        index.add_tokens([f"d{i}" for i in range(len(documents))], plait.from_matrices(documents))
    plait.create(folder / "words", encoder=None, terms="bm25").close()
    return folder


def test_a_server_behind_its_edge(root: Path, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate = ca.issue_cert("localhost", "127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    _, token = keys.create(tmp_path / "keys.json", "operator", "admin")
    files = ["--keys", tmp_path / "keys.json", "--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem"]
    server = Server(root, *map(str, files), "--admin=127.0.0.1:0", **{"admin.probe_every": 2, "admin.probe_cpu": 1.0})
    try:
        address = next(line for line in server.log if "metrics" in line).split()[-1]
        with plait.connect(server.target, ca=tmp_path / "ca.pem", api_key=token) as connection:
            words = connection.open("words")
            words.upsert([{"id": f"{MARKER}-id", "text": f"a striped {MARKER}", "secret": MARKER}])
            assert words.search(f"the {MARKER}")[0].id == f"{MARKER}-id"
            with pytest.raises(InvalidArgument):
                words.search(MARKER, filter={"range": {MARKER: {}}})
            with pytest.raises(FailedPrecondition):
                connection.open("vectors").search(MARKER)
            made = connection.create("made", encoder=None, dim=4)
            assert made.count() == 0
            by_hand = probed(connection, root, address)
        found = samples(page(address, "/metrics"))
        assert page(address, "/readyz") == "ready\n" and page(address, "/healthz") == "ok\n"
    finally:
        code = server.stop()
    assert code == 0
    assert found["plait_probe_recall", "vectors"] == pytest.approx(by_hand)
    assert found["plait_request_seconds_count", "OK", "/plait.v1.SearchService/Search"] >= 21
    assert found["plait_request_seconds_count", "FAILED_PRECONDITION", "/plait.v1.SearchService/Search"] == 1
    assert found["plait_collection_documents", "words"] == found["plait_collection_fresh", "words"] == 1
    assert found["plait_collection_documents", "vectors"] == 1500 and found["plait_collection_fresh", "vectors"] == 0
    assert found["plait_collection_encoding_stopped", "words"] == 0
    assert found["plait_collection_bytes", "vectors"] >= 1500 * 4 * DIM * 2
    searches = found["plait_stage_seconds_count", "search"]
    for stage in ("encode", "fetch"):
        assert found["plait_stage_seconds_count", stage] >= searches > 0
    # Twenty searches of the vectors by candidates, none of the words.
    assert found["plait_stage_seconds_count", "candidates"] == found["plait_stage_seconds_count", "score"] == 20
    assert found["plait_candidates_count",] == 20 and found["plait_candidates_sum",] == 20 * 2 * K * 2
    parts = [found["plait_stage_seconds_sum", stage] for stage in ("candidates", "score")]
    assert 0 < sum(parts) <= found["plait_stage_seconds_sum", "search"]
    assert found["plait_queue_depth",] == 0
    check_logs(server.log, token)


def probed(connection: Any, root: Path, address: str) -> float:
    """Asks until ten searches were probed. Returns their recall by hand, from the collection opened here."""
    index, asked, recalls = connection.open("vectors"), queries(20), []
    with plait.open(root / "vectors") as here:
        cheap = {"nprobe": 1, "candidates": 2 * K}
        # A search in words mode and one that failed were not counted: the first probe is the second search from here.
        for number, query in enumerate(asked, 1):
            tokens = plait.from_matrices([query])
            (found,) = index.search(tokens, K, **cheap)
            if number % 2:
                continue
            (exact,) = here.search(tokens, K, exact=True)
            recalls.append(len({h.id for h in found} & {h.id for h in exact}) / K)
            wait_for(address, len(recalls))
    assert 0 < np.mean(recalls) < 1, "a collection whose search misses nothing tests nothing"
    return float(np.mean(recalls))


def wait_for(address: str, probes: int) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if samples(page(address, "/metrics")).get(("plait_probes_total", "answered")) == probes:
            return
        pause.wait(0.01)
    raise AssertionError(f"the probe {probes} did not come")


def check_logs(log: list[str], token: str) -> None:
    text = "".join(log)
    assert MARKER not in text, "what was sent is not logged"
    assert token not in text and token.split("_", 2)[2] not in text
    records = [json.loads(line) for line in log if line.startswith("{")]
    access = [r for r in records if r["logger"] == "plait.access"]
    assert {"method", "code", "ms", "key", "request_id", "peer"} <= access[0].keys()
    assert {r["key"] for r in access} == {"operator"} and {"words", "vectors", "made"} <= {
        r.get("collection") for r in access
    }
    (audit,) = [r for r in records if r["logger"] == "plait.audit"]
    assert audit["method"] == "/plait.v1.CollectionService/CreateCollection"
    assert (audit["key"], audit["collection"], audit["code"]) == ("operator", "made", "OK")


@contextmanager
def here(**given: Any) -> Iterator[tuple[Service, Edge]]:
    """A server in this process."""
    settings = Settings(listen="127.0.0.1:0", **given)
    edge = Edge(settings)
    service = build_server(settings, edge.interceptors, edge.credentials, edge.probe and edge.probe.offer)
    service.grpc.start()
    try:
        yield service, edge
    finally:
        service.stop(0)
        edge.close()


@pytest.mark.parametrize("burst", [1, 3])
def test_a_key_has_its_calls_and_not_one_more(tmp_path: Path, burst: int) -> None:
    rates = PerKey(requests_per_minute=1, burst=burst)
    tokens = [keys.create(tmp_path / "keys.json", name, "read")[1] for name in "ab"]
    with here(root=tmp_path / "root", keys=tmp_path / "keys.json", per_key=rates) as (service, _):
        for token in tokens:
            wire = Wire(f"127.0.0.1:{service.port}", [("authorization", f"Bearer {token}")])
            for _ in range(burst):
                limits = dict(wire("GetServerInfo").limits)
            assert limits["per_key.burst"] == burst and limits["per_key.requests_per_minute"] == 1  # pyright: ignore
            code, message, details = wire.error("GetServerInfo")
            assert code == "RESOURCE_EXHAUSTED" and "1 calls a minute" in message
            assert 0 < details["RetryInfo"].retry_delay.seconds <= 60
            wire.close()


def test_refusals_are_seen_and_cost_no_allowance(tmp_path: Path) -> None:
    rates = PerKey(requests_per_minute=1, burst=1)
    _, token = keys.create(tmp_path / "keys.json", "a", "read")
    with here(
        root=tmp_path / "root", keys=tmp_path / "keys.json", per_key=rates, admin=Admin(listen="127.0.0.1:0")
    ) as (
        service,
        edge,
    ):
        watch(edge.metrics, service)
        address = edge.open_admin(service.ready.is_set)
        nobody, somebody = (
            Wire(f"127.0.0.1:{service.port}", metadata) for metadata in ([], [("authorization", f"Bearer {token}")])
        )
        for _ in range(5):
            assert nobody.error("GetServerInfo")[0] == "UNAUTHENTICATED"
        assert somebody.error("CreateCollection", collection="x")[0] == "PERMISSION_DENIED"
        somebody("GetServerInfo")
        found = samples(page(f"http://{address}", "/metrics"))
        nobody.close()
        somebody.close()
    assert found["plait_request_seconds_count", "UNAUTHENTICATED", "/plait.v1.SystemService/GetServerInfo"] == 5
    assert found["plait_request_seconds_count", "OK", "/plait.v1.SystemService/GetServerInfo"] == 1


def test_without_reflection_there_is_none(tmp_path: Path) -> None:
    import grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    for reflection, expected in ((True, None), (False, grpc.StatusCode.UNIMPLEMENTED)):
        with here(root=tmp_path, reflection=reflection) as (service, _):
            with grpc.insecure_channel(f"127.0.0.1:{service.port}") as channel:
                stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
                answers = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
                try:
                    list(answers)
                    code = None
                except grpc.RpcError as error:
                    code = error.code()  # type: ignore[attr-defined]
            assert code is expected


def test_a_probe_is_of_the_state_that_was_searched(root: Path) -> None:
    offered: list[Any] = []
    settings = Settings(root=root, listen="127.0.0.1:0")
    service = build_server(settings, Edge(settings).interceptors, None, lambda *told: offered.append(told))
    service.grpc.start()
    try:
        wire = Wire(f"127.0.0.1:{service.port}")
        query = {"encoded": {"tokens": {"vectors": tensor(queries(1)[0])}}}
        for options in ({"nprobe": 1}, {"exact": True}):
            wire("Search", collection="vectors", query=query, k=K, options=options)
        ((name, ids, exactly),) = offered
        exact = [h.id for h in wire("Search", collection="vectors", query=query, k=K, options={"exact": True}).hits]
        assert name == "vectors" and len(ids) == K and exactly() == exact
        wire("DeleteDocuments", collection="vectors", ids={"ids": [exact[0]]})
        assert exactly() is None
        wire.close()
    finally:
        service.stop(0)


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["serve", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_says_what_it_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "plait.toml"
    config.write_text('queue = 7\n[tracing]\nheaders = {key = "hush"}\n')
    monkeypatch.setenv("PLAIT_LIMITS__K", "5")
    given = [tmp_path, "--config", config, "--set", "limits.dim=9", "--set", 'encoders=["a"]', "--print-config"]
    text = command(*given)
    assert (
        "hush" not in text and "queue = 7  # " in text and "k = 5  # environment" in text and "dim = 9  # flag" in text
    )
    told = json.loads(command(*given, "--json"))
    assert told["settings"]["encoders"] == ["a"] and told["origins"]["queue"] == str(config)
    assert "hush" not in json.dumps(told)
    for bad in (["--set", "queue"], ["--set", "encoders=[a"], ["--set", "quue=1"], ["--set", "queue=-1"]):
        with pytest.raises(InvalidArgument, match=r"qu|encoders"):
            command(tmp_path, *bad, "--print-config")


def test_a_public_address_is_refused_with_its_remedy(tmp_path: Path) -> None:
    for listen in ("0.0.0.0:0", "[::]:0"):
        with pytest.raises(FailedPrecondition, match=r"no TLS .* --insecure"):
            command(tmp_path, "--listen", listen)
    assert "insecure = true  # flag" in command(tmp_path, "--listen=0.0.0.0:0", "--insecure", "--print-config")
