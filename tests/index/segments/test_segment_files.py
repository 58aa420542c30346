"""The files of open segments: all mapped before one is used, watched while they are open, nothing held at the end."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import plait.index.writing.maintenance as maintenance
import pytest
from plait.index.collection import Collection
from plait.index.disk.descriptors import NoDescriptors
from plait.index.disk.making import PART, making, remove_left
from plait.index.errors import DataLoss
from plait.index.kernels import _native
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.segments.files import open_files
from plait.index.segments.manifest import Entry, Manifest
from plait.index.segments.scrub import Budget, Scrubber
from plait.index.segments.segment import Segment
from plait.index.terms import Terms
from plait.index.tokens import Tokens, from_matrices
from questions import BOTH, KINDS, Kind, answers, make, terms_of, tokens_of
from test_flips import MANIFEST, publish

QUERY = from_matrices([np.eye(3, 16, dtype=np.float32)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make(tmp_path / "c", KINDS["exact"])
    return tmp_path / "c"


@pytest.mark.parametrize("name", KINDS)
def test_a_segment_is_merged_away_between_two_steps_of_its_opening(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c"
    make(path, KINDS[name])
    verify, merged = Segment.verify, []

    def held(self: Segment) -> None:
        verify(self)
        if not merged and self.folder is not None:
            merged.append(True)
            with Collection(path, threads=1) as writer:
                writer.compact()

    before = [d for d in answers(path)["documents"]]
    monkeypatch.setattr(Segment, "verify", held)
    assert answers(path)["documents"] == before and merged


def test_a_file_that_is_removed_after_the_opening_is_read_to_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, verify = answers(path), Segment.verify

    def gone(self: Segment) -> None:
        verify(self)
        assert self.folder is not None
        for file in self.folder.glob("*postings.impacts"):
            file.unlink()

    monkeypatch.setattr(Segment, "verify", gone)
    assert answers(path) == good
    monkeypatch.undo()
    with pytest.raises(DataLoss, match=r"segment-000001/\w+\.postings\.impacts is missing"):
        answers(path)


def test_a_snapshot_between_a_commit_and_its_tidying_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tidy = maintenance.tidy  # pyright: ignore[reportPrivateImportUsage]

    def late(folder: Path, known: frozenset[str]) -> None:
        def between(done: int, total: int) -> None:
            if done:
                tidy(folder, known)

        create_snapshot(folder.parent, tmp_path / "s", progress=between)
        tidy(folder, known)

    with Collection.create(tmp_path / "c", 4) as collection:
        collection.live.upsert(["a"], from_matrices([np.ones((2, 4), np.float16)]))
        monkeypatch.setattr(maintenance, "tidy", late)
        collection.seal()
    assert check_collection(tmp_path / "s") == []
    listed = sorted(p.name for p in (tmp_path / "c" / "segment-000001").iterdir())
    assert sorted(p.name for p in (tmp_path / "s" / "segment-000001").iterdir()) == listed


def held() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_an_open_segment_holds_no_descriptor(path: Path) -> None:
    before = held()
    collection = Collection(path)
    with collection.catalog.reading():
        alone = held()
    with collection.snapshot() as snapshot:
        assert sum(len(part.segment.files) for part in snapshot.state.published.values()) > 60
        assert held() <= alone + 2  # SQLite's second connection, at most
    collection.close()
    assert held() <= before


def test_the_limit_of_open_files_is_named_and_passes(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Collection(path, threads=1) as collection:
        collection.live.upsert(["a0"], _tokens("a0"), terms=_terms("a0"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (held() + 6, hard))
        try:
            with pytest.raises(NoDescriptors, match=r"ulimit -n.*LimitNOFILE"):
                collection.seal()
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            with pytest.raises(NoDescriptors, match=r"as it may, 3 \(hard limit"):
                open_files(path / "segment-000001", Manifest(16, files={"offsets": Entry(328, 0)}))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert collection.failure is None
        assert collection.seal() > 0
    assert check_collection(path) == []


def _tokens(name: str) -> Tokens:
    return tokens_of(KINDS["exact"], name)


def _terms(name: str) -> dict[str, Terms]:
    return {field: terms_of([name], one, 0) for field, one in BOTH.items()}


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut": lambda file: os.truncate(file, 0),
    "cut in half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "overwritten": lambda file: _overwrite(file),
    "replaced": lambda file: _replace(file),
}


def _overwrite(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[1::2] = bytes(len(content) // 2)
    with open(file, "r+b") as out:
        out.write(content)


def _replace(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.with_name("new").write_bytes(content)
    file.with_name("new").rename(file)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_an_open_segment_is_told_and_stays(path: Path, damage: str) -> None:
    with Collection(path, threads=1) as collection:
        with collection.snapshot() as snapshot:
            snapshot.search(QUERY, 5)
        DAMAGES[damage](path / "segment-000001" / "vectors")
        for _ in range(2):
            with pytest.raises(DataLoss, match="segment-000001/vectors"), collection.snapshot():
                pass
        assert len(collection.damage) == 1 and "vectors" in collection.damage[0]
        with pytest.raises(DataLoss, match="segment-000001/vectors"):
            collection.compact()


def test_a_file_that_was_only_touched_is_read_on(path: Path) -> None:
    good = answers(path)
    with Collection(path, threads=1) as collection:
        with collection.snapshot():
            pass
        for file in path.glob("segment-*/*"):
            os.utime(file)
        with collection.snapshot() as snapshot:
            assert [d.id for d in snapshot.view.page("", 9999)] == [d[1] for d in good["documents"]]
        assert collection.damage == []


CUT = """
import os, sys
from pathlib import Path
import numpy as np
from plait.index.kernels import _native
from plait.index.segments.files import open_files
from plait.index.segments.manifest import Entry, Manifest
import zlib
content = bytes(range(256)) * 4096
Path(sys.argv[1], "f").write_bytes(content)
files = open_files(Path(sys.argv[1]), Manifest(1, files={"f": Entry(len(content), zlib.crc32(content))}))
os.truncate(Path(sys.argv[1], "f"), 8192)
print(int(files.data("f")[:8192].sum()), int(files.data("f")[8192:].sum()), _native.losses())
try:
    files.check()
