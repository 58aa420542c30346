"""The writer: who has the lock and for how long, what is swept, what a failed write leaves, where files are."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest
from life import DIM, Operation, after, assert_holds, document, perform, prepare
from paths import ROOT
from plait.index.collection import Collection
from plait.index.disk import failpoints
from plait.index.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, Unavailable
from plait.index.reading.backup import create_snapshot, restore_snapshot
from plait.index.reading.check import check_collection
from plait.index.segments import folders
from plait.index.tokens import concatenate
from plait.index.writing import gathered
from plait.index.writing.maintenance import Policy

import plait

SECOND = """
import sys
from plait.index.collection import Collection
from plait.index.errors import Unavailable
try:
    _ = Collection(sys.argv[1]).live
    print("let in")
except Unavailable as error:
    print(error)
"""


@pytest.fixture(autouse=True)
def no_action_is_left() -> Iterator[None]:
    yield
    for name in failpoints.PLACES:
        failpoints.set_action(name, None)


def second_process(path: Path) -> str:
    run = [sys.executable, "-c", SECOND, str(path)]
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=120).stdout.strip()


def once(action: Callable[[], None]) -> Callable[[], None]:
    """The action, when it is reached first."""
    left = [action]
    return lambda: left.pop()() if left else None


# The lock


def test_a_bulk_write_does_not_give_away_the_lock_of_others(tmp_path: Path) -> None:
    """It took the lock first; a live write comes while it runs, and its block ends."""
    with Collection.create(tmp_path, DIM, policy=Policy()) as collection:
        with collection.builder() as builder:
            collection.live.upsert(["early"], document(3))
            builder.add(["bulk"], document(4))
            builder.publish()
        assert "another process is writing" in second_process(tmp_path)
    assert second_process(tmp_path) == "let in"


def test_a_bulk_write_alone_gives_the_lock_back_at_its_end(tmp_path: Path) -> None:
    with Collection.create(tmp_path, DIM) as collection:
        with collection.builder() as builder:
            builder.add(["bulk"], document(4))
            builder.publish()
            assert "another process is writing" in second_process(tmp_path)
        assert second_process(tmp_path) == "let in"
        collection.calibrate(concatenate([document(3)]))
        assert second_process(tmp_path) == "let in"


def test_closing_leaves_the_lock_with_a_writer_that_is_at_work(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, DIM)
    with collection.builder() as builder:
        builder.add(["bulk"], document(4))
        closing = threading.Thread(target=collection.close)
        closing.start()
        closing.join(60)
        assert "another process is writing" in second_process(tmp_path)
        with pytest.raises(FailedPrecondition, match="closed here; open it again"):
            builder.publish()
    assert second_process(tmp_path) == "let in"
    with pytest.raises(FailedPrecondition, match="closed here; open it again"):
        _ = collection.live


def test_the_lock_of_this_process_is_told_from_that_of_another(tmp_path: Path) -> None:
    first, second = Collection.create(tmp_path, DIM), Collection(tmp_path)
    first.live.upsert(["a"], document(3))
    with pytest.raises(Unavailable, match=r"another handle of this same process.*close that one \(`close\(\)`"):
        _ = second.live
    first.close()
    second.live.upsert(["b"], document(3))
    second.close()


def test_a_handle_that_nobody_has_any_more_gives_the_lock_back(tmp_path: Path) -> None:
    """A notebook's cell, run twice; the first one's background goes with it."""
    Collection.create(tmp_path, DIM).close()
    collection = None
    for seed in (3, 4):
        collection = Collection(tmp_path, policy=Policy())
        collection.live.upsert(["a"], document(seed))
    assert collection is not None
    collection.close()


def test_a_forked_child_neither_writes_nor_keeps_the_lock(tmp_path: Path) -> None:
    collection = Collection.create(tmp_path, DIM)
    collection.live.upsert(["a"], document(3))
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            _ = collection.live
            os.write(tell, b"let in")
        except Exception as error:
            os.write(tell, f"{type(error).__name__}: {error}".encode())
        signal.pause()
    try:
        said = os.read(told, 9999).decode()
        assert "forked" in said and "spawn" in said
        collection.live.upsert(["b"], document(3))
        collection.close()
        assert second_process(tmp_path) == "let in"  # though the child is still there
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)
        os.close(tell)


# What is swept


def test_the_sweep_takes_only_what_this_collection_can_have_left(tmp_path: Path) -> None:
    prepare(tmp_path / "c", "exact", staged=False)
    path = tmp_path / "c"
    with Collection(path) as collection, collection.catalog.writing() as view:
        last = view.meta("segment") + 3
        view.db.execute("UPDATE meta SET value = ?, crc = ? WHERE key = 'segment'", _row("segment", last))
    left = [path / f"segment-{last:06d}", path / f".gone-segment-{last - 1:06d}", path / ".gone-segment-000001"]
    for folder in left:
        folder.mkdir()
        (folder / "vectors").write_bytes(b"x")
    # The next number is somebody else's: it is left out.
    kept = [path / "segment-anything" / "thesis.txt", path / f"segment-{last + 1:06d}" / "thesis.txt"]
    kept += [path / f"segment-{last - 2:06d}" / "thesis.txt", path / ".gone-segment-000002" / "notes" / "a"]
    for file in kept:
        file.parent.mkdir(parents=True)
        file.write_text("years of work")
    (path / "segment-notes.txt").write_text("x")
    shutil.copytree(tmp_path / "c" / "segment-000001", elsewhere := tmp_path / "elsewhere")
    (path / "segment-000000").symlink_to(elsewhere)
    with Collection(path) as collection:
        collection.live.upsert(["new"], document(3))
        collection.compact()
    assert not any(folder.exists() for folder in left)
    assert all(file.read_text() == "years of work" for file in kept) and any(elsewhere.iterdir())
    said = check_collection(path)
    foreign = {*(file.parent for file in kept[:3]), path / ".gone-segment-000002", path / "segment-notes.txt"}
    assert {line.partition(" is not of this collection")[0] for line in said} == {
        str(p) for p in [*foreign, path / "segment-000000"]
    }


def _row(key: str, value: int) -> tuple[str, int]:
    from plait.index.catalog.view import checksum

    return str(value), checksum(key, str(value))


@pytest.mark.parametrize("lost", ["segment.json", "vectors", None])
def test_a_segment_that_is_not_there_is_not_named(tmp_path: Path, lost: str | None) -> None:
    """Whoever removes it, the transaction looks again: the documents stay in the log, and can be sealed."""
    Collection.create(tmp_path / "c", DIM).close()
    with Collection(tmp_path / "c") as collection:
        collection.live.upsert(["a"], document(3))

        def remove() -> None:
            (folder,) = (tmp_path / "c").glob("segment-*")
            shutil.rmtree(folder) if lost is None else (folder / lost).unlink()

        failpoints.set_action("put_segment", once(remove))
        with pytest.raises(DataLoss, match=f"{lost or 'segment.json'}.*missing.*not taken in"):
            collection.seal()
        assert collection.seal() == 1
        failpoints.set_action("put_segment", once(remove_new(tmp_path / "c")))
        with pytest.raises(DataLoss, match="missing"), collection.builder() as builder:
            builder.add(["b"], document(4))
            builder.publish()
        with collection.snapshot() as snapshot:
            assert len(snapshot.search(document(3), 9)[0]) == 1


def remove_new(path: Path) -> Callable[[], None]:
    return lambda: shutil.rmtree(max(path.glob("segment-*")))


def test_a_folder_that_is_being_removed_has_another_name(tmp_path: Path) -> None:
    prepare(tmp_path / "c", "exact", staged=False)
    seen = []
    failpoints.set_action("remove", lambda: seen.append({p.name for p in (tmp_path / "c").iterdir() if p.is_dir()}))
    with Collection(tmp_path / "c") as collection:
        collection.compact()
    whole = {p.name for p in (tmp_path / "c").iterdir() if p.is_dir()}
    assert len(seen) == 3 and all(
        sum(name.startswith(".gone-") for name in names) == 1 and whole < names for names in seen
    )


@pytest.mark.parametrize("place", ["rename", "remove", "tidy"])
@pytest.mark.parametrize("name", ["seal", "compact", "publish", "discard"])
def test_what_cannot_be_removed_after_a_commit_is_no_failed_write(
    tmp_path: Path, place: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and gone with the next writer."""
    contents = prepare(tmp_path / "c", "exact", staged=name in ("publish", "discard"))
    operation: Operation = (name, 1)
    with Collection(tmp_path / "c") as collection:
        _ = collection.live if not contents.staged else None
        failpoints.set_action(place, fails)
        with caplog.at_level(logging.WARNING, "plait.folders"):
            perform(collection, operation)
        failpoints.set_action(place, None)
        assert collection.failure is None
    expected = after(contents, operation)
    assert_holds(tmp_path / "c", [expected])
    with Collection(tmp_path / "c") as again:
        again.live.upsert(["a0"], document(expected.documents["a0"][0]), [expected.documents["a0"][1]])
        named = {f"segment-{row['number']:06d}" for row in again.stats()["segments"]}
    assert {p.name for p in (tmp_path / "c").iterdir() if "segment-" in p.name} == named
    for folder in (tmp_path / "c").glob("segment-*"):
        assert not {"ids", "roles", "spans"} & {p.name for p in folder.iterdir()}


