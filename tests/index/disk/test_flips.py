"""Damage to the files of segments of every kind: a flipped bit is named and never answered; harm raises nothing raw.

PLAIT_FLIPS says how many bits are turned over, spread over the files of all kinds; a nightly run takes 10,000 and more.
"""

import json
import os
import shutil
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plait.index.catalog.catalog import Catalog
from plait.index.errors import PlaitError
from plait.index.reading.check import check_collection
from questions import KINDS, answers, flipped, make, named, verdict

FLIPS = int(os.environ.get("PLAIT_FLIPS", "320"))
MANIFEST = "segment.json"


@pytest.fixture(scope="module", params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A collection of one kind, and what it answers undamaged."""
    path = tmp_path_factory.mktemp("whole") / "c"
    make(path, KINDS[request.param])
    return path, answers(path)


def files(path: Path) -> list[Path]:
    """Every file of its segments that holds anything."""
    return sorted(p for p in path.glob("segment-*/*") if p.stat().st_size)


def test_one_flipped_bit_is_named_by_a_read_and_by_a_check(whole: tuple[Path, dict[str, Any]]) -> None:
    path, good = whole
    rng, found = np.random.default_rng(len(good)), files(path)
    count = max(len(found), FLIPS // len(KINDS))
    silent, unnamed = [], []
    for number in range(count):
        file = found[number % len(found)]
        name = f"{file.parent.name}/{file.name}"
        content = file.read_bytes()
        bit = int(rng.integers(8 * len(content)))
        file.write_bytes(flipped(content, bit))
        try:
            said = verdict(path, good)
            if not said.startswith("told") or name not in said:
                silent.append((name, bit, said))
            if not named(path, name):
                unnamed.append((name, bit))
        finally:
            file.write_bytes(content)
    assert not silent and not unnamed, f"of {count}: {silent[:5]}, a check did not name {unnamed[:5]}"
    assert verdict(path, good) == "right" and check_collection(path) == []


Harm = Callable[[bytes], bytes]
HARMS: dict[str, Harm] = {
    "zeros": lambda content: bytes(len(content)),
    "ones": lambda content: b"\xff" * len(content),
    "reversed": lambda content: content[::-1],
    "sevens": lambda content: b"\x07" * len(content),
    "shorter": lambda content: content[: len(content) // 16 * 8],
    "empty": lambda content: b"",
    "longer": lambda content: content + content[:8] * 2,
    "turned": lambda content: content[8:] + content[:8],
}


def publish(path: Path, folder: Path, said: Any) -> None:
    """Makes a manifest the one that the catalog names."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    (folder / MANIFEST).write_bytes(text)
    catalog = Catalog(path)
    with catalog.writing() as view:
        number = int(folder.name.removeprefix("segment-"))
        view.db.execute("UPDATE segments SET manifest_crc = ? WHERE number = ?", (zlib.crc32(text), number))
    catalog.close()


def looked_at(path: Path, good: dict[str, Any]) -> None:
    """Questions and a check, which may be answered or refused, but never with an error that is not plait's own."""
    with suppress(PlaitError):
        verdict(path, good)
    assert isinstance(check_collection(path), list)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NaN, which a stranger may have stored
def test_files_made_to_harm_behind_right_checksums_raise_nothing_raw(
    whole: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    good = whole[1]
    path = shutil.copytree(whole[0], tmp_path / "c")
    folder = path / "segment-000001"
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        for harm, change in HARMS.items():
            changed = change(content)
            said = {**entry, "bytes": len(changed), "crc32": zlib.crc32(changed)}
            if "dtype" in entry:
                rest = int(np.prod(entry["shape"][1:]))
                rows = len(changed) // (np.dtype(entry["dtype"]).itemsize * rest)
                said["shape"] = [rows, *entry["shape"][1:]]
            (folder / name).write_bytes(changed)
            publish(path, folder, {**manifest, "files": {**manifest["files"], name: said}})
            try:
                looked_at(path, good)
            except Exception as error:
                raise AssertionError(f"{name} {harm}: {type(error).__name__}: {error}") from error
        (folder / name).write_bytes(content)
    publish(path, folder, manifest)
    assert check_collection(path) == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_manifests_made_to_harm_raise_nothing_raw(whole: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    good = whole[1]
    path = shutil.copytree(whole[0], tmp_path / "c")
    folder = path / "segment-000001"
    manifest = json.loads((folder / MANIFEST).read_bytes())
    listed = manifest["files"]
    first = next(iter(listed))
    harms: list[Any] = [b"", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, {}, {"format": "1"}, {"format": 1}]
    harms += [{**manifest, key: value} for key in manifest for value in (None, [], {}, "x", -1, 1.5, True, 1 << 70)]
    for key in ("bytes", "crc32", "dtype", "shape"):
        for value in (None, [], {}, "x", -1, 1.5, [-1], ["x"], 1 << 70):
            harms.append({**manifest, "files": {**listed, first: {**listed[first], key: value}}})
    harms += [{**manifest, "files": {n: e for n, e in listed.items() if n != lacking}} for lacking in listed]
    harms += [
        {**manifest, "files": {**listed, name: listed[first]}} for name in ("../catalog.db", "/etc/passwd", "", "a\0b")
    ]
    for said in harms:
        publish(path, folder, said)
        try:
            looked_at(path, good)
        except Exception as error:
            raise AssertionError(f"{str(said)[:200]}: {type(error).__name__}: {error}") from error
