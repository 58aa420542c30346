"""`plait.connect`: a server's collections, used as if they were here."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from ...index.errors import FailedPrecondition, NotFound, PlaitError, never_fails
from ...retrieval.encoders.encoder import EncoderOptions, encoder_name
from ...retrieval.text.options import NO_ENCODER, OF_ENCODER, CollectionOptions

try:
    import grpc
except ModuleNotFoundError as error:
    raise FailedPrecondition(f"connecting needs {error.name}: pip install 'plait[service]'") from None

from ..messages.making import write_making
from ..messages.protocol import SCOPES
from ..wire import access_pb2, collections_pb2, snapshots_pb2, system_pb2
from ..wire.collections_pb2_grpc import CollectionServiceStub
from ..wire.snapshots_pb2_grpc import SnapshotServiceStub
from ..wire.system_pb2_grpc import SystemServiceStub
from .channel import Channel, Progress
from .remote import Remote

_RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}

_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""What gRPC looks at, in this order."""
_NAMED = 20
"""Collections named in an error."""


class Server:
    """A connection to a server. Make one with `plait.connect`; it may be shared by threads.

    One process answers a connection: a client that shall keep several processes of a server busy makes several.
    """

    def __init__(
        self,
        target: str,
        *,
        api_key: str | None = None,
        ca: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        insecure: bool = False,
        timeout_s: float = 30.0,
    ):
        """
        Args:
            target: HOST:PORT. TLS is used unless the host is this machine's loopback.
            api_key: sent with every call.
            ca: PEM file of the authority that signed the server's certificate; None: the system's.
            certificate: PEM files of this client's certificate and its key, for servers that ask for one.
            insecure: no TLS whatever the host; the key and all data can be read on the way.
            timeout_s: the longest that one call may take. Reads are tried again when the server cannot be reached,
                writes not.
        """
        metadata = [("authorization", f"Bearer {api_key}")] if api_key else []
        here = _loopback(target)
        tls = not insecure and (ca is not None or certificate is not None or not here)
        options = [
            # What a message may weigh is the server's to say.
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.service_config", _service_config()),
            # Its own connection, not one shared with others here: with luck another process of the server answers it.
            ("grpc.use_local_subchannel_pool", 1),
            # A proxy would look for the server on its own machine.
            ("grpc.enable_http_proxy", int(not here)),
        ]
        if tls:
            made = grpc.secure_channel(target, _credentials(ca, certificate), options)
        else:
            made = grpc.insecure_channel(target, options)
        self._channel = Channel(made, target, metadata, timeout_s, _unreached(tls, here))
        self._collections = CollectionServiceStub(made)
        self._snapshots = SnapshotServiceStub(made)
        self._system = SystemServiceStub(made)
        self._tls, self._closed = tls, False

    @never_fails
    def __repr__(self) -> str:
        key = ", with a key" if self._channel.metadata else ""
        closed = ", closed" if self._closed else ""
        return f"{self._channel.target!r}, {'by TLS' if self._tls else 'without TLS'}{key}{closed}"

    def open(self, collection: str) -> Remote:
        """A collection of the server, by name or alias. NotFound: there is none."""
        request = collections_pb2.GetCollectionRequest(collection=collection)
        try:
            self._channel.call(self._collections.GetCollection, request)
        except NotFound as error:
            raise NotFound(f"{error}{self._there()}") from None
        return Remote(self._channel, collection)

    def _there(self) -> str:
        """What could have been meant by a name that no collection has; nothing where this key may not know."""
        try:
            names = self.collections()
        except PlaitError:
            return ""
        return (
            f"; there are {', '.join(names[:_NAMED])}{', ...' if len(names) > _NAMED else ''}"
            if names
            else "; there are none"
        )

    def create(
        self,
        collection: str,
        *,
        encoder: str | os.PathLike[str] | None = "minilm",
        options: EncoderOptions = EncoderOptions(),
        reduce: Iterable[str] = (),
        fields: Iterable[str] = (),
        **settings: Any,
    ) -> Remote:
        """Makes an empty collection on the server; settings as of `plait.create`."""
        changed = {name: getattr(options, name) for name in OF_ENCODER}
        named = encoder_name(encoder) if encoder else NO_ENCODER
        made_of = {**settings, **changed, "encoder": named, "reduce": [*reduce], "fields": [*fields]}
        request = write_making(collection, CollectionOptions.of(made_of))
        self._channel.call(self._collections.CreateCollection, request)
        return Remote(self._channel, collection)

    def collections(self) -> list[str]:
        """The names of all collections that this key may see."""
        names, token = [], ""
        while True:
            request = collections_pb2.ListCollectionsRequest(page_token=token)
            page = self._channel.call(self._collections.ListCollections, request)
            names += [c.name for c in page.collections]
            if not (token := page.next_page_token):
                return names

    def update(self, collection: str, *, fields: Iterable[str]) -> None:
        """Changes what of a collection can be changed: `fields`, those with an index, all of them."""
        Remote(self._channel, collection).index_fields([*fields])

    def delete(self, collection: str) -> None:
        """Deletes a whole collection, and the aliases that stand for it."""
        request = collections_pb2.DeleteCollectionRequest(collection=collection, confirm_name=collection)
        self._channel.call(self._collections.DeleteCollection, request)

    def set_alias(self, alias: str, collection: str | None) -> str | None:
        """Lets a name stand for a collection (None: for nothing), in one step. Returns what it stood for before."""
        request = collections_pb2.SetAliasRequest(alias=alias, collection=collection or "")
        return self._channel.call(self._collections.SetAlias, request).before or None

    def create_snapshot(self, collection: str, name: str, progress: Progress | None = None) -> int:
        """Copies a collection into the server's snapshot folder. Returns the sequence number of the copy.

        Args:
            progress: told of bytes.
        """
        request = snapshots_pb2.CreateSnapshotRequest(collection=collection, name=name)
        operation = self._channel.call(self._snapshots.CreateSnapshot, request).operation
        return int(self._channel.finished(operation, progress)["seq"])

    def snapshots(self) -> list[dict[str, Any]]:
        """Each snapshot's `name`, `seq` (the state that it holds), `documents` and
        `problem` ("": none), by rising name."""
        found = self._channel.call(self._snapshots.ListSnapshots, snapshots_pb2.ListSnapshotsRequest()).snapshots
        return [{field.name: getattr(one, field.name) for field in one.DESCRIPTOR.fields} for one in found]

    def delete_snapshot(self, name: str) -> None:
        """Deletes a snapshot. NotFound: there is none of this name."""
        request = snapshots_pb2.DeleteSnapshotRequest(name=name, confirm_name=name)
        self._channel.call(self._snapshots.DeleteSnapshot, request)

    def restore_snapshot(self, name: str, collection: str, progress: Progress | None = None) -> int:
        """Makes a new collection from a snapshot. Returns its sequence number.

        Args:
            progress: told of bytes, copied and compared.
        """
        request = snapshots_pb2.RestoreSnapshotRequest(name=name, collection=collection)
        operation = self._channel.call(self._snapshots.RestoreSnapshot, request).operation
        return int(self._channel.finished(operation, progress)["seq"])

    def info(self) -> dict[str, Any]:
        """The server's version, all of its limits, and the encoders that `create` may name."""
        found = self._channel.call(self._system.GetServerInfo, system_pb2.GetServerInfoRequest())
        return {field.name: getattr(found, field.name) for field in found.DESCRIPTOR.fields} | {
            "limits": dict(found.limits),
            "encoders": list(found.encoders),
        }

    def close(self) -> None:
        self._closed = True
        self._channel.grpc.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _credentials(ca: str | Path | None, certificate: tuple[str | Path, str | Path] | None) -> grpc.ChannelCredentials:
    chain, key = (None, None) if certificate is None else (Path(p).read_bytes() for p in certificate)
    return grpc.ssl_channel_credentials(None if ca is None else Path(ca).read_bytes(), key, chain)


def _unreached(tls: bool, here: bool) -> str:
    """What may be wrong when a server cannot be reached."""
    said = (
        "the client asked for TLS; if the server has none, say insecure=True (only on a trusted network)"
        if tls
        else "the client asked for no TLS; if the server has a certificate, give its authority as ca (PLAIT_CA)"
    )
    proxy = next((name for name in _PROXIES if os.environ.get(name)), None)
    if proxy and not here:
        said += f"; {proxy} sends the connection by a proxy: name the server in no_proxy if that is wrong"
    return said


def _loopback(target: str) -> bool:
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost" or target.startswith("unix:"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _service_config() -> str:
    """Reads, and nothing else, are sent again when the server could not be reached."""
    reads = [path for path, scope in SCOPES.items() if scope == access_pb2.SCOPE_READ]
    names = [dict(zip(("service", "method"), path[1:].split("/"), strict=True)) for path in reads]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": _RETRY}]})
