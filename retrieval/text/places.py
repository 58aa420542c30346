"""Where a collection's checkpoints lie: kept as absolute paths, and told anew when a folder has moved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...index.errors import InvalidArgument, NotFound
from ..encoders.encoder import EMBEDDED
from ..sparse.encoder import BINARY, FAMILIES

_PREFIXES = ("beta", *FAMILIES)


def kept(name: str) -> str:
    """A checkpoint's name as a collection keeps it: a folder by its absolute path, whatever stands before it
    (`beta:`)."""
    prefix, folder = _split(name)
    if folder in (EMBEDDED, BINARY) or not Path(folder).expanduser().is_dir():
        return name
    return prefix + os.path.abspath(Path(folder).expanduser())


def checkpoints(settings: Mapping[str, Any]) -> list[str]:
    """Names of the checkpoints that a collection's settings hold, the encoder's first,
    without what stands before them."""
    encoder = settings["encoder"]
    fields = settings.get("term_fields") or {"": settings.get("terms")}
    names = [encoder["name"]] if encoder else []
    names += [_split(one["name"])[1] for one in fields.values() if one]
    found = (name for name in names if name not in (EMBEDDED, BINARY) and name.partition(":")[0] != "bm25")
    return list(dict.fromkeys(found))


def moved(settings: Mapping[str, Any], given: Any) -> dict[str, str]:
    """Where checkpoints lie now, by the names that the collection keeps.

    Args:
        given: a folder (or hub id) in place of the encoder, or of the only checkpoint where there is no encoder; or
            folders by the names that are kept, those of other collections perhaps among them.
            None: all lie where they lay.

    Raises:
        InvalidArgument: the collection keeps no checkpoint, or several and it is not said which has moved.
    """
    if given is None:
        return {}
    known = checkpoints(settings)
    if isinstance(given, Mapping):
        return {name: kept(os.fspath(place)) for name, place in given.items() if name in known}
    if not isinstance(given, str | os.PathLike):
        raise InvalidArgument(
            f"encoder is {given!r:.80}; give the folder in which the checkpoint lies now, or its hub id"
        )
    own = settings["encoder"]["name"] if settings["encoder"] else None
    if own not in known and len(known) != 1:
        raise InvalidArgument(
            f"encoder is {os.fspath(given)!r}, and this collection has {_listed(known)}"
            + ("; give {NAME: FOLDER} for those that have moved" if known else ": there is nothing to give a place for")
        )
    return {own if own in known else known[0]: kept(os.fspath(given))}


def at(name: str, places: Mapping[str, str]) -> str:
    """The name to load a checkpoint by, of the name that is kept."""
    prefix, bare = _split(name)
    return prefix + places.get(bare, bare)


def not_there(name: str, error: NotFound) -> NotFound:
    """The error of a checkpoint that is not where the collection looks for it, with the remedy."""
    bare = _split(name)[1]
    looked = f" (that is {Path(bare).absolute()})" if "/" in bare and not bare.startswith(("/", "~")) else ""
    return NotFound(
        f"{error}{looked}. If the checkpoint has moved, say where it is: plait.open(path, encoder=FOLDER), --encoder FOLDER on "
        f"the command line, or the setting checkpoints of a server; it must be the same as the one of {bare!r}"
    )


def _split(name: str) -> tuple[str, str]:
    """What stands before a checkpoint's name (`splade:`), and the name."""
    prefix, colon, rest = name.partition(":")
    return (prefix + colon, rest) if colon and rest and prefix in _PREFIXES else ("", name)


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
