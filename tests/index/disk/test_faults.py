"""Lost writes, full disks and failing syncs: a named error, nothing acknowledged lost, and
writing again when the disk does."""

import errno
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import crash_child
import pytest
from life import Contents, Documents, Operation, after, assert_holds, document, perform, prepare
from plait.index.catalog import database
from plait.index.collection import Collection
from plait.index.errors import DataLoss, Unavailable
from plait.index.reading.backup import create_snapshot

STORE = "faiss:IVF,SQfp16"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if (
        shutil.which("mount") is None
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True).returncode
    ):
        pytest.skip("a small tmpfs can be mounted only by root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path, left: int) -> Path:
    """Leaves so many bytes free."""
    ballast = folder / "ballast"
    space = os.statvfs(folder)
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - left)
    return ballast


LARGE: Documents = {f"large{i}": (7, {"n": 1, "text": "x" * 20_000}) for i in range(8)}
FAILING: list[Operation] = [("upsert", LARGE), ("add", LARGE), ("seal", None), ("merge", 1), ("compact", 0)]


def assert_read_only(collection: Collection, reason: str) -> None:
    with pytest.raises(Unavailable, match=f"read-only.*({reason})"):
        collection.live.upsert(["later"], document(3))
    with pytest.raises(Unavailable, match=f"read-only.*({reason})"), collection.builder() as builder:
        builder.add(["later"], document(3))


def assert_survives(path: Path, reader: Collection, before: Contents, allowed: list[Contents]) -> None:
    """The reader sees the last state that was acknowledged; opened again, the
    collection is whole and can be written."""
    with reader.snapshot() as snapshot:
        assert {d.id: d.payload for d in snapshot.view.page("", 99)} == {i: p for i, (_, p) in before.documents.items()}
        assert len(snapshot.search(crash_child.QUERY, 99, params=crash_child.EVERYTHING)[0])
    held = assert_holds(path, allowed)
    with Collection(path) as writer:
        perform(writer, ("upsert", {"again": (3, {"n": 3})}))
        perform(writer, ("compact", 0))
    assert_holds(path, [after(held, ("upsert", {"again": (3, {"n": 3})}))])


@pytest.mark.parametrize("operation", FAILING, ids=lambda operation: operation[0])
def test_a_full_disk_makes_the_writer_read_only(small: Path, operation: Operation) -> None:
    """Whatever is left when it fails: readers go on, and with space again everything acknowledged is there."""
    failures = 0
    for left in (0, 4096, 12_288, 24_576, 36_864, 65_536, 131_072):
        path = small / f"c{left}"
        before = prepare(path, "exact", staged=False)
        with Collection(path) as reader, Collection(path) as writer:
            found_before = len(reader)
            _ = writer.live
            ballast = fill(small, left)
            try:
                perform(writer, operation)
                done = True
            except (OSError, Unavailable) as error:
                done = False
                failures += 1
                assert "full" in str(error) or "No space" in str(error), error
                assert_read_only(writer, "full|No space")
            assert len(reader) == (found_before if not done or operation[0] != "upsert" else found_before + len(LARGE))
            ballast.unlink()
            state = after(before, operation) if done else before
            if state.staged:
                with writer.builder() as builder:
                    builder.discard()
                state = before
            writer.close()
            assert_survives(path, reader, state, [state])
        shutil.rmtree(path)
    assert failures >= 2


