"""What a server may be told: a TOML file, the environment, flags. Flags win over the environment, and that over the file.

Every field is a key of the file (`k` under `[limits]`), a variable (`PLAIT_LIMITS__K`) and a flag
(`--set limits.k=100`). Unknown keys are errors.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ..index.errors import InvalidArgument, NotFound
from .limits import STRICT, Limits, PerKey

_ABSENT = object()


class Tls(BaseModel):
    """PEM files. They are read again when they change: a renewed certificate needs no restart."""

    model_config = STRICT

    cert: Path | None = None
    """The server's certificate, with its chain. None: no TLS."""
    key: Path | None = None
    """The private key of `cert`."""
    client_ca: Path | None = None
    """Certificates of authorities: clients must show one that these have signed (mTLS)."""

    @model_validator(mode="after")
    def _whole(self) -> Tls:
        if (self.cert is None) != (self.key is None) or (self.client_ca and not self.cert):
            raise ValueError("cert and key belong together, and client_ca needs both; give all of them")
        return self


class Admin(BaseModel):
    """The port for operators: /metrics, /healthz, /readyz. It asks for no key and names collections: keep it private."""

    model_config = STRICT

    listen: str = ""
    """Address and port, such as 127.0.0.1:9464; empty: no such port."""
    probe_every: int = Field(default=0, ge=0, le=1_000_000_000)
    """Every n-th search is also answered exactly, in the background, for the live recall gauge; 0: none is."""
    probe_cpu: float = Field(default=0.05, gt=0, le=1)
    """The share of one core that these exact searches may use."""


class Tracing(BaseModel):
    """OpenTelemetry traces, sent by OTLP over HTTP."""

    model_config = STRICT

    endpoint: str = ""
    """Where to, such as http://127.0.0.1:4318/v1/traces; empty: no traces."""
    headers: dict[str, SecretStr] = {}
    """HTTP headers for the collector, such as its key."""
    share: float = Field(default=1, ge=0, le=1)
    """The share of traces begun here that is kept; a caller's own choice is followed."""


class Settings(BaseSettings):
    """All settings of a server."""

    model_config = SettingsConfigDict(
        env_prefix="PLAIT_", env_nested_delimiter="__", extra="forbid", frozen=True, use_attribute_docstrings=True
    )

    root: Path = Path(".")
    """The folder whose folders are the collections."""
    listen: str = "127.0.0.1:50051"
    """Host and port; port 0 takes any that is free."""
    insecure: bool = False
    """Serve a public address without TLS or keys."""
    keys: Path | None = None
    """The file of API keys (`plait keys`). None: whoever reaches the port may do everything."""
    snapshots: Path | None = None
    """Where snapshots are kept; None: in `.snapshots` under the root, so that they can be hard links."""
    workers: int = Field(default=max(2, os.cpu_count() or 2), ge=1, le=1_024)
    """Requests worked on at once. More: a slow request blocks fewer others, and each takes longer."""
    queue: int = Field(default=64, ge=0, le=100_000)
    """Requests that wait for a worker; one more is refused. Larger: fewer refusals and longer waits."""
    streams: int = Field(default=16, ge=1, le=1_024)
    """Streams open at once (ingest, watch)."""
    deadline_s: float = Field(default=30, gt=0, le=3_600)
    """The longest that a request may take, whatever its client allows."""
    grace_s: float = Field(default=30, ge=0, le=3_600)
    """How long requests under way may go on when the server is told to stop."""
    device: str = "cpu"
    """Where encoders and FAISS run: cpu, or cuda[:N]."""
    threads: int | None = Field(default=None, ge=1, le=1_024)
    """CPU threads of each search and of an encoder; None: the libraries' own choice."""
    reflection: bool = True
    """Whether clients may ask for the descriptors of the services."""
    log: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged; `info` has one line for every call, `warning` only those that failed."""
    limits: Limits = Limits()
    per_key: PerKey = PerKey()
    tls: Tls = Tls()
    admin: Admin = Admin()
    tracing: Tracing = Tracing()


def load(config: Path | None = None, flags: Mapping[str, Any] | None = None) -> tuple[Settings, dict[str, str]]:
    """The settings, and where each value came from (`limits.k` to `flag`, `environment`, the file or `default`).

    Args:
        config: a TOML file.
        flags: dotted names to values; texts are read as the field's type.

    Raises:
        NotFound: there is no such file.
        InvalidArgument: it is not TOML; a key is unknown; a value is of the wrong type or out of its bounds.
    """
    given, file = _nested(flags or {}), _read(config)

    class Sources(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, InitSettingsSource(settings_cls, file)

    sources: dict[str, Any] = {}
    try:
        variables = EnvSettingsSource(Settings)()
        sources = {"flag": given, "environment": variables, str(config): file}
        settings = Sources(**given)
    except SettingsError as error:
        raise InvalidArgument(
            f"a PLAIT_ variable of the environment cannot be read: {error.__cause__ or error}"
        ) from None
    except ValidationError as error:
        raise InvalidArgument("; ".join(_complaint(e, sources) for e in error.errors())) from None
    return settings, {name: _origin(name.split("."), sources) for name in _leaves(settings)}


def _complaint(error: Any, sources: Mapping[str, Any]) -> str:
    """Names the setting, its value (unless secret), where it came from, and what is wrong with it."""
    keys = [str(part) for part in error["loc"]]
    value = "" if "headers" in keys or isinstance(error["input"], Mapping) else f" is {error['input']!r}"
    return f"{'.'.join(keys)}{value} ({_origin(keys, sources)}): {error['msg']}"


def _origin(keys: Sequence[str], sources: Mapping[str, Any]) -> str:
    for source, values in sources.items():
        for key in keys:
            values = values.get(key, _ABSENT) if isinstance(values, Mapping) else _ABSENT
        if values is not _ABSENT:
            return source
    return "default"


def _leaves(settings: Settings) -> list[str]:
    found = []
    for name, value in settings:
        found += [f"{name}.{key}" for key, _ in value] if isinstance(value, BaseModel) else [name]
    return found


def _nested(flags: Mapping[str, Any]) -> dict[str, Any]:
    """`{"limits.k": 5}` as `{"limits": {"top_k": 5}}`."""
    nested: dict[str, Any] = {}
    for name, value in flags.items():
        *sections, key = name.split(".")
        at = nested
        for section in sections:
            at = at.setdefault(section, {})
        at[key] = value
    return nested


def _read(config: Path | None) -> dict[str, Any]:
    if config is None:
        return {}
    try:
        return tomllib.loads(config.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no file {config}; --config takes a TOML file") from None
    except ValueError as error:
        raise InvalidArgument(f"{config} is not TOML: {error}") from None


def shown(settings: Settings, origins: Mapping[str, str]) -> str:
    """The settings as a TOML file, each with where it came from; secrets are masked."""
    lines, sections = [], []
    for name, value in settings.model_dump(mode="json").items():
        if isinstance(getattr(settings, name), BaseModel):
            sections += ["", f"[{name}]", *(_line(f"{name}.{key}", v, origins) for key, v in value.items())]
        else:
            lines.append(_line(name, value, origins))
    return "\n".join([*lines, *sections])


def _line(name: str, value: Any, origins: Mapping[str, str]) -> str:
    key = name.rsplit(".", 1)[-1]
    if value is None:
        return f"# {key} is not set"
    return f"{key} = {_toml(value)}  # {origins[name]}"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    # Texts, numbers and truth values are written in TOML as they are in JSON.
    return json.dumps(value)
