"""gRPC's reflection, behind the places, limits and deadlines of all other streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from grpc_reflection.v1alpha import reflection, reflection_pb2

from ..rpc.calls import Call

REFLECTION: Any = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]


class ReflectionMethods:
    """Tells the descriptors of services by their full names, and of its own."""

    def __init__(self, names: Sequence[str]):
        self._servicer: Any = reflection.ReflectionServicer([*names, REFLECTION.full_name])

    def server_reflection_info(self, requests: Iterator[Any], call: Call) -> Iterator[Any]:
        return self._servicer.ServerReflectionInfo(requests, None)
