"""From a service's descriptor and an object with its methods to what a gRPC server dispatches to.

A method `Search` is answered by `search(request, call)`. One place for all RPCs: malformed messages, places, turns, deadlines,
errors. A method that takes its turns itself (streams, waiting) is listed in the object's `own_turns`.

To gRPC every request is a stream here, also one of a single message: such a handler begins before anything was read, so that a
call that is refused costs no memory, and its message waits as bytes and is parsed by the thread whose turn it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
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
from .status import Expired, to_status


def handlers(service: ServiceDescriptor, methods: Any, gate: Gate, settings: Settings) -> grpc.GenericRpcHandler:
    """Every method of the service; AttributeError: the object lacks one."""
    own = getattr(methods, "own_turns", ())
    made = {}
    for method in service.methods:
        name = python_name(method)
        answer = getattr(methods, name)
        if method.client_streaming or method.server_streaming:
            made[method.name] = _stream(method, answer, gate, settings)
        else:
            made[method.name] = _unary(method, answer, gate, settings, name in own)
    return grpc.method_handlers_generic_handler(service.full_name, made)


def python_name(method: MethodDescriptor) -> str:
    """`list_collections` for `ListCollections`."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", method.name).lower()


def _unary(method: MethodDescriptor, answer: Callable, gate: Gate, settings: Settings, own_turns: bool) -> Any:
    def one(given: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        call, request = Call(context, gate, settings.deadline_s), None
        try:
            with gate.place():
                if own_turns:
                    return answer(request := _parsed(method, call, _received(given)), call)
                data = _received(given)
                with call.turn():
                    return answer(request := _parsed(method, call, data), call)
        except Exception as error:
            _end(context, error, request, call)

    write = GetMessageClass(method.output_type).SerializeToString
    return grpc.stream_unary_rpc_method_handler(one, response_serializer=write)


def _stream(method: MethodDescriptor, answer: Callable, gate: Gate, settings: Settings) -> Any:
    def many(given: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        call, request = Call(context, gate, None), None
        parsed = partial(_parsed, method, call)
        try:
            with gate.stream():
                each = _each_within(settings.stream_idle_s, given)
                request = map(parsed, each) if method.client_streaming else parsed(next(each, None))
                yield from answer(request, call)
        except Exception as error:
            _end(context, error, request, call)

    write = GetMessageClass(method.output_type).SerializeToString
    return grpc.stream_stream_rpc_method_handler(many, response_serializer=write)


def _received(given: Iterator[bytes]) -> bytes | None:
    """The next message; None: no more come. Expired: nor will they, for the caller has gone."""
    try:
        return next(given, None)
    except grpc.RpcError:
        raise Expired(True, "the caller has gone") from None


def _each_within(seconds: float, given: Iterator[bytes]) -> Iterator[bytes]:
    """The messages of a stream, each read when it is asked for. Expired: one did not come within so many seconds.

    A thread waits for them, because gRPC cannot be told how long to. It ends with the call, and no process waits for it.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    come: SimpleQueue[bytes | Exception | None] = SimpleQueue()

    def read() -> None:
        while wanted.get():
            try:
                come.put(_received(given))
            except Exception as error:
                come.put(error)

    Thread(target=read, name="plait-stream", daemon=True).start()
    try:
        while True:
            wanted.put(True)
            data = come.get(timeout=seconds)
            if isinstance(data, Exception):
                raise data
            if data is None:
                return
            yield data
    except Empty:
        again = "send more often, or begin another stream with what was not acknowledged"
        raise Expired(False, f"no message came for {seconds:g} s, the limit (stream_idle_s); {again}") from None
    finally:
        wanted.put(False)


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
