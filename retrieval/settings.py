"""Keyword arguments of a collection, typed: what it is made of, and what it is opened with on a machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from ..index.writing.maintenance import Policy
from .encoders.encoder import EncoderOptions


class Machine(TypedDict, total=False):
    """How one process uses a collection; nothing of it is stored. `Retriever` has the defaults."""

    device: str
    threads: int | None
    cache: Path | None
    policy: Policy | None
    verify: bool
    device_memory: int | None
    encode_pending: bool


class Opening(Machine, total=False):
    """What `plait.open` takes."""

    encoder: str | os.PathLike[str] | Mapping[str, str] | None


class Making(Machine, total=False):
    """What `plait.create` takes: what a collection is made of, and the machine. `Retriever.create` has defaults."""

    system: str | None
    encoder: str | os.PathLike[str] | None
    options: EncoderOptions
    reduce: Sequence[str]
    dim: int | None
    terms: str | Mapping[str, str] | None
    vector: int | bool | None
    store: str
    precision: str
    fields: Sequence[str]
