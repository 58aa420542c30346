"""From a service's descriptor and an object with its methods to what a gRPC server dispatches to.

A method `Search` is answered by `search(request, call)`. One place for all RPCs: malformed messages, places, turns,
deadlines, errors, the size of answers. A method that takes its turns itself (streams, waiting) is listed in the
object's `own_turns`.

To gRPC every request is a stream here, also one of a single message: such a handler begins before anything was read, so
that a call that is refused costs no memory, and its message waits as bytes and is parsed by
the thread whose turn it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from ...index.errors import InvalidArgument
from ..messages.status import to_status
from ..settings import Settings
from .answers import AnswerTooLarge, too_large
from .calls import Call, Gate
from .interceptor import ended
from .read_timeout import ReadTimeout


@dataclass(frozen=True)
class Way:
    """How calls come in and their answers go out."""

    gate: Gate
    read: ReadTimeout
    deadline_s: float | None
    """The longest that a call may take; None: as long as it will."""
    answer_bytes: int
    """The most that one message of an answer may weigh."""


def handlers(
    services: Iterable[tuple[ServiceDescriptor, Any]], gate: Gate, settings: Settings
) -> list[grpc.GenericRpcHandler]:
    """Every method of every service, each with its object; AttributeError: one lacks a method."""
    again = "send more often, or begin another stream with what was not acknowledged"
    whole = ReadTimeout(settings.deadline_s, "deadline_s", "send it when the call begins")
    next_one = ReadTimeout(settings.stream_idle_s, "stream_idle_s", again)
    one_way = Way(gate, whole, settings.deadline_s, settings.limits.message_bytes)
    stream_way = replace(one_way, read=next_one, deadline_s=None)

    def handler(method: MethodDescriptor, methods: Any) -> Any:
        name = python_name(method)
        answer = getattr(methods, name)
        if method.client_streaming or method.server_streaming:
            return _stream(method, answer, stream_way)
        return unary(method, answer, one_way, name in getattr(methods, "own_turns", ()))

    return [
        grpc.method_handlers_generic_handler(s.full_name, {m.name: handler(m, methods) for m in s.methods})
        for s, methods in services
    ]


def python_name(method: MethodDescriptor) -> str:
    """`list_collections` for `ListCollections`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()


def unary(method: MethodDescriptor, answer: Callable, way: Way, own_turns: bool = False) -> Any:
    """The handler of a method that takes one message and answers with one."""

    def one(given: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        call, request = Call(context, way.gate, way.deadline_s), None
        try:
            with way.gate.place():
                if own_turns:
                    return _written(answer(request := parsed(method, call, way.read.next(given, context)), call), way)
                data = way.read.next(given, context)
                with call.turn():
                    return _written(answer(request := parsed(method, call, data), call), way)
        except Exception as error:
            end(context, error, request, call)

    return grpc.stream_unary_rpc_method_handler(one)


def _stream(method: MethodDescriptor, answer: Callable, way: Way) -> Any:
    def many(given: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        call, request = Call(context, way.gate, way.deadline_s), None
        parse = partial(parsed, method, call)
        try:
            with way.gate.stream():
                each = method.client_streaming
                request = map(parse, way.read.each(given, context)) if each else parse(way.read.next(given, context))
                for message in answer(request, call):
                    # A client that reads nothing holds its stream no longer than one that sends nothing.
                    with way.read.within(context):
                        yield _written(message, way)
        except Exception as error:
            end(context, error, request, call)

    return grpc.stream_stream_rpc_method_handler(many)


def parsed(method: MethodDescriptor, call: Call, data: bytes | None) -> Any:
    """InvalidArgument: there is no message, or these bytes are none."""
    name = method.input_type.name
    if data is None:
        raise InvalidArgument(f"the call ended before its message came; send one {name}")
    try:
        message = GetMessageClass(method.input_type).FromString(data)
    except DecodeError:
        raise InvalidArgument(f"the bytes are no {name}; make the message with the protocol of this server") from None
    return call.rpc.seen(message) if call.rpc else message


def _written(message: Any, way: Way) -> bytes:
    """An answer as bytes. AnswerTooLarge: gRPC would refuse to send them."""
    data = message.SerializeToString()
    if len(data) > way.answer_bytes:
        raise AnswerTooLarge("", too_large(way.answer_bytes, "ask for less at a time"))
    return data


def end(context: grpc.ServicerContext, error: Exception, request: Any, call: Call) -> None:
    """Ends a call with the status that an error stands for."""
    if ended(context):
        raise error  # by an interceptor, while the handler read from a stream
    context.abort_with_status(rpc_status.to_status(to_status(error, request, call.id)))
