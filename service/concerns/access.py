"""Who may call what: the scope of every RPC stands in the proto, and a key has a scope and perhaps collections."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.rpc import error_details_pb2

from ...index.errors import FailedPrecondition
from ..keys import SCOPES, Key, KeyRing, Refusal, Scope
from ..rpc.interceptor import Concern, End, Rpc, refuse
from .logs import facts

DOMAIN = "plait"
_REMEDY = {
    "missing": "no API key; send the metadata `authorization: Bearer KEY` (plait keys create makes one)",
    "malformed": "this is no API key; send the metadata `authorization: Bearer KEY`, the key as plait keys create showed it",
    "unknown": "this API key is unknown; make one with plait keys create",
    "expired": "this API key has expired; make another one with plait keys create",
    "damaged": "the key file of this server is damaged, and no key counts until it is restored; its log names it",
    "revoked": "this API key was revoked; make another one with plait keys create",
}
_AUDIT = logging.getLogger("plait.audit")


@dataclass(frozen=True)
class Rule:
    """What an RPC asks of a key."""

    scope: Scope
    names: tuple[str, ...] = ()
    """Fields of its requests that name collections; a key of single collections must reach all of them."""
    everywhere: bool = False
    """Whether keys of single collections may call it although it names none: it tells nothing of any, or looks itself
    (`OperationMethods`)."""


# Load balancers have no key, and the answer is one bit.
HEALTH = frozenset(f"/grpc.health.v1.Health/{name}" for name in ("Check", "Watch", "List"))
REFLECTION = {
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo": Rule("read", everywhere=True)
    for version in ("v1", "v1alpha")
}
_NAMES = ("collection", "alias")
_EVERYWHERE = {
    "/plait.v1.SystemService/GetServerInfo",
    *(f"/plait.v1.OperationService/{name}Operation" for name in ("Get", "Watch", "Cancel")),
}
# It names the new collection, and a snapshot, which may be of any.
_BEYOND = {"/plait.v1.SnapshotService/RestoreSnapshot"}


def rules(services: Iterable[ServiceDescriptor], scopes: Mapping[str, int]) -> dict[str, Rule]:
    """The rule of every method of these services, by its path.

    Args:
        scopes: of each method, as its proto says: 1 to 3 for read, write, admin; 0: nothing is said.

    Raises:
        FailedPrecondition: a method has no scope. Such a server must not start.
    """
    found = {}
    for service in services:
        for method in service.methods:
            path = f"/{service.full_name}/{method.name}"
            scope = scopes.get(path, 0)
            if not 1 <= scope <= len(SCOPES):
                raise FailedPrecondition(f"{path} has no scope; give it one in its proto file")
            names = () if path in _BEYOND else tuple(n for n in _NAMES if n in method.input_type.fields_by_name)
            found[path] = Rule(SCOPES[scope - 1], names, path in _EVERYWHERE)
    return found


def guarded(rules: Mapping[str, Rule], ring: KeyRing | None) -> Concern:
    """Lets a call pass if its key may make it. Without a ring everybody may do everything that has a rule."""

    def concern(rpc: Rpc) -> None:
        rule = rules.get(rpc.method)
        if rule is None:
            _deny(rpc, "NO_RULE", f"{rpc.method} has no access rule")
        if ring is not None:
            rpc.key = _authenticated(rpc, ring)
            if not rpc.key.covers(rule.scope):
                message = f"the key {rpc.key.name} has the scope {rpc.key.scope}; {rpc.method} needs {rule.scope}"
                _deny(rpc, "SCOPE", message)
            rpc.checks.append(_still_valid(rpc, ring))
            if rpc.key.collections is not None and not rule.names and not rule.everywhere:
                message = f"the key {rpc.key.name} counts for single collections, and {rpc.method} concerns them all"
                _deny(rpc, "COLLECTION", message)
        if rule.names:
            rpc.checks.append(_names_check(rpc, rule))

    return concern


def _authenticated(rpc: Rpc, ring: KeyRing) -> Key:
    headers = rpc.values("authorization")
    found = Refusal("malformed") if len(headers) > 1 else ring.find(headers[0] if headers else None)
    if isinstance(found, Key):
        return found
    info = error_details_pb2.ErrorInfo(reason=f"API_KEY_{found.reason.upper()}", domain=DOMAIN)
    refuse(rpc.context, grpc.StatusCode.UNAUTHENTICATED, _REMEDY[found.reason], info)


def _still_valid(rpc: Rpc, ring: KeyRing) -> Callable[[Any], None]:
    """Ends a stream at the first message after its key was revoked or has expired."""
    first = True

    def check(message: Any) -> None:
        nonlocal first
        if not first:
            _authenticated(rpc, ring)
        first = False

    return check


def _names_check(rpc: Rpc, rule: Rule) -> Callable[[Any], None]:
    """Notes the collection, and refuses one that the key does not reach. Later messages
    of a stream may leave it out."""
    first = True

    def check(message: Any) -> None:
        nonlocal first
        names = [getattr(message, field, "") for field in rule.names]
        if first:
            rpc.collection = names[0]
        for name in names:
            if (name or first) and rpc.key is not None and not rpc.key.reaches(name):
                # Whether the collection exists is not said.
                _deny(rpc, "COLLECTION", f"the key {rpc.key.name} does not count for the collection {name!r}")
        first = False

    return check


def _deny(rpc: Rpc, reason: str, message: str) -> NoReturn:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    refuse(rpc.context, grpc.StatusCode.PERMISSION_DENIED, message, info)


def audited(rules: Mapping[str, Rule]) -> Concern:
    """Logs every call that needs the scope admin, refused ones too."""

    def concern(rpc: Rpc) -> End:
        def end(code: grpc.StatusCode) -> None:
            rule = rules.get(rpc.method)
            if rule is not None and rule.scope == "admin":
                _AUDIT.info("admin call", extra={"fields": {**facts(rpc), "code": code.name}})

        return end

    return concern
