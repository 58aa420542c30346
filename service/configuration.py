"""Reads settings from a TOML file, the environment and flags, and prints them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
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
SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
_OTHER = ("PLAIT_API_KEY", "PLAIT_CA", "PLAIT_SIMD", "PLAIT_CHECKPOINTS", "PLAIT_COLLECTIONS")
"""Variables that say something to the client, or to the whole of plait."""


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
        return f"there is no setting {'.'.join(keys)} ({_origin(keys, sources)}); {_known(keys)}"
    value = "" if "headers" in keys or isinstance(error["input"], Mapping) else f" is {error['input']!r}"
    return f"{'.'.join(keys)}{value} ({_origin(keys, sources)}): {error['msg']}"


def _known(keys: Sequence[str]) -> str:
    """What could have been meant: the settings nearest to this name, or all of its section."""
    section, names = "", list(Settings.model_fields)
    if len(keys) > 1 and keys[0] in SECTIONS:
        section, names = f"{keys[0]}.", list(SECTIONS[keys[0]].model_fields)
    near = get_close_matches(keys[len(section) > 0], names)
    what = "did you mean" if near else "there are"
    return f"{what} {', '.join(section + name for name in near or names)}{'?' if near else ''}"


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables of the environment that begin as plait's do and set nothing."""
    known = {*_OTHER, *(f"PLAIT_{name.upper()}" for name in Settings.model_fields)}
    return sorted(name for name in environment if name.startswith("PLAIT_") and name.split("__")[0] not in known)


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
