"""A little gRPC service of all four kinds of RPC, to test what stands around handlers without the handlers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.struct_pb2 import Struct
from plait.service.rpc.interceptor import Concern, Interceptor

KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


class Named:
    """A message with a field `collection` and a `text`, carried as a Struct."""

    def __init__(self, collection: str = "", text: str = ""):
        self.collection, self.text = collection, text

    def to_bytes(self) -> bytes:
        carried = Struct()
        carried.update({"collection": self.collection, "text": self.text})
        return carried.SerializeToString()

    @classmethod
    def from_bytes(cls, data: bytes) -> Named:
        carried = Struct.FromString(data)
        return cls(carried["collection"], carried["text"])  # type: ignore[arg-type]


def path(kind: str, method: str = "Echo") -> str:
    return f"/test.{kind}/{method}"


def _answer(text: str, context: grpc.ServicerContext) -> str:
    if text == "abort":
        context.abort(grpc.StatusCode.NOT_FOUND, "nothing there")
    if text.startswith("crash"):
        raise RuntimeError(f"could not read {text}")
    return text.upper()


def _handlers(behaviours: dict[str, Any]) -> list[grpc.GenericRpcHandler]:
    made = []
    for kind in KINDS:
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        methods = {name: make(b[kind], Named.from_bytes, Named.to_bytes) for name, b in behaviours.items() if kind in b}
        made.append(grpc.method_handlers_generic_handler(f"test.{kind}", methods))
    return made


ECHO = {
    "unary_unary": lambda one, context: Named(text=_answer(one.text, context)),
    "unary_stream": lambda one, context: (Named(text=_answer(part, context)) for part in one.text.split()),
    "stream_unary": lambda many, context: Named(text=" ".join([_answer(one.text, context) for one in many])),
    "stream_stream": lambda many, context: (Named(text=_answer(one.text, context)) for one in many),
}


@contextmanager
def serving(
    concerns: Sequence[Concern],
    more: dict[str, dict[str, Any]] | None = None,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[int]:
    """Serves `Echo` (and more methods) on a free port of this machine, which it yields."""
    with ThreadPoolExecutor(16) as pool:
        server = grpc.server(pool, interceptors=[Interceptor(concerns)])
        server.add_generic_rpc_handlers(_handlers({"Echo": ECHO, **(more or {})}))
        port = (
            server.add_secure_port("127.0.0.1:0", credentials)
            if credentials
            else server.add_insecure_port("127.0.0.1:0")
        )
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()


def invoker(channel: grpc.Channel, kind: str, method: str = "Echo") -> Any:
    return getattr(channel, kind)(path(kind, method), Named.to_bytes, Named.from_bytes)


def call(
    channel: grpc.Channel,
    kind: str,
    texts: Sequence[str],
    collection: str = "",
    metadata: Sequence[tuple[str, str]] = (),
    method: str = "Echo",
) -> list[str]:
    """The answers of one RPC; the request is one message, or (streams) one for each text."""
    messages = [Named(collection, text) for text in texts]
    given = iter(messages) if kind.startswith("stream") else Named(collection, " ".join(texts))
    answer = invoker(channel, kind, method)(given, metadata=metadata, timeout=10)
    return [one.text for one in answer] if kind.endswith("_stream") else [answer.text]
