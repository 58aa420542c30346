"""The page of a server's settings, from their models."""

from __future__ import annotations

from typing import Any

from plait.service.settings import Settings
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tables import code, prose, sections, table

HEAD = """# Settings of a server

A server reads its settings from a TOML file (`--config`), from the environment and from flags. Flags win over the
environment, and the environment wins over the file. Each setting is a key of the file, a variable `PLAIT_NAME`, and a
flag `--set name=value`; a setting of a section is `section.name`, `PLAIT_SECTION__NAME` and `--set section.name=value`.
An unknown key is an error. `plait serve FOLDER --print-config` prints all settings with their sources.
[Operating a server](../how-to/operate.md) says how to choose them."""
BY_MACHINE = {"workers": "twice the CPUs, at least 4"}
"""Defaults that differ from machine to machine."""
LIMITS = {"Ge": "at least {}", "Gt": "above {}", "Le": "at most {}", "Lt": "below {}"}


def page() -> str:
    sections_of = {n: f.annotation for n, f in Settings.model_fields.items() if _is_model(f.annotation)}
    plain = {n: f for n, f in Settings.model_fields.items() if n not in sections_of}
    parts = [HEAD, "## General", _rows(plain)]
    for name, model in sections_of.items():
        parts += [f"## \\[{name}\\]", prose(model.__doc__), _rows(model.model_fields)]  # type: ignore[union-attr]
    return sections(parts)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _rows(fields: dict[str, FieldInfo]) -> str:
    return table(
        ["setting", "default", "bounds", "what it does"], [_row(name, field) for name, field in fields.items()]
    )


def _row(name: str, field: FieldInfo) -> list[str]:
    value = "" if field.default is PydanticUndefined else field.get_default()
    shown = "not set" if value is None else BY_MACHINE.get(name) or code(_value(value))
    bounds = [
        LIMITS[type(one).__name__].format(f"{_bound(one):,}") for one in field.metadata if type(one).__name__ in LIMITS
    ]
    return [code(name), shown, ", ".join(bounds), prose(field.description)]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) or hasattr(value, "parts"):
        return f'"{value}"'
    return f"{value:,}" if isinstance(value, int) else str(list(value) if isinstance(value, tuple) else value)


def _bound(one: Any) -> float:
    return next(getattr(one, name) for name in ("ge", "gt", "le", "lt") if hasattr(one, name))