@pytest.mark.parametrize("operation", [*FAILING[1:], ("publish", None)], ids=lambda operation: operation[0])
def test_a_failing_sync_makes_the_writer_read_only(
    tmp_path: Path, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed sync the next may claim success for pages that were lost (fsyncgate): nothing more is written."""
    contents, failed = prepare(tmp_path / "whole", "exact", staged=operation[0] == "publish"), 0
    while True:
        path, before = shutil.copytree(tmp_path / "whole", tmp_path / str(failed)), contents
        with Collection(path) as reader, Collection(path) as writer:
            with monkeypatch.context() as patch:
                patch.setattr(os, "fsync", fails_at(failed))
                try:
                    perform(writer, operation)
                    break
                except Unavailable as error:
                    assert "Input/output error" in str(error)
                    assert_read_only(writer, "Input/output error")
            writer.close()
            held = assert_holds(path, [before])
            if held.staged:
                with Collection(path) as again:
                    perform(again, ("publish", None))
                before = after(before, ("publish", None))
            assert_survives(path, reader, before, [before])
        shutil.rmtree(path)
        failed += 1
    assert failed >= 9


@pytest.mark.parametrize("operation", FAILING, ids=lambda operation: operation[0])
def test_a_writer_recovers_when_the_disk_takes_writes_again(small: Path, operation: Operation) -> None:
    """Without being opened again, and with readers that go on."""
    for left in (0, 36_864):
        path = small / f"c{left}"
        before = prepare(path, "exact", staged=False)
        with Collection(path) as reader, Collection(path) as writer:
            _ = writer.live
            ballast = fill(small, left)
            try:
                perform(writer, operation)
                state = after(before, operation)
            except (OSError, Unavailable):
                assert writer.failure
                state = before
            if writer.failure and not left:
                try:
                    writer.recover()
                except Unavailable as error:
                    assert "look at the disk" in str(error) and writer.failure
            ballast.unlink()
            with reader.snapshot() as held:
                # The log cannot begin anew while somebody reads from it; who reads is not disturbed.
                seen = len(held.view.page("", 99))
                with suppress(Unavailable):
                    writer.recover()
                assert len(held.view.page("", 99)) == seen
            writer.recover()
            assert writer.failure is None
            with writer.builder() as builder:  # what a bulk write has left
                builder.discard()
            state = replace(state, staged={})
            for again in (("upsert", {"again": (3, {"n": 3})}), ("compact", 0)):
                perform(writer, again)
                state = after(state, again)
        assert_holds(path, [state])
        shutil.rmtree(path)


def test_what_recovers_writes_its_whole_log_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync the log's pages may be on no disk; damage is not recovered from."""
    before = prepare(tmp_path / "c", "exact", staged=False)
    with Collection(tmp_path / "c") as writer:
        perform(writer, ("upsert", {"a": (3, {"n": 3})}))
        log = tmp_path / "c" / "catalog.db-wal"
        with monkeypatch.context() as patch, pytest.raises(Unavailable):
            patch.setattr(os, "fsync", fails_at(0))
            perform(writer, ("seal", None))
        assert log.stat().st_size and writer.failure
        writer.recover()
        assert not log.stat().st_size and writer.failure is None
        perform(writer, ("seal", None))
        writer.catalog.fail("SQLITE_CORRUPT: database disk image is malformed")
        with pytest.raises(DataLoss, match="malformed"):
            writer.recover()
        assert writer.failure
    assert_holds(tmp_path / "c", [after(after(before, ("upsert", {"a": (3, {"n": 3})})), ("seal", None))])


def fails_at(number: int) -> Callable[[int], None]:
    """A sync that fails once, at its call of this number."""
    calls, sync = iter(range(1 << 30)), os.fsync

    def fsync(descriptor: int) -> None:
        if next(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    return fsync


class Disk:
    """What would be left if the machine died: contents and names as they were when last synced.

    SQLite's own files are taken as they are, since it syncs them by itself.
    """

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}
        self.names: dict[str, dict[str, int]] = {}
        self.committed: tuple[dict[int, bytes], dict[str, dict[str, int]]] = {}, {}
        self._sync = os.fsync

    def fsync(self, descriptor: int) -> None:
        self._sync(descriptor)
        path, status = os.readlink(f"/proc/self/fd/{descriptor}"), os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self.names[path] = {p.name: p.stat().st_ino for p in Path(path).iterdir()}
        else:
            self.contents[status.st_ino] = Path(path).read_bytes()

    def statement(self, sql: str) -> None:
        if sql == "COMMIT":
            self.committed = dict(self.contents), {path: dict(names) for path, names in self.names.items()}

    def left(self, path: Path, target: Path, state: tuple[dict[int, bytes], dict[str, dict[str, int]]]) -> Path:
        """Writes to `target` what a folder would hold."""
        contents, names = state
        target.mkdir()
        for name, inode in names.get(str(path), {}).items():
            if str(path / name) in names:
                self.left(path / name, target / name, state)
            elif inode in contents:
                (target / name).write_bytes(contents[inode])
        return target


@pytest.mark.parametrize("name", ["add", "publish", "seal", "merge", "compact"])
def test_what_a_commit_names_was_synced_before_it(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine dies right after the last transaction: only synced contents under
    synced names are left of segments."""
    path, disk = tmp_path / "c", Disk()

    class Traced(database.Connection):
        def __init__(self, *arguments: Any, **more: Any):
            super().__init__(*arguments, **more)
            self.set_profile(lambda sql, _: disk.statement(sql))

    monkeypatch.setattr(database, "Connection", Traced)
    monkeypatch.setattr(os, "fsync", disk.fsync)
    contents = prepare(path, STORE, staged=name == "publish")
    operation: Operation = (name, {"new": (92, {"n": 9})} if name == "add" else 1)
    with Collection(path) as writer:
        perform(writer, operation)
        left = disk.left(path, tmp_path / "left", disk.committed)
        for file in path.glob("catalog.db*"):
            shutil.copy(file, left)
    expected = after(contents, operation)
    assert_holds(left, [expected])
    if expected.staged:
        with Collection(left) as writer:
            perform(writer, ("publish", None))
        assert_holds(left, [after(expected, ("publish", None))])


def test_a_snapshot_that_is_reported_was_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    contents = prepare(tmp_path / "c", STORE, staged=False)
    create_snapshot(tmp_path / "c", tmp_path / "s")
    disk.names[str(tmp_path / "s")] = disk.names.pop(str(tmp_path / "s.part"))
    for folder in (tmp_path / "s").glob("segment-*"):
        disk.names[str(folder)] = disk.names.pop(str(tmp_path / "s.part" / folder.name))
    assert "s" in disk.names[str(tmp_path)]
    assert_holds(disk.left(tmp_path / "s", tmp_path / "left", (disk.contents, disk.names)), [contents])
