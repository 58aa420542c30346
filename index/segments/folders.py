"""The folders of segments: which belong to a collection, what a crash left of them, and how one is removed."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Set
from itertools import chain, count
from pathlib import Path

from ..catalog.catalog import Catalog, next_segment
from ..catalog.view import View
from ..disk.failpoints import reach
from ..errors import DataLoss
from .segment import MANIFEST, segment_folder

_GONE = ".gone-"
"""Begins the name of a segment's folder that is being removed."""
_SEGMENT = re.compile(rf"segment-(\d{{6,}})|{re.escape(_GONE)}segment-(\d{{6,}})(?:-\d+)?")
_LOG = logging.getLogger("plait.folders")


def new_segment(collection: Path, catalog: Catalog) -> int:
    """A number for a segment whose folder is not there yet, whoever made one of that name."""
    number = next_segment(catalog)
    while os.path.lexists(segment_folder(collection, number)):
        number = next_segment(catalog)
    return number


def confirm(folder: Path, manifest_crc: int) -> None:
    """The last look before a transaction names a segment. DataLoss: its manifest, or a
    file that it lists, is not there."""
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
        if zlib.crc32(text) != manifest_crc:
            raise DataLoss(f"{path} is not the manifest that was just written; the segment is not taken in")
        for name, file in json.loads(text)["files"].items():
            path = folder / name
            if path.stat().st_size != file["bytes"]:
                raise DataLoss(f"{path} is not as long as it was written; the segment is not taken in")
    except FileNotFoundError:
        raise DataLoss(f"{path} is missing, though it was just written; the segment is not taken in") from None


def put_away(folder: Path) -> None:
    """Removes a segment's folder that no row names. It gets another name first: who opens it
    by its own finds all or nothing.

    What the disk refuses is logged and left to the next writer: the write that came before it is done.
    """
    try:
        if not folder.is_dir():
            return
        gone = folder
        if not folder.name.startswith(_GONE):
            gone = _free(folder.with_name(_GONE + folder.name))
            reach("rename")
            folder.rename(gone)
        reach("remove")
        shutil.rmtree(gone)
    except OSError as error:
        _LOG.warning("%s could not be removed (%s); the next writer removes it", folder, error)


def _free(path: Path) -> Path:
    """The path, or that with a number at its end: whatever lies there by now is somebody else's."""
    numbered = (path.with_name(f"{path.name}-{n}") for n in count(1))
    return next(one for one in chain([path], numbered) if not os.path.lexists(one))


def tidy(folder: Path, known: Set[str]) -> None:
    """Removes what plait wrote into a sealed segment's folder and its manifest does not list.

    What the disk refuses is logged and left to the next writer: the segment is whole without it.
    """
    try:
        reach("tidy")
        listed = json.loads((folder / MANIFEST).read_bytes())["files"]
        for name in known - {MANIFEST, *listed}:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        _LOG.warning(
            "%s holds files of no use that could not be removed (%s); the next writer removes them", folder, error
        )


def left_behind(collection: Path, view: View, known: Set[str]) -> tuple[list[Path], list[Path]]:
    """Folders of segments that no row names: those that a writer of this collection left, and
    those that are not its own.

    Its own have a number that the collection has given out, and hold nothing but files that plait makes (`known`, of
    `stores.segment_files`).
    """
    named, last = {segment_folder(collection, row.number) for row in view.segments()}, view.meta("segment")
    own, foreign = [], []
    for path in sorted([*collection.glob("segment-*"), *collection.glob(f"{_GONE}segment-*")]):
        match = _SEGMENT.fullmatch(path.name)
        given_out = match is not None and int(match[1] or match[2]) <= last
        if path not in named:
            (own if given_out and _holds_only(path, known) else foreign).append(path)
    return own, foreign


def _holds_only(folder: Path, names: Set[str]) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    try:
        return all(file.name in names and file.is_file() and not file.is_symlink() for file in folder.iterdir())
    except FileNotFoundError:
        return True  # it is being removed by whoever writes
