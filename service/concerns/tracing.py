"""OpenTelemetry traces: a span for every call, continuing the caller's trace, and one for every stage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import grpc

from ...index.errors import FailedPrecondition
from ..rpc.interceptor import End, Rpc
from ..settings import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

# What tells of a fault of the server; the rest are the caller's (OpenTelemetry's conventions for gRPC servers).
_FAULTS = {
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
}


def provider(tracing: Tracing) -> TracerProvider:
    """What sends spans to the collector that the settings name. FailedPrecondition: OpenTelemetry is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError as error:
        raise FailedPrecondition(
            f"tracing.endpoint is set, and {error.name} is missing; pip install 'plait[tracing]'"
        ) from None
    made = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(tracing.share)), resource=Resource.create({"service.name": "plait"})
    )
    headers = {name: value.get_secret_value() for name, value in tracing.headers.items()}
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(tracing.endpoint, headers=headers)))
    return made


def tracer(tracing: Tracing) -> Tracer | None:
    """None: the settings want no traces."""
    return Tracer(provider(tracing)) if tracing.endpoint else None


class Tracer:
    """Spans of calls and stages. They carry names, codes and times, never what was asked."""

    def __init__(self, provider: TracerProvider):
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("plait")
        self._propagator = TraceContextTextMapPropagator()

    def traced(self, rpc: Rpc) -> End:
        """A concern: a server span, the child of the caller's span if the metadata has a W3C trace context."""
        from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

        carrier = {name: values[0] for name in ("traceparent", "tracestate") if (values := rpc.values(name))}
        service, _, method = rpc.method[1:].rpartition("/")
        attributes = {
            "rpc.system": "grpc",
            "rpc.service": service,
            "rpc.method": method,
            "plait.request_id": rpc.request_id,
        }
        span = self._tracer.start_span(
            rpc.method[1:], context=self._propagator.extract(carrier), kind=SpanKind.SERVER, attributes=attributes
        )
        inside = set_span_in_context(span)
        onward: dict[str, str] = {}
        self._propagator.inject(onward, inside)
        rpc.onward += onward.items()

        def stage(name: str, seconds: float, documents: int = 0) -> None:
            end = time.time_ns()
            counted = {"plait.documents": documents} if documents else {}
            self._tracer.start_span(name, context=inside, start_time=end - int(seconds * 1e9), attributes=counted).end(
                end
            )

        rpc.observers.append(stage)

        def end(code: grpc.StatusCode) -> None:
            span.set_attribute("rpc.grpc.status_code", code.value[0])
            if code in _FAULTS:
                span.set_status(StatusCode.ERROR)
            span.end()

        return end

    def stop(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()
