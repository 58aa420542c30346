"""API keys: made at random, shown once, kept as hashes in one small file that a running
server reads again when it changes.

A key is `plait_ID_SECRET`: eight hexadecimal digits that name it in logs and lists, and 32 random bytes in base64url.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from ..index.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound
from .messages.durable import checksum, replace

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")
"""Each includes those before it."""
MAX_KEYS = 10_000

_TOKEN = re.compile(r"plait_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_AUDIT = logging.getLogger("plait.audit")


class Key(BaseModel):
    """One key, without its secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    sha256: str
    """Of the secret. A slow hash protects secrets that people choose, because those can be guessed; nobody guesses 256
    random bits, so one round is as safe, and cheap enough for every call."""
    scope: Scope
    collections: tuple[str, ...] | None = None
    """Where it counts; None: everywhere."""
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and now >= self.expires else "valid"

    def covers(self, scope: Scope) -> bool:
        return SCOPES.index(scope) <= SCOPES.index(self.scope)

    def reaches(self, collection: str) -> bool:
        return self.collections is None or collection in self.collections


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    format: Literal[1, 2] = 2
    """A file of format 1 has no checksum; it is written in format 2 when a key is made or revoked."""
    keys: list[Key] = []
    sha256: str | None = None
    """Of the keys."""

    @property
    def checksum(self) -> str:
        return checksum([key.model_dump(mode="json") for key in self.keys])


@dataclass(frozen=True)
class Refusal:
    """Why a token is not accepted."""

    reason: Literal["missing", "malformed", "unknown", "expired", "revoked", "damaged"]


def create(
    path: Path,
    name: str,
    scope: Scope,
    collections: Sequence[str] | None = None,
    expires: datetime | None = None,
) -> tuple[Key, str]:
    """Adds a key to the file, which is made if it is not there. Returns it with its token, which is kept nowhere.

    Raises:
        AlreadyExists: a key of this name is in use.
        InvalidArgument: a name, a scope or a time that cannot be.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    if not _NAME.fullmatch(name):
        raise InvalidArgument(f"the name {name!r} must be 1 to 64 letters, digits, dots, dashes or underscores")
    if scope not in SCOPES:
        raise InvalidArgument(f"the scope is {scope!r}; it must be one of {', '.join(SCOPES)}")
    if expires is not None and expires <= now:
        raise InvalidArgument(f"the key would expire at {expires.isoformat()}, which is past; name a later time")
    with _changing(path) as file:
        if len(file.keys) >= MAX_KEYS:
            raise InvalidArgument(f"{path} holds {MAX_KEYS} keys, the most there may be; make another file")
        if any(k.name == name and k.state(now) == "valid" for k in file.keys):
            raise AlreadyExists(f"{path} has a key {name!r} in use; revoke it first, or choose another name")
        ids, secret = {k.id for k in file.keys}, secrets.token_urlsafe(32)
        id = next(i for i in iter(lambda: secrets.token_hex(4), None) if i not in ids)
        key = Key(
            id=id,
            name=name,
            sha256=_hash(secret),
            scope=scope,
            collections=tuple(collections) if collections else None,
            created=now,
            expires=expires,
        )
        file.keys.append(key)
    return key, f"plait_{id}_{secret}"


def revoke(path: Path, name: str) -> Key:
    """Marks a key as revoked, for ever.

    Args:
        name: its id; or its name: then the one that counts is meant, otherwise the newest of this name.

    Raises:
        NotFound: the file has no such key.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    with _changing(path) as file:
        meant = [at for at, key in enumerate(file.keys) if name in (key.id, key.name)]
        meant.sort(key=lambda at: (file.keys[at].id == name, file.keys[at].state(now) == "valid", at))
        if meant:
            at = meant[-1]
            file.keys[at] = file.keys[at].model_copy(update={"revoked": file.keys[at].revoked or now})
            return file.keys[at]
    raise NotFound(f"{path} has no key {name!r}; plait keys list shows their names and ids")


def read(path: Path) -> list[Key]:
    """All keys of a file. NotFound: there is none. DataLoss: it is no key file, or not what was written."""
    try:
        file = _File.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise NotFound(f"there is no key file {path}; make one with plait keys create {path} --name NAME") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataLoss(f"{path} is no key file: {where}: {first['msg']}") from None
    if file.sha256 != (None if file.format == 1 else file.checksum):
        raise DataLoss(f"{path} has changed since it was written, and none of its keys counts; restore it from a copy")
    return file.keys


class KeyRing:
    """The keys of a file as they are now: looked at again at most once in `interval_s` seconds.

    A file that went away leaves no keys. While it is damaged no key counts: it may hold a revocation. The log names it.
    """

    def __init__(self, path: Path, interval_s: float = 1.0, now: Callable[[], datetime] = lambda: datetime.now(UTC)):
        self._path, self._interval, self._now = path, interval_s, now
        self._keys = {key.id: key for key in read(path)}
        self._damaged = False
        self._signature, self._looked = _signature(path), time.monotonic()
        self._loading = threading.Lock()

    def find(self, header: str | None) -> Key | Refusal:
        """The valid key of an `authorization` header (`Bearer TOKEN`), or why there is none.

        That a key has expired or was revoked is said only to who knows its secret.
        """
        if header is None:
            return Refusal("missing")
        scheme, _, token = header.partition(" ")
        match = _TOKEN.fullmatch(token.strip(" "))
        if scheme.lower() != "bearer" or match is None:
            return Refusal("malformed")
        self._refresh()
        if self._damaged:
            return Refusal("damaged")
        key = self._keys.get(match[1])
        if not hmac.compare_digest(_hash(match[2]), key.sha256 if key else "0" * 64) or key is None:
            return Refusal("unknown")
        state = key.state(self._now())
        return key if state == "valid" else Refusal(state)

    def _refresh(self) -> None:
        if time.monotonic() - self._looked < self._interval or not self._loading.acquire(blocking=False):
            return
        try:
            self._looked = time.monotonic()
            if (signature := _signature(self._path)) == self._signature:
                return
            self._signature = signature
            try:
                keys = {key.id: key for key in read(self._path)}
            except NotFound:
                keys = {}
            except (DataLoss, OSError) as error:
                self._damaged = True
                _AUDIT.error("keys not read", extra={"fields": {"file": str(self._path), "error": str(error)}})
                return
            self._damaged = False
            before, self._keys = self._keys, keys
            _AUDIT.info("keys changed", extra={"fields": {"file": str(self._path), **_difference(before, keys)}})
        finally:
            self._loading.release()


def _difference(before: dict[str, Key], after: dict[str, Key]) -> dict[str, list[str]]:
    revoked = [i for i, key in after.items() if key.revoked and not (i in before and before[i].revoked)]
    return {
        "created": sorted(after.keys() - before.keys()),
        "revoked": sorted(revoked),
        "removed": sorted(before.keys() - after.keys()),
    }


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


@contextmanager
def _changing(path: Path) -> Iterator[_File]:
    """The file's content, written back whole when the block ends well: readers see the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        file = _File(keys=read(path)) if path.exists() else _File()
        yield file
        file.sha256 = file.checksum
        replace(path, file.model_dump_json(indent=2) + "\n", 0o600)
    finally:
        os.close(lock)
