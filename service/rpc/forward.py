"""Requests that only the writing process can answer, passed on to it by the process that was asked.

Reads are answered where they come in: every process sees the newest committed state. All else, by the scope that the
protocol gives each RPC, goes over a socket in a private folder to the one process that writes. Its status comes back as
it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2
from grpc_status import rpc_status

from ...index.errors import PlaitError, Unavailable
from ..messages.protocol import SCOPES
from ..messages.status import Expired, PassedOn
from ..wire import access_pb2
from .calls import Call
from .handlers import python_name

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A writer that was killed is there again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


def to_writer(address: str) -> grpc.Channel:
    """The way to the writing process, which need not be there yet."""
    return grpc.insecure_channel(address, _OPTIONS)


class Forwarding:
    """The methods of a service: reads are those of `here`, the rest go over the channel."""

    def __init__(self, service: ServiceDescriptor, here: Any, channel: grpc.Channel):
        own: set[str] = set(getattr(here, "own_turns", ()))
        for method in service.methods:
            name, path = python_name(method), f"/{service.full_name}/{method.name}"
            if SCOPES[path] == access_pb2.SCOPE_READ:
                setattr(self, name, getattr(here, name))
            else:
                setattr(self, name, _passed_on(method, path, channel))
                own.add(name)  # it waits for its turn where the work is done
        self.own_turns = tuple(own)


def _passed_on(method: MethodDescriptor, path: str, channel: grpc.Channel) -> Callable[[Any, Call], Any]:
    kind = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    write, read = GetMessageClass(method.input_type).SerializeToString, GetMessageClass(method.output_type).FromString
    send = getattr(channel, kind)(path, write, read)

    def one(request: Any, call: Call) -> Any:
        try:
            return send(request, timeout=call.left(), metadata=_metadata(call))
        except grpc.RpcError as error:
            raise _answered(error) from None

    def many(request: Any, call: Call) -> Iterator[Any]:
        made: Future[Any] = Future()
        lost: list[Exception] = []
        given = _unless_lost(request, made, lost) if method.client_streaming else request
        answers = send(given, timeout=call.left(), metadata=_metadata(call))
        made.set_result(answers)
        call.on_end(answers.cancel)
        try:
            yield from answers
        except grpc.RpcError as error:
            raise lost[0] if lost else _answered(error) from None

    return many if method.server_streaming else one


def _metadata(call: Call) -> list[tuple[str, str]]:
    return [("x-request-id", call.id), *(call.rpc.onward if call.rpc else ())]


def _unless_lost(requests: Iterator[Any], made: Future[Any], lost: list[Exception]) -> Iterator[Any]:
    """The requests. If they break off, `lost` is told why, and the call that was made of them is cancelled before they
    end: an end would be taken for the caller's own, and a bulk write that was cut short be kept."""
    try:
        yield from requests
    except Exception as error:
        lost.append(error)
        made.result().cancel()


def _answered(error: grpc.RpcError) -> PlaitError:
    """How the call ended: with a status of the writer's own, or on the way."""
    assert isinstance(error, grpc.Call)
    code, message = error.code(), error.details() or ""
    if (status := rpc_status.from_call(error)) is not None:
        return PassedOn(status)
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable("the process that writes was lost, with or without this request done; try again")
    if code in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED):
        return Expired(code is grpc.StatusCode.CANCELLED, "the call ended before the process that writes had answered")
    return PassedOn(status_pb2.Status(code=code.value[0], message=message))
