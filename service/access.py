"""Who may call what: the scope of every RPC stands in the proto, and a key has a scope and perhaps collections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.rpc import error_details_pb2

from ..index.errors import FailedPrecondition
from .concerns import Concern, Rpc, refuse
from .keys import SCOPES, Key, KeyRing, Refusal, Scope
from .logs import facts

DOMAIN = "plait"
_REMEDY = {
    "missing": "no API key; send the metadata `authorization: Bearer KEY` (plait keys create makes one)",
    "malformed": "this is no API key; send the metadata `authorization: Bearer KEY`, the key as plait keys create showed it",
    "unknown": "this API key is unknown; make one with plait keys create",
    "expired": "this API key has expired; make another one with plait keys create",
    "revoked": "this API key was revoked; make another one with plait keys create",
}
_AUDIT = logging.getLogger("plait.audit")


@dataclass(frozen=True)
class Rule:
    """What an RPC asks of a key."""

    scope: Scope | None
    """None: no key is needed."""
    named: bool = False
    """Whether requests name a collection."""
    everywhere: bool = False
    """Whether keys of single collections may call it although it names none."""


# Load balancers have no key, and the answer is one bit.
HEALTH = {f"/grpc.health.v1.Health/{name}": Rule(None) for name in ("Check", "Watch", "List")}
REFLECTION = {
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": Rule("read", everywhere=True)
    for version in ("v1", "v1alpha")
}


def rules(
    services: Iterable[ServiceDescriptor], scope_of: Callable[[MethodDescriptor], int], everywhere: Iterable[str] = ()
) -> dict[str, Rule]:
    """The rule of every method of these services.

    Args:
        scope_of: the scope option of a method: 1 to 3 for read, write, admin; 0: it has none.
        everywhere: full names of methods that name no collection and tell nothing of any.

    Raises:
        FailedPrecondition: a method has no scope. Such a server must not start.
    """
    found = {}
    for service in services:
        for method in service.methods:
            scope = scope_of(method)
            if not 1 <= scope <= len(SCOPES):
                raise FailedPrecondition(f"{method.full_name} has no scope; give it one in its proto file")
            named = "collection" in method.input_type.fields_by_name
            path = f"/{service.full_name}/{method.name}"
            found[path] = Rule(SCOPES[scope - 1], named, method.full_name in everywhere)
    return found


def guarded(rules: Mapping[str, Rule], ring: KeyRing | None) -> Concern:
    """Lets a call pass if its key may make it. Without a ring everybody may do everything that has a rule."""

    @contextmanager
    def concern(rpc: Rpc) -> Iterator[None]:
        rule = rules.get(rpc.method)
        if rule is None:
            _deny(rpc, "NO_RULE", f"{rpc.method} has no access rule")
        if rule.scope is not None and ring is not None:
            rpc.key = _authenticated(rpc, ring)
            if not rpc.key.covers(rule.scope):
                message = f"the key {rpc.key.name} has the scope {rpc.key.scope}; {rpc.method} needs {rule.scope}"
                _deny(rpc, "SCOPE", message)
            if not rule.named and not rule.everywhere and rpc.key.collections is not None:
                message = f"the key {rpc.key.name} counts for single collections, and {rpc.method} concerns them all"
                _deny(rpc, "COLLECTION", message)
        if rule.named:
            rpc.checks.append(_collection_check(rpc))
        yield

    return concern


def _authenticated(rpc: Rpc, ring: KeyRing) -> Key:
    headers = rpc.values("authorization")
    found = Refusal("malformed") if len(headers) > 1 else ring.find(headers[0] if headers else None)
    if isinstance(found, Key):
        return found
    info = error_details_pb2.ErrorInfo(reason=f"API_KEY_{found.reason.upper()}", domain=DOMAIN)
    refuse(rpc.context, grpc.StatusCode.UNAUTHENTICATED, _REMEDY[found.reason], info)


def _collection_check(rpc: Rpc) -> Callable[[Any], None]:
    """Notes the collection, and refuses one that the key does not reach. Later messages of a stream may leave it out."""

    def check(message: Any) -> None:
        name = message.collection
        if rpc.collection and not name:
            return
        rpc.collection = name
        if rpc.key is not None and not rpc.key.reaches(name):
            # Whether the collection exists is not said.
            _deny(rpc, "COLLECTION", f"the key {rpc.key.name} does not count for the collection {name!r}")

    return check


def _deny(rpc: Rpc, reason: str, message: str) -> NoReturn:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    refuse(rpc.context, grpc.StatusCode.PERMISSION_DENIED, message, info)


def audited(rules: Mapping[str, Rule]) -> Concern:
    """Logs every call that needs the scope admin, refused ones too."""

    @contextmanager
    def concern(rpc: Rpc) -> Iterator[None]:
        error: BaseException | None = None
        try:
            yield
        except BaseException as caught:
            error = caught
            raise
        finally:
            rule = rules.get(rpc.method)
            if rule is not None and rule.scope == "admin":
                _AUDIT.info("admin call", extra={"fields": {**facts(rpc), "code": rpc.outcome(error).name}})

    return concern
