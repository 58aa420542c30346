"""From a service's descriptor and an object with its methods to what a gRPC server dispatches to.

A method `Search` is answered by `search(request, call)`. One place for all RPCs: malformed messages, places, turns, deadlines,
errors. A method that takes its turns itself (streams, waiting) is listed in the object's `own_turns`.

To gRPC every request is a stream here, also one of a single message: such a handler begins before anything was read, so that a
call that is refused costs no memory, and its message waits as bytes and is parsed by the thread whose turn it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from ..index.errors import InvalidArgument
from .calls import Call, Gate
from .concerns import ended
from .read_timeout import ReadTimeout
from .settings import Settings
from .status import to_status


def handlers(
    services: Iterable[tuple[ServiceDescriptor, Any]], gate: Gate, settings: Settings
) -> list[grpc.GenericRpcHandler]:
    """Every method of every service, each with its object; AttributeError: one lacks a method."""
    again = "send more often, or begin another stream with what was not acknowledged"
    whole = ReadTimeout(settings.deadline_s, "deadline_s", "send it when the call begins")
    next_one = ReadTimeout(settings.stream_idle_s, "stream_idle_s", again)

    def handler(method: MethodDescriptor, methods: Any) -> Any:
        name = python_name(method)
        answer = getattr(methods, name)
        if method.client_streaming or method.server_streaming:
            return _stream(method, answer, gate, next_one)
        own = name in getattr(methods, "own_turns", ())
        return _unary(method, answer, gate, settings.deadline_s, whole, own)

    return [
        grpc.method_handlers_generic_handler(s.full_name, {m.name: handler(m, methods) for m in s.methods})
        for s, methods in services
    ]


def python_name(method: MethodDescriptor) -> str:
    """`list_collections` for `ListCollections`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()


def _unary(
    method: MethodDescriptor, answer: Callable, gate: Gate, deadline_s: float, read: ReadTimeout, own_turns: bool
) -> Any:
    def one(given: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        call, request = Call(context, gate, deadline_s), None
        try:
            with gate.place():
                if own_turns:
                    return answer(request := _parsed(method, call, read.next(given, context)), call)
                data = read.next(given, context)
                with call.turn():
                    return answer(request := _parsed(method, call, data), call)
        except Exception as error:
            _end(context, error, request, call)

    write = GetMessageClass(method.output_type).SerializeToString
    return grpc.stream_unary_rpc_method_handler(one, response_serializer=write)


def _stream(method: MethodDescriptor, answer: Callable, gate: Gate, read: ReadTimeout) -> Any:
    def many(given: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        call, request = Call(context, gate, None), None
        parsed = partial(_parsed, method, call)
        try:
            with gate.stream():
                each = method.client_streaming
                request = map(parsed, read.each(given, context)) if each else parsed(read.next(given, context))
                yield from answer(request, call)
        except Exception as error:
            _end(context, error, request, call)

    write = GetMessageClass(method.output_type).SerializeToString
    return grpc.stream_stream_rpc_method_handler(many, response_serializer=write)


def _parsed(method: MethodDescriptor, call: Call, data: bytes | None) -> Any:
    """InvalidArgument: there is no message, or these bytes are none."""
    name = method.input_type.name
    if data is None:
        raise InvalidArgument(f"the call ended before its message came; send one {name}")
    try:
        message = GetMessageClass(method.input_type).FromString(data)
    except DecodeError:
        raise InvalidArgument(f"the bytes are no {name}; make the message with the protocol of this server") from None
    return call.rpc.seen(message) if call.rpc else message


def _end(context: grpc.ServicerContext, error: Exception, request: Any, call: Call) -> None:
    if ended(context):
        raise error  # by an interceptor, while the handler read from a stream
    context.abort_with_status(rpc_status.to_status(to_status(error, request, call.id)))