def fails() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_discarding_after_a_publish_drops_nothing(tmp_path: Path) -> None:
    with Collection.create(tmp_path, DIM) as collection, collection.builder() as builder:
        builder.add(["a"], document(3))
        failpoints.set_action("tidy", fails)
        assert builder.publish() == 1
        builder.discard()
        assert len(collection) == 1
    assert check_collection(tmp_path) == []


def test_a_failed_write_says_whether_it_was_done(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", DIM) as collection:
        with pytest.raises(InvalidArgument) as refused:
            collection.live.upsert(["a", "a"], concatenate([document(3), document(4)]))
        assert refused.value.done is False
        collection.live.upsert(["a"], document(3))
        failing = FailsToCommit(collection.catalog._connections._idle[True].pop())
        collection.catalog._connections._idle[True].append(failing)  # type: ignore[arg-type]
        with pytest.raises(Unavailable, match="Whether this write was done shows when") as failed:
            collection.live.upsert(["b"], document(3))
        assert failed.value.done is None and collection.failure
        with pytest.raises(Unavailable, match="read-only") as later:
            collection.live.upsert(["c"], document(3))
        assert later.value.done is False


class FailsToCommit:
    """A connection whose disk fails at the commit."""

    def __init__(self, db: Any):
        self._db = db

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, sql: str, *values: Any) -> Any:
        if sql == "COMMIT":
            error = apsw.IOError("disk I/O error")
            setattr(error, "extendedresult", apsw.SQLITE_IOERR_FSYNC)  # noqa: B010
            raise error
        return self._db.execute(sql, *values)


