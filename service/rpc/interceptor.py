"""One interceptor around every RPC, whatever its kind: concerns see it in order before the
handler, and in reverse its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from ..keys import Key
from ..messages.brief import brief

_LOG = logging.getLogger("plait.service")


@dataclass
class Rpc:
    """One RPC under way, as the concerns share it."""

    method: str
    """`/package.Service/Method`."""
    metadata: Sequence[tuple[str, str | bytes]]
    context: grpc.ServicerContext
    request_id: str = ""
    key: Key | None = None
    """Who calls; None: no key was needed."""
    collection: str = ""
    """As the request names it."""
    checks: list[Callable[[Any], None]] = field(default_factory=list)
    """Run on every request message before the handler sees it."""
    observers: list[Callable[[str, float, int], None]] = field(default_factory=list)
    """Told of every stage of the work that ends: its name, its seconds, and what `stage_ended` counts."""

    onward: list[tuple[str, str]] = field(default_factory=list)
    """Metadata for the call that another process of this server may answer in its place."""

    def values(self, name: str) -> list[str]:
        """What the metadata says under a name, text alone."""
        return [value for key, value in self.metadata if key == name and isinstance(value, str)]

    def seen(self, message: Any) -> Any:
        """The message, which all checks have let pass. A handler that is given bytes calls
        this when it has parsed them."""
        for check in self.checks:
            check(message)
        return message

    def outcome(self, error: BaseException | None) -> grpc.StatusCode:
        """The code that the caller gets."""
        if code := ended(self.context):
            return code
        if error is None:
            return grpc.StatusCode.OK
        if self.context.is_active():
            return grpc.StatusCode.UNKNOWN
        expired = self.context.time_remaining() == 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


End = Callable[[grpc.StatusCode], None]
"""Told the code that the caller gets, whichever way the call ended."""
Concern = Callable[[Rpc], End | None]
"""Sees a call before it is answered, and refuses it by raising; what it returns is told the end. (Plain functions:
seven context managers around every call took as long as reading it.)"""

current: ContextVar[Rpc | None] = ContextVar("plait_call", default=None)
"""The call that this thread answers."""


def stage_ended(name: str, seconds: float, documents: int = 0) -> None:
    """Says that a stage of this thread's call, which took so long, ends now. Nobody listens where there is no call.

    Args:
        name: `queue`, `encode`, `search` (of which `candidates` and `score` are parts, where documents are found first
            and then scored), `fetch`.
        documents: how many were scored.
    """
    if rpc := current.get():
        for observe in rpc.observers:
            observe(name, seconds, documents)


class Interceptor(grpc.ServerInterceptor):
    """Puts concerns around all handlers. The first is the outermost."""

    def __init__(self, concerns: Sequence[Concern], untouched: Container[str] = ()):
        """`untouched`: methods that are answered as if there were no interceptor."""
        self._concerns, self._untouched = concerns, untouched
        self._made: dict[str, Any] = {}

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        if method not in self._made:
            handler = continuation(handler_call_details)
            if handler is None or method in self._untouched:
                return handler
            self._made[method] = self._wrapped(method, handler)
        return self._made[method]

    def _wrapped(self, method: str, handler: Any) -> Any:
        kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
        behaviour = getattr(handler, kind)

        def requests(rpc: Rpc, given: Any) -> Any:
            if handler.request_deserializer is None:
                return given
            return map(rpc.seen, given) if handler.request_streaming else rpc.seen(given)

        def one(given: Any, context: grpc.ServicerContext) -> Any:
            with self._around(method, context) as rpc:
                return behaviour(requests(rpc, given), context)

        def many(given: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._around(method, context) as rpc:
                yield from behaviour(requests(rpc, given), context)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped = many if handler.response_streaming else one
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    @contextmanager
    def _around(self, method: str, context: grpc.ServicerContext) -> Iterator[Rpc]:
        rpc = Rpc(method, context.invocation_metadata() or (), context)
        ends: list[End] = []
        error: BaseException | None = None
        current.set(rpc)
        try:
            for concern in self._concerns:
                if (end := concern(rpc)) is not None:
                    ends.append(end)
            yield rpc
        except BaseException as caught:
            error = caught
            _foreseen(rpc, caught)
            raise
        finally:
            code = rpc.outcome(error)
            for end in reversed(ends):
                end(code)
            current.set(None)


def _foreseen(rpc: Rpc, error: BaseException) -> None:
    """An error that nobody foresaw becomes INTERNAL. gRPC would log its text, which may quote what was sent."""
    # Aborted; or the caller went away while its messages were read.
    if ended(rpc.context) is not None or isinstance(error, grpc.RpcError) or not isinstance(error, Exception):
        return
    if not rpc.context.is_active():
        refuse(rpc.context, rpc.outcome(error), "nobody waits for the answer any more")
    fields = {"method": rpc.method, "request_id": rpc.request_id}
    _LOG.error("internal error", exc_info=error, extra={"fields": fields})
    refuse(rpc.context, grpc.StatusCode.INTERNAL, f"internal error; the log has it as {rpc.request_id}")


def ended(context: Any) -> grpc.StatusCode | None:
    """The code that the handler or an abort has set; None: neither has. (The stubs do not know it.)"""
    return context.code()


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *details: Message) -> NoReturn:
    """Ends a call with a code, a message and google.rpc details."""
    packed = [any_pb2.Any() for _ in details]
    for one, detail in zip(packed, details, strict=True):
        one.Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=brief(message), details=packed)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")
