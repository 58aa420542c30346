"""From a service's descriptor and an object with its methods to what a gRPC server dispatches to.

A method `Search` is answered by `search(request, call)`. One place for all RPCs: malformed messages, turns, deadlines,
errors. A method that takes its turns itself (streams, waiting) is listed in the object's `own_turns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from ..index.errors import InvalidArgument
from .calls import Call, Gate
from .concerns import ended
from .settings import Settings
from .status import to_status


class Malformed:
    """Takes the place of a request whose bytes are no such message."""

    collection = ""

    def __init__(self, name: str):
        self.name = name


def handlers(service: ServiceDescriptor, methods: Any, gate: Gate, settings: Settings) -> grpc.GenericRpcHandler:
    """Every method of the service; AttributeError: the object lacks one."""
    own = getattr(methods, "own_turns", ())
    made = {}
    for method in service.methods:
        name = python_name(method)
        made[method.name] = _handler(method, getattr(methods, name), gate, settings, name in own)
    return grpc.method_handlers_generic_handler(service.full_name, made)


def python_name(method: MethodDescriptor) -> str:
    """`list_collections` for `ListCollections`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()


def _handler(method: MethodDescriptor, answer: Callable, gate: Gate, settings: Settings, own_turns: bool) -> Any:
    streams = method.client_streaming, method.server_streaming
    kind = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[streams]
    deadline = None if any(streams) else settings.deadline_s

    def one(request: Any, context: grpc.ServicerContext) -> Any:
        call = Call(context, gate, deadline)
        try:
            _refuse(request)
            if own_turns:
                return answer(request, call)
            with call.turn():
                return answer(request, call)
        except Exception as error:
            _end(context, error, request, call)

    def many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        call = Call(context, gate, deadline)
        try:
            _refuse(request)
            yield from answer(request, call)
        except Exception as error:
            _end(context, error, request, call)

    message = GetMessageClass(method.input_type)
    return kind(
        many if method.server_streaming else one,
        request_deserializer=_reader(message, method.input_type.name),
        response_serializer=GetMessageClass(method.output_type).SerializeToString,
    )


def _reader(message: Any, name: str) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError:
            return Malformed(name)

    return read


def _refuse(request: Any) -> None:
    if isinstance(request, Malformed):
        raise InvalidArgument(f"the bytes are no {request.name}; make the message with the protocol of this server")


def _end(context: grpc.ServicerContext, error: Exception, request: Any, call: Call) -> None:
    if ended(context):
        raise error  # by an interceptor, while the handler read from a stream
    context.abort_with_status(rpc_status.to_status(to_status(error, request, call.id)))