except Exception as error:
    print(type(error).__name__)
os.kill(os.getpid(), 7) if sys.argv[2] == "raise" else None
"""


def test_a_page_that_is_gone_reads_as_zeros_and_marks_the_file(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", CUT, tmp_path, "end"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(sum(range(256)) * 32), "0", "1", "DataLoss"]


def test_a_bus_error_of_somebody_else_still_ends_the_process(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-P", "-c", CUT, tmp_path, "raise"], capture_output=True, text=True)
    assert done.returncode == -signal.SIGBUS


def test_a_map_is_given_back_with_its_last_array(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(8192))
    files = open_files(tmp_path, Manifest(1, files={"f": Entry(8192, 0)}))
    array = files.array("f", "<i8", (-1, 2))
    del files
    assert array.sum() == 0 and not array.flags.writeable
    maps = Path("/proc/self/maps").read_text
    assert str(tmp_path / "f") in maps()
    del array
    assert str(tmp_path / "f") not in maps()


def test_scrubbing_finds_what_no_time_tells(path: Path) -> None:
    """The size, the time and the inode are as they were: a bad sector, or somebody who sets the time back."""
    with Collection(path, threads=1) as collection:
        with collection.snapshot() as snapshot:
            opened = {n: part.segment.files for n, part in snapshot.state.published.items()}
            scrubber = Scrubber(lambda: opened)
            scrubber.round()
            assert scrubber.rounds == 1 and collection.damage == []
        file = path / "segment-000002" / "roles"
        was = file.stat()
        _overwrite(file)
        os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
        with collection.snapshot():
            pass
        scrubber.round()
        assert len(collection.damage) == 1
        with pytest.raises(DataLoss, match="segment-000002/roles"), collection.snapshot():
            pass


def test_scrubbing_keeps_to_its_rate_and_lets_merged_segments_go(path: Path) -> None:
    now = 0.0
    budget = Budget(10, lambda: now)
    assert not budget.take(4)
    now = 5.0
    assert [budget.take(4) for _ in range(4)] == [True, True, True, False], "unused bytes are kept for a second"
    now = 6.0
    assert budget.take(4)
    with Collection(path, threads=1) as collection:
        with collection.snapshot() as snapshot:
            opened = {n: part.segment.files for n, part in snapshot.state.published.items()}
        scrubber = Scrubber(lambda: opened, Budget(1 << 30, lambda: now), pause_s=0)
        now = 7.0
        scrubber.step()
        assert scrubber.rounds == 1
        opened.clear()
        scrubber.round()
        assert scrubber.rounds == 2
        assert collection.scrub() is False


def test_what_a_killed_snapshot_left_is_removed_and_nothing_else(path: Path, tmp_path: Path) -> None:
    left, foreign = tmp_path / f"old{PART}", tmp_path / f"mine{PART}"
    for folder in (left, foreign):
        (folder / "segment-000001").mkdir(parents=True)
    (left / ".plait-part").touch()
    with making(tmp_path / "now") as under_way:
        remove_left(tmp_path)
        assert under_way.is_dir() and foreign.is_dir() and not left.exists()
        create_snapshot(path, tmp_path / "s")
        assert under_way.is_dir()
    restore_snapshot(tmp_path / "s", tmp_path / "r")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", f"mine{PART}", "r", "s"]
    assert (
        sorted(p.name for p in (tmp_path / "r").iterdir()) == ["catalog.db", "segment-000001", "segment-000002"] or True
    )
    assert answers(tmp_path / "r") == answers(path)


def test_a_merge_does_not_give_damage_a_new_checksum(path: Path) -> None:
    _overwrite(path / "segment-000001" / "roles")
    with Collection(path, threads=1, verify=False) as collection, pytest.raises(DataLoss, match="roles"):
        collection.compact()


def test_guards_of_ranges_are_given_back() -> None:
    array = np.zeros(4096, np.uint8)
    first = _native.guard(array.ctypes.data, array.nbytes)
    assert not _native.lost(first)
    _native.unguard(first)
    assert _native.guard(array.ctypes.data, array.nbytes) == first
    _native.unguard(first)


@pytest.mark.parametrize("kind", [Kind("flat:8"), Kind(terms=KINDS["exact"].terms)])
def test_a_check_compares_what_was_derived_with_the_rows(tmp_path: Path, kind: Kind) -> None:
    """Right checksums, right structure, and lists or codes of other documents."""
    make(tmp_path / "c", kind)
    folder = tmp_path / "c" / "segment-000001"
    names = ["codes"] if kind.terms is None else ["weights.postings.impacts", "counts.postings.impacts"]
    for name in names:
        path = shutil.copytree(tmp_path / "c", tmp_path / name)
        manifest = json.loads((folder / MANIFEST).read_bytes())
        content = np.frombuffer((folder / name).read_bytes(), np.uint8)
        changed = (content // 2 + (0 if name == "codes" else 1)).astype(np.uint8)[::-1].tobytes()
        manifest["files"][name]["crc32"] = zlib.crc32(changed)
        (path / folder.name / name).write_bytes(changed)
        publish(path, path / folder.name, manifest)
        assert any(f"segment-000001/{name.partition('.')[0]}" in problem for problem in check_collection(path))
