"""Damaged files: a named error or the right answer."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import crash_child
import numpy as np
import pytest
from crash_child import found, reported, start
from life import Contents, Operation, after, assert_holds, document, perform, prepare
from plait.index.catalog.database import connect
from plait.index.collection import Collection
from plait.index.errors import DataLoss, Unavailable
from plait.index.reading.check import check_collection

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
            with pytest.raises(Unavailable, match="another handle of this same process"):
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
    """SQLite drops a torn or damaged tail of its log, as if the machine had died earlier: the
    state is an older one, whole."""
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
    db = connect(path / "catalog.db")
    with db:
        db.execute(sql)
        assert db.changes() == 1
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
    db = connect(path / "catalog.db")
    with db:
        db.execute(sql)
        assert db.changes() == 1
    db.close()
    assert any(said in problem for problem in check_collection(path))


def test_a_changed_codebook_is_found(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "c")
    db = connect(path / "catalog.db")
    with db:
        db.execute("UPDATE resources SET value = zeroblob(length(value)) WHERE key = 'codebook'")
        assert db.changes() == 1
    db.close()
    assert any("'codebook'" in problem for problem in check_collection(path))
    with Collection(path) as collection, pytest.raises(DataLoss, match="'codebook'"):
        collection.seal()
