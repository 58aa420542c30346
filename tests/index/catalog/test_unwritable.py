"""Collections in folders that this process may not write to can be searched."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from life import DIM, EVERYTHING, QUERY
from plait.index.collection import Collection
from plait.index.reading.check import check_collection
from plait.index.tokens import Tokens, from_matrices


def some(count: int) -> Tokens:
    return from_matrices([np.full((2, DIM), 0.5, np.float16)] * count)


NOBODY = 65534


@pytest.fixture
def folder() -> Iterator[Path]:
    """Above it, everybody may pass; pytest's own folders are for their owner alone."""
    path = Path(tempfile.mkdtemp(prefix="plait-unwritable-"))
    path.chmod(0o755)
    yield path
    for one in [path, *(p for p in path.rglob("*") if p.is_dir())]:
        one.chmod(0o755)
    shutil.rmtree(path)


def search(path: Path) -> list[str]:
    with Collection(path) as collection, collection.snapshot() as snapshot:
        (hits,) = snapshot.search(QUERY, 9, params=EVERYTHING)
        return sorted(d.id for d in snapshot.documents(hits.docs))


def forbid(path: Path) -> None:
    for one in [*path.rglob("*"), path]:
        one.chmod(0o555 if one.is_dir() else 0o444)


def as_reader(work: Callable[[], object]) -> str:
    """What a process says that may not write there: root may everywhere."""
    said, tell = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(120)
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            text = str(work())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(tell, text.encode())
        os._exit(0)
    os.close(tell)
    with open(said) as file:
        text = file.read()
    assert os.waitpid(child, 0)[1] == 0
    return text


def filled(path: Path) -> None:
    with Collection.create(path, DIM) as collection:
        collection.live.upsert(["a", "b"], some(2))
        collection.seal()
        collection.live.upsert(["c"], some(1))


def test_a_closed_collection_is_searched(folder: Path) -> None:
    filled(folder / "c")
    names = sorted(p.name for p in (folder / "c").iterdir())
    forbid(folder / "c")
    assert as_reader(lambda: search(folder / "c")) == "['a', 'b', 'c']"
    assert as_reader(lambda: check_collection(folder / "c")) == "[]"
    assert sorted(p.name for p in (folder / "c").iterdir()) == names


def test_what_a_killed_writer_left_in_the_log_is_found(folder: Path) -> None:
    filled(folder / "w")
    with Collection(folder / "w") as writer:
        writer.live.upsert(["d"], some(1))
        shutil.copytree(folder / "w", folder / "c", ignore=shutil.ignore_patterns("*-shm"))  # as a kill leaves it
    assert (folder / "c" / "catalog.db-wal").stat().st_size
    forbid(folder / "c")
    assert as_reader(lambda: search(folder / "c")) == "['a', 'b', 'c', 'd']"


def test_it_is_read_beside_its_writer(folder: Path) -> None:
    filled(folder / "c")
    with Collection(folder / "c") as writer:
        writer.live.upsert(["d"], some(1))
        (folder / "c").chmod(0o555)
        assert as_reader(lambda: search(folder / "c")) == "['a', 'b', 'c', 'd']"
        (folder / "c").chmod(0o755)


def test_writes_are_refused_with_the_remedy(folder: Path) -> None:
    filled(folder / "c")
    forbid(folder / "c")

    def work() -> object:
        with Collection(folder / "c") as collection:
            return collection.live.delete(["a"])

    said = as_reader(work)
    assert said.startswith("FailedPrecondition") and "read-only" in said and "copy it" in said
