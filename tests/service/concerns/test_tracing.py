"""Spans of calls and stages, in the trace that the caller began."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

import plait

pytest.importorskip("grpc", reason="the extra `service` is not installed")
pytest.importorskip("opentelemetry.sdk", reason="the extra `tracing` is not installed")
import grpc
from echo_service import call, serving
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from plait.service.concerns.logs import identified
from plait.service.concerns.tracing import Tracer, provider
from plait.service.rpc.interceptor import Interceptor, stage_ended
from plait.service.server.server import build_server
from plait.service.settings import Settings, Tracing

TRACE, PARENT = 0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331
MARKER = "zebra-7f3a"


def spans(texts: list[str], metadata: list[tuple[str, str]], kind: str = "unary_unary") -> list[Any]:
    def work(one: Any, context: grpc.ServicerContext) -> Any:
        stage_ended("encode", 0.25)
        stage_ended("search", 0.5)
        return one

    exporter, made = InMemorySpanExporter(), TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = Tracer(made)
    with (
        serving([identified, tracer.traced], {"Work": {"unary_unary": work}}) as port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        suppress(grpc.RpcError),
    ):
        call(channel, kind, texts, metadata=metadata, method="Echo" if texts[0] in ("abort", "crash") else "Work")
    tracer.stop()
    return list(exporter.get_finished_spans())


def test_a_call_continues_the_callers_trace_and_has_its_stages() -> None:
    metadata = [("traceparent", f"00-{TRACE:032x}-{PARENT:016x}-01"), ("x-request-id", "mine")]
    encode, search, server = spans([MARKER], metadata)
    assert server.name == "test.unary_unary/Work" and server.kind is SpanKind.SERVER
    assert server.context.trace_id == TRACE and server.parent.span_id == PARENT
    assert dict(server.attributes) == {
        "rpc.system": "grpc",
        "rpc.service": "test.unary_unary",
        "rpc.method": "Work",
        "rpc.grpc.status_code": 0,
        "plait.request_id": "mine",
    }
    for stage, name, seconds in ((encode, "encode", 0.25), (search, "search", 0.5)):
        assert stage.name == name and stage.parent.span_id == server.context.span_id
        assert stage.context.trace_id == TRACE and stage.end_time - stage.start_time == int(seconds * 1e9)
    assert MARKER not in "".join(span.to_json() for span in (encode, search, server))


def test_what_another_process_does_for_a_call_is_in_its_trace(tmp_path: Path) -> None:
    from served import Wire

    plait.create(tmp_path / "c", encoder=None, dim=4).close()
    exporters, servers = [InMemorySpanExporter() for _ in range(2)], []
    writer = f"unix:{tmp_path}/socket"
    for exporter, listen, to in zip(exporters, (writer, "127.0.0.1:0"), (None, writer), strict=True):
        made = TracerProvider()
        made.add_span_processor(SimpleSpanProcessor(exporter))
        around = [Interceptor([identified, Tracer(made).traced])]
        servers.append(build_server(Settings(root=tmp_path, listen=listen), around, writer=to))
        servers[-1].grpc.start()
    wire = Wire(f"127.0.0.1:{servers[-1].port}", [("traceparent", f"00-{TRACE:032x}-{PARENT:016x}-01")])
    wire("UpdateCollection", collection="c", fields=["year"], update_mask="fields")
    wire.close()
    for server in reversed(servers):
        server.stop(5)
    inner, outer = ({s.name: cast(Any, s) for s in e.get_finished_spans()} for e in exporters)
    method = "plait.v1.CollectionService/UpdateCollection"
    assert outer[method].parent.span_id == PARENT and outer[method].context.trace_id == TRACE
    assert inner[method].parent.span_id == outer[method].context.span_id
    assert {s.context.trace_id for s in inner.values()} == {TRACE} and inner.keys() == {method, "queue"}
    assert inner[method].attributes["plait.request_id"] == outer[method].attributes["plait.request_id"]


@pytest.mark.parametrize("given", ["", "nonsense", "00-0-0-00", f"00-{0:032x}-{PARENT:016x}-01"])
def test_what_is_no_trace_context_begins_a_trace(given: str) -> None:
    server = spans(["x"], [("traceparent", given)])[-1]
    assert server.parent is None and server.context.trace_id not in (0, TRACE)


def test_a_caller_who_wants_no_trace_gets_none() -> None:
    assert spans(["x"], [("traceparent", f"00-{TRACE:032x}-{PARENT:016x}-00")]) == []


def test_only_faults_of_the_server_are_errors() -> None:
    (gone,) = spans(["abort"], [])
    assert gone.attributes["rpc.grpc.status_code"] == 5 and gone.status.status_code is StatusCode.UNSET
    for kind in ("unary_unary", "stream_stream"):
        (crash,) = spans(["crash"], [], kind)
        assert crash.attributes["rpc.grpc.status_code"] == 13 and crash.status.status_code is StatusCode.ERROR


def test_the_provider_of_the_settings_sends_by_otlp() -> None:
    made = provider(Tracing(endpoint="http://127.0.0.1:9/v1/traces", share=0.5))
    assert "0.5" in made.sampler.get_description() and made.resource.attributes["service.name"] == "plait"
    made.shutdown()