# Whole or nothing


def test_an_upsert_of_many_batches_is_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "MEMORY", 1)
    documents = [{"id": f"d{i}", "text": f"moon {i}", "n": i} for i in range(1300)]
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.upsert([{"id": "d0", "text": "before"}])
        before = index.seq
        for wrong in ({"id": "x", "n": 1}, {"id": "d7", "text": "again"}, {"id": "x", "text": "x", "n": float("nan")}):
            with pytest.raises(InvalidArgument):
                index.upsert([*documents, wrong])
            assert (index.seq, index.count(), index.get("d0")) == (before, 1, [{"id": "d0", "text": "before"}])
        written = index.upsert(iter(documents))
        assert (written.seq, written.count, index.count()) == (before + 1, 1300, 1300)
        assert index.get(["d1299", "d0"]) == [documents[1299], documents[0]]
        assert index.search("1234", k=1)[0].id == "d1234"
    assert check_collection(tmp_path / "c") == []
    assert not [p for p in (tmp_path / "c").iterdir() if p.name.startswith("tmp")]


def test_gathered_documents_come_back_in_order(tmp_path: Path) -> None:
    batches = [gathered.Ready([f"{i}"], [{"n": i}], [(1, bytes(100))], [], 0, None) for i in range(10)]
    with gathered.Gathered(tmp_path, memory=250) as ready:
        for batch in batches:
            ready.add(batch)
        assert [b.payloads for b in ready] == [b.payloads for b in batches] == [b.payloads for b in ready]
        with pytest.raises(InvalidArgument, match="payload of document"):
            ready.add(gathered.Ready(["x"], [{"n": {1}}], [(1, b"")], [], 0, None))


