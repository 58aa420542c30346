"""One interceptor around every RPC, whatever its kind: concerns enter in order before the handler and leave after it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from .keys import Key

_LOG = logging.getLogger("plait.service")


@dataclass
class Call:
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
    span: Any = None
    """The trace's span, where traces are kept."""

    def values(self, name: str) -> list[str]:
        """What the metadata says under a name, text alone."""
        return [value for key, value in self.metadata if key == name and isinstance(value, str)]

    def seen(self, message: Any) -> Any:
        for check in self.checks:
            check(message)
        return message

    def outcome(self, error: BaseException | None) -> grpc.StatusCode:
        """The code that the caller gets."""
        if code := _code(self.context):
            return code
        if error is None:
            return grpc.StatusCode.OK
        if self.context.is_active():
            return grpc.StatusCode.UNKNOWN
        expired = self.context.time_remaining() == 0
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED


Concern = Callable[[Call], AbstractContextManager[None]]

current: ContextVar[Call | None] = ContextVar("plait_call", default=None)
"""The call that this thread answers."""


class Interceptor(grpc.ServerInterceptor):
    """Puts concerns around all handlers. The first is the outermost."""

    def __init__(self, concerns: Sequence[Concern]):
        self._concerns = concerns

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        handler, details = continuation(handler_call_details), handler_call_details
        if handler is None:
            return None
        kind = f"{'stream' if handler.request_streaming else 'unary'}_{'stream' if handler.response_streaming else 'unary'}"
        behaviour = getattr(handler, kind)

        def requests(call: Call, given: Any) -> Any:
            return map(call.seen, given) if handler.request_streaming else call.seen(given)

        def one(given: Any, context: grpc.ServicerContext) -> Any:
            with self._around(details, context) as call:
                return behaviour(requests(call, given), context)

        def many(given: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._around(details, context) as call:
                yield from behaviour(requests(call, given), context)

        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped = many if handler.response_streaming else one
        return make(wrapped, handler.request_deserializer, handler.response_serializer)

    @contextmanager
    def _around(self, details: Any, context: grpc.ServicerContext) -> Iterator[Call]:
        call = Call(details.method, details.invocation_metadata or (), context)
        current.set(call)
        try:
            with ExitStack() as stack:
                for concern in self._concerns:
                    stack.enter_context(concern(call))
                stack.enter_context(_unexpected(call))
                yield call
        finally:
            current.set(None)


@contextmanager
def _unexpected(call: Call) -> Iterator[None]:
    """An error that nobody foresaw becomes INTERNAL. Its text is not logged: it may quote what was sent."""
    try:
        yield
    except grpc.RpcError:
        raise  # the caller went away while its messages were read
    except Exception as error:
        if _code(call.context) is not None:
            raise  # aborted
        if not call.context.is_active():
            refuse(call.context, grpc.StatusCode.CANCELLED, "the caller went away")
        frames = [f"{f.filename}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)[-8:]]
        fields = {"method": call.method, "request_id": call.request_id, "error": type(error).__name__, "stack": frames}
        _LOG.error("internal error", extra={"fields": fields})
        refuse(call.context, grpc.StatusCode.INTERNAL, f"internal error; the log has it as {call.request_id}")


def _code(context: Any) -> grpc.StatusCode | None:
    """What the handler or an abort has set; the stubs do not know it."""
    return context.code()


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, message: str, *details: Message) -> NoReturn:
    """Ends a call with a code, a message and google.rpc details."""
    packed = [any_pb2.Any() for _ in details]
    for one, detail in zip(packed, details, strict=True):
        one.Pack(detail)
    status = status_pb2.Status(code=code.value[0], message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))
    raise AssertionError("abort_with_status raises")
