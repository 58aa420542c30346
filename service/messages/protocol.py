"""What the protocol says of its services."""

from __future__ import annotations

from google.protobuf.descriptor import ServiceDescriptor

from ..wire import access_pb2, collections_pb2, documents_pb2, operations_pb2, search_pb2, snapshots_pb2, system_pb2

SERVICES: dict[str, ServiceDescriptor] = {
    name: service
    for file in (collections_pb2, documents_pb2, operations_pb2, search_pb2, snapshots_pb2, system_pb2)
    for name, service in file.DESCRIPTOR.services_by_name.items()
}
"""By short name, such as `SearchService`."""

SCOPES: dict[str, int] = {
    f"/{service.full_name}/{method.name}": method.GetOptions().Extensions[access_pb2.scope]  # type: ignore[index]
    for service in SERVICES.values()
    for method in service.methods
}
"""The `access_pb2.Scope` that each RPC needs, by the path under which gRPC calls it."""