def test_a_bulk_write_that_was_broken_off_blocks_nobody(tmp_path: Path) -> None:
    """Of `add`, nothing is kept; what `Collection.builder` staged can be gone on with."""
    child = "\n".join(
        [
            "import plait, sys",
            "index = plait.open(sys.argv[1])",
            "index.add([{'id': f'b{i}', 'text': 'moon'} for i in range(600)])",
        ]
    )
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.upsert([{"id": "a", "text": "moon"}])
    run = subprocess.run(
        [sys.executable, "-c", child, str(tmp_path / "c")],
        env={**os.environ, failpoints.VARIABLE: "publish=kill"},
        timeout=120,
    )
    assert run.returncode == -signal.SIGKILL
    with plait.open(tmp_path / "c") as index:
        with index.collection.catalog.reading() as view:
            assert view.staged == 600
        index.upsert([{"id": "b", "text": "moon"}])
        assert {d["id"] for d in index.list_documents()} == {"a", "b"}
    assert check_collection(tmp_path / "c") == []


def test_deletes_and_dry_runs_agree(tmp_path: Path) -> None:
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.upsert([{"id": id, "text": "x", "v": None} for id in "abc"])
        whiches: list[dict[str, Any]] = [{"ids": ["a", "a", "none"]}, {"ids": ("b",)}, {"filter": {"v": None}}]
        for which in whiches:
            dry = index.delete(**which, dry_run=True)
            assert dry.count == index.delete(**which).count == 1


def test_a_text_is_one_id(tmp_path: Path) -> None:
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.upsert([{"id": id, "text": "x"} for id in ("ab", "a", "b")])
        assert [d["id"] for d in index.get("ab")] == ["ab"]
        with pytest.raises(InvalidArgument, match="list of ids"):
            index.delete("ab")


def test_a_payload_keeps_the_nulls_that_a_patch_does_not_name(tmp_path: Path) -> None:
    with plait.create(tmp_path / "c", encoder=None, terms="bm25") as index:
        index.upsert([{"id": "a", "text": "x", "v": None, "w": 1, "u": 2}])
        index.update_payload("a", {"w": None, "x": 3})
        assert index.get("a") == [{"id": "a", "text": "x", "v": None, "u": 2, "x": 3}]
        assert index.count({"v": None}) == 1


def test_a_payload_update_does_not_touch_what_is_searched(tmp_path: Path) -> None:
    with plait.create(tmp_path / "c", encoder=None, vector=2) as index:
        index.upsert([{"id": "a", "text": "x", "vector": [1, 0]}])
        for name in ("id", "text", "title", "vector"):
            with pytest.raises(InvalidArgument, match=f"{name} is what the document was encoded from"):
                index.update_payload("a", {name: "y"})


# Creation, and where files are


@pytest.mark.parametrize("name", ["thesis.txt", "segment-anything/thesis.txt", ".hidden"])
def test_a_folder_that_holds_something_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "c" / name).parent.mkdir(parents=True)
    (tmp_path / "c" / name).write_text("years of work")
    with pytest.raises(AlreadyExists, match=r"holds other things .* choose a new or empty folder"):
        plait.create(tmp_path / "c", encoder=None, terms="bm25")
    assert [p.name for p in (tmp_path / "c").iterdir()] == [name.split("/")[0]]
    (tmp_path / "file").write_text("x")
    with pytest.raises(AlreadyExists, match="is a file"):
        plait.create(tmp_path / "file", encoder=None, terms="bm25")


@pytest.mark.parametrize(
    "wrong", [{"pool": 2}, {"precision": "pq:3"}, {"fields": ["a..b"]}, {"device": "nonsense"}, {"threads": "x"}]
)
@pytest.mark.parametrize("there", [False, True])
def test_a_failed_creation_leaves_the_place_free(tmp_path: Path, wrong: dict[str, Any], there: bool) -> None:
    path = tmp_path / "above" / "c"
    if there:
        path.mkdir(parents=True)
    made = {"encoder": None, "dim": 4}
    try:
        plait.create(path, **made, **wrong).close()
    except (TypeError, plait.PlaitError):
        plait.create(path, **made).close()
    else:
        assert "threads" in wrong  # is looked at when it is used


