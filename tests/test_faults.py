"""Damaged files, lost writes, full disks and failing syncs: a named error or the right answer, and nothing acknowledged lost."""

import errno
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import crash_child
import numpy as np
import pytest
from crash_child import found, reported, start
from life import Contents, Documents, Operation, after, assert_holds, document, perform, prepare
from plait.index import catalog as catalogs
from plait.index.backup import create_snapshot
from plait.index.checkup import check_collection
from plait.index.collection import Collection
from plait.index.errors import DataLoss, Unavailable

STORE = "faiss:IVF,SQfp16"
ROUNDS = int(os.environ.get("PLAIT_CRASH_ROUNDS", "0"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "c"
    prepare(path, STORE, staged=False)
    return path


def looks(path: Path, damaged: list[tuple[int, str, bytes | None]]) -> Iterator[tuple[str, tuple, tuple]]:
    """What a search and a check say, asked in a process that may crash."""
    child, reports = start(crash_child.look, path, damaged, None)
    seen = reported(reports)
    child.join()
    assert child.exitcode == 0 and len(seen) == len(damaged), f"{child.exitcode} at {damaged[len(seen)][:2]}"
    yield from seen


def files(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damages(content: bytes, flips: int, seed: int) -> list[bytes | None]:
    bits = np.random.default_rng(seed).integers(0, 8 * max(1, len(content)), flips if content else 0)
    cut = [content[: len(content) // 2], content[:-1], b""] if content else []
    return [None, content + b"\0" * 8, *cut, *(flipped(content, int(bit)) for bit in bits)]


def test_damaged_segment_files_are_named(whole: Path) -> None:
    """Whatever happens to a segment's file, the search and the check name it; the process lives."""
    names = [name for name in files(whole) if name.startswith("segment-")]
    assert len(names) == 10 and len({name.split("/")[0] for name in names}) == 2
    cases = [(name, c) for i, name in enumerate(names) for c in damages((whole / name).read_bytes(), 4, i)]
    for name, search, check in looks(whole, [(i, *case) for i, case in enumerate(cases)]):
        assert search[0] == "DataLoss" and name in search[1], (name, search)
        assert check[0] == "right" and any(name in problem for problem in check[1]), (name, check)


def test_damage_to_the_catalog_is_never_silent(whole: Path) -> None:
    """SQLite has no checksums of its own; plait's cover every row that a search returns. A row that only a filter reads
    can be wrong unnoticed by the search; the check finds all."""
    content, good = (whole / "catalog.db").read_bytes(), found(shutil.copytree(whole, whole.with_name("good")))
    cases = damages(content, 4000 if ROUNDS else 250, 1)
    told = 0
    for number, (_, search, check) in enumerate(looks(whole, [(i, "catalog.db", c) for i, c in enumerate(cases)])):
        assert check[0] == "right", (number, check)
        if search != ("right", good):
            told += 1
            assert check[1], (number, search)
            assert search[0] in ("right", "DataLoss", "NotFound"), (number, search)
    assert told >= 5


def test_the_lock_file_is_only_a_lock(whole: Path, tmp_path: Path) -> None:
    for content in (None, b"", b"anything"):
        path = shutil.copytree(whole, tmp_path / str(content))
        (path / "writer.lock").unlink()
        if content is not None:
            (path / "writer.lock").write_bytes(content)
        with Collection(path) as collection:
            collection.live.upsert(["x"], document(3))
            with pytest.raises(Unavailable, match="another process"):
                _ = Collection(path).live
        assert check_collection(path) == []


def logged(path: Path, folder: Path) -> tuple[Path, list[Contents]]:
    """A copy with all of some acknowledged writes in SQLite's log, and the contents after each of them."""
    states = [prepare(path, "exact", staged=False)]
    with Collection(path) as collection:
        for i in range(5):
            operation: Operation = ("upsert", {f"w{i}": (3 + i, {"n": i})})
            perform(collection, operation)
            states.append(after(states[-1], operation))
        return shutil.copytree(path, folder / "copy"), states


def test_a_damaged_log_loses_the_newest_writes_at_most(tmp_path: Path) -> None:
    """SQLite drops a torn or damaged tail of its log, as if the machine had died earlier: the state is an older one, whole."""
    copy, states = logged(tmp_path / "c", tmp_path)
    log = (copy / "catalog.db-wal").read_bytes()
    assert_holds(shutil.copytree(copy, tmp_path / "undamaged"), [states[-1]])
    lost = 0
    for i, content in enumerate(damages(log, 12, 5)):
        path = shutil.copytree(copy, tmp_path / str(i))
        (path / "catalog.db-shm").unlink()  # as after a crash of the machine
        (path / "catalog.db-wal").unlink()
        if content is not None:
            (path / "catalog.db-wal").write_bytes(content)
        lost += assert_holds(path, states) != states[-1]
    assert lost >= 3


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE documents SET payload = json_set(payload, '$.n', 99) WHERE id = 'a1'",
        "UPDATE documents SET id = 'other' WHERE id = 'a1'",
        "UPDATE growing SET tokens = substr(tokens, 1, length(tokens) - 1) || x'7f' WHERE number = (SELECT number FROM documents WHERE id = 'a1')",
        "UPDATE growing SET tokens = x'' WHERE number = (SELECT number FROM documents WHERE id = 'a1')",
        "UPDATE meta SET value = value - 1 WHERE key = 'visible'",
        "DELETE FROM meta WHERE key = 'dim'",
        "UPDATE segments SET staged = x'ff' WHERE number = 1",
    ],
)
def test_changed_rows_are_found_by_their_checksum(whole: Path, tmp_path: Path, sql: str) -> None:
    path = shutil.copytree(whole, tmp_path / "c")
    db = sqlite3.connect(path / "catalog.db")
    with db:
        assert db.execute(sql).rowcount == 1
    db.close()
    with pytest.raises(DataLoss, match=r"catalog\.db"):
        found(path)
    assert any("catalog.db" in problem for problem in check_collection(path))


@pytest.mark.parametrize(
    "sql, said",
    [
        ("DELETE FROM growing WHERE number = (SELECT number FROM documents WHERE id = 'a1')", "no tokens anywhere"),
        ("DELETE FROM tombstones WHERE number = (SELECT min(number) FROM tombstones)", "no entry and no tombstone"),
        ("INSERT INTO tombstones SELECT number, 1 FROM documents WHERE id = 'a1'", "alive and dead"),
        ("UPDATE segments SET published = 0 WHERE number = 1", "no tokens anywhere"),
    ],
)
def test_rows_that_contradict_each_other_are_found_by_a_check(whole: Path, tmp_path: Path, sql: str, said: str) -> None:
    path = shutil.copytree(whole, tmp_path / "c")
    db = sqlite3.connect(path / "catalog.db")
    with db:
        assert db.execute(sql).rowcount == 1
    db.close()
    assert any(said in problem for problem in check_collection(path))


def test_a_changed_codebook_is_found(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "c")
    db = sqlite3.connect(path / "catalog.db")
    with db:
        assert db.execute("UPDATE resources SET value = zeroblob(length(value)) WHERE key = 'codebook'").rowcount == 1
    db.close()
    assert any("'codebook'" in problem for problem in check_collection(path))
    with Collection(path) as collection, pytest.raises(DataLoss, match="'codebook'"):
        collection.seal()


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
    """The reader sees the last state that was acknowledged; opened again, the collection is whole and can be written."""
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
    """The machine dies right after the last transaction: only synced contents under synced names are left of segments."""
    path, disk = tmp_path / "c", Disk()
    connect = catalogs._connect

    def traced(file: Path) -> sqlite3.Connection:
        db = connect(file)
        db.set_trace_callback(disk.statement)
        return db

    monkeypatch.setattr(catalogs, "_connect", traced)
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
