"""Calls of a server's methods: with the key, a time limit, and plait's own errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from ...index.errors import PlaitError
from ..messages.payloads import read_payload
from ..messages.status import from_rpc_error
from ..wire import operations_pb2
from ..wire.operations_pb2_grpc import OperationServiceStub

Progress = Callable[[int, int], None]
"""Called as progress(done, total)."""


class Channel:
    """Calls with the key, a time limit, and plait's own errors."""

    def __init__(
        self,
        channel: grpc.Channel,
        target: str,
        metadata: Sequence[tuple[str, str]],
        timeout_s: float,
        unreached: str = "",
    ):
        """`unreached`: what may be wrong when the server cannot be reached."""
        self.grpc, self.target, self.metadata = channel, target, metadata
        self.timeout_s, self._unreached = timeout_s, unreached
        self._operations = OperationServiceStub(channel)

    def call(self, method: Callable[..., Any], request: Any, timeout_s: float | None = None) -> Any:
        try:
            return method(request, timeout=timeout_s or self.timeout_s, metadata=self.metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._unreached) from None

    def stream(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        """The answers of a streaming call; it may last as long as it gives some."""
        try:
            yield from method(request, metadata=self.metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error, self._unreached) from None

    def finished(self, operation: operations_pb2.Operation, progress: Progress | None = None) -> dict[str, Any]:
        """What came of an operation, once it is over, however long that takes.
        PlaitError: it failed or was cancelled."""
        request = operations_pb2.WatchOperationRequest(id=operation.id)
        for answer in self.stream(self._operations.WatchOperation, request):
            operation = answer.operation
            if progress and operation.total:
                progress(operation.done, operation.total)
        if operation.state != operations_pb2.STATE_DONE:
            why = operation.error or "cancelled"
            raise PlaitError(f"{operation.kind} of {operation.collection} did not finish: {why}")
        return read_payload(operation.result)