CREATE = "import sys, plait; plait.create(sys.argv[1], encoder=None, dim=4, fields=['n'])"


@pytest.mark.parametrize("place", ["create", "create.end"])
def test_a_creation_that_was_killed_leaves_a_collection_or_a_free_place(tmp_path: Path, place: str) -> None:
    path = tmp_path / "c"
    environment = {**os.environ, failpoints.VARIABLE: f"{place}=kill"}
    run = subprocess.run([sys.executable, "-c", CREATE, str(path)], env=environment, timeout=120)
    assert run.returncode == -signal.SIGKILL and path.is_dir()
    if place == "create":
        plait.create(path, encoder=None, dim=4).close()
    with plait.open(path) as index:
        index.upsert_tokens(["a"], plait.from_matrices([np.ones((1, 4), np.float32)]))
    assert sorted(p.name for p in path.iterdir()) == ["catalog.db", "writer.lock"]
    assert check_collection(path) == []


def test_a_creation_that_fails_at_its_end_is_undone(tmp_path: Path) -> None:
    failpoints.set_action("create.end", fails)
    with pytest.raises(OSError, match="Input/output"):
        Collection.create(tmp_path / "above" / "c", DIM)
    assert not any(tmp_path.iterdir())


def test_every_name_that_is_made_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced, sync = set(), os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        synced.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    root = tmp_path / "root" / "collections"
    with Collection.create(root / "c", DIM) as collection:
        assert {str(root / "c"), str(root), str(root.parent), str(tmp_path)} <= synced
        collection.live.upsert(["a"], document(3))
    synced.clear()
    create_snapshot(root / "c", root / ".snapshots" / "s")
    assert {str(root), str(root / ".snapshots")} <= synced
    synced.clear()
    restore_snapshot(root / ".snapshots" / "s", tmp_path / "other" / "c")
    assert {str(tmp_path), str(tmp_path / "other")} <= synced


def test_a_path_stays_what_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opened by a relative path, whatever the working directory becomes; `~` is the home."""
    for name in ("one", "two", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "two")
    with plait.create("c", encoder=None, terms="bm25") as index:
        index.add([{"id": "two", "text": "moon"}])
    monkeypatch.chdir(tmp_path / "one")
    index = plait.create("c", encoder=None, terms="bm25")
    index.add([{"id": "one", "text": "moon"}])
    reader = plait.open("c")
    monkeypatch.chdir(tmp_path / "two")
    index.upsert([{"id": "more", "text": "moon"}])
    index.collection.compact()
    assert {hit.id for hit in reader.search("moon")} == {"one", "more"}
    create_snapshot(index.collection.path, Path("~/s"))
    index.close()
    with plait.open("c") as two:
        assert [d["id"] for d in two.list_documents()] == ["two"]
    with plait.open("~/s") as copy:
        assert copy.count() == 2
    assert not (tmp_path / "two" / "~").exists()


# Failpoints


def test_every_failpoint_is_named_and_reached() -> None:
    sources = (ROOT / "index").rglob("*.py")
    text = "".join(path.read_text() for path in sources)
    reached = {part.split('"')[1] for part in text.split("reach(")[1:] if part.startswith('"')}
    assert reached == set(failpoints.PLACES)


def test_actions_are_read_from_a_line(tmp_path: Path) -> None:
    failpoints.set_actions("tidy=fail@2, sweep=delay:0")
    failpoints.reach("tidy")
    with pytest.raises(OSError, match="failpoint tidy"):
        failpoints.reach("tidy")
    failpoints.reach("tidy")
    for wrong, message in (("nowhere=kill", "no failpoint"), ("tidy=nothing", "no action"), ("tidy", "no action")):
        with pytest.raises(InvalidArgument, match=message):
            failpoints.set_actions(wrong)
    assert folders.put_away(tmp_path / "none") is None
