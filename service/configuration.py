"""Reads settings from a TOML file, the environment and flags, and prints them."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from ..index.errors import InvalidArgument, NotFound
from .settings import Settings

_ABSENT = object()
_NO_SETTINGS = ("PLAIT_API_KEY", "PLAIT_CA", "PLAIT_SIMD")
"""Variables that others read."""


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
    if error["type"] == "extra_forbidden":
        return f"no setting is called {'.'.join(keys)} ({_origin(keys, sources)}){_meant('.'.join(keys))}"
    value = "" if "headers" in keys or isinstance(error["input"], Mapping) else f" is {error['input']!r}"
    return f"{'.'.join(keys)}{value} ({_origin(keys, sources)}): {error['msg']}"


def _meant(name: str) -> str:
    """What could have been meant by a name that no setting has."""
    names = list(_known(Settings))
    known = [*dict.fromkeys(part for one in names for part in (one.partition(".")[0], one))]
    near = get_close_matches(name, known, 3)
    return f"; did you mean {' or '.join(near)}?" if near else f"; there are {', '.join(known)}"


def _known(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known(field.annotation, f"{before}{name}.")
        else:
            yield before + name


def unknown_variables() -> list[str]:
    """Variables of the environment that look like settings and are none, each with what could have been meant."""
    known = {f"PLAIT_{name.upper().replace('.', '__')}": name for name in _known(Settings)}
    found = []
    for variable in sorted(os.environ):
        if not variable.startswith("PLAIT_") or variable in known or variable in _NO_SETTINGS:
            continue
        if near := get_close_matches(variable, known, 1, cutoff=0.8):
            found.append(f"{variable} in the environment is no setting and is ignored; did you mean {near[0]}?")
    return found


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
    """`{"limits.k": 5}` as `{"limits": {"k": 5}}`."""
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
