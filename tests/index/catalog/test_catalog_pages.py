"""One flipped bit anywhere in catalog.db: a question gets the right answer or DataLoss that names the file, and a check
finds it."""

import os
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from plait.index.catalog.database import PAGE, connect, has_checksums
from plait.index.collection import Collection
from plait.index.errors import DataLoss
from plait.index.reading.check import check_collection
from questions import BOTH, VECTOR, Kind, _batch, answers, make, verdict

FLIPS = int(os.environ.get("PLAIT_FLIPS", "150"))
"""How many; spread evenly over all classes of pages. `make torture` turns over more."""
KIND = Kind(vector=VECTOR, terms=BOTH)
HEADER, FREE = "the header", "free"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog with pages of every class: leaves and interior pages of tables and of
    indexes, overflow pages, free pages."""
    path = tmp_path_factory.mktemp("pages") / "c"
    make(path, KIND)
    with Collection(path, threads=1) as collection:
        batch: dict[str, Any] = _batch(KIND, "x", 400)
        for payload in batch["payloads"]:
            payload["text"] = payload["text"] * 8
        batch["payloads"][7]["text"] = "long " * 4000
        collection.live.upsert(**batch)
        collection.live.delete([f"x{i}" for i in range(50, 400, 2)])
    return path


def classes(path: Path) -> dict[str, list[int]]:
    """Numbers of pages, the first of which is 1, by what is on them."""
    db = connect(path / "catalog.db")
    found: dict[str, list[int]] = defaultdict(list)
    for name, kind, number in db.execute("SELECT name, pagetype, pageno FROM dbstat"):
        found[f"{name}, {kind}"].append(int(number))
    used = {number for numbers in found.values() for number in numbers}
    free = sorted(set(range(1, int(db.execute("PRAGMA page_count").get) + 1)) - used)
    db.close()
    return {HEADER: [1], **found, **({FREE: free} if free else {})}


def test_the_collection_has_pages_of_every_class(whole: Path) -> None:
    found = classes(whole)
    assert {name.split(", ")[1] for name in found if ", " in name} == {"leaf", "internal", "overflow"}
    tables = {name.split(", ")[0] for name in found}
    assert {"documents", "growing", "tombstones", "pending", "segments", "meta", FREE} <= tables
    assert {"sqlite_autoindex_documents_1", "tombstones_seq", "documents.payload.n"} <= tables


def test_no_flipped_bit_changes_an_answer(whole: Path, tmp_path: Path) -> None:
    path = shutil.copytree(whole, tmp_path / "c")
    file = path / "catalog.db"
    good, content, pages = answers(path), file.read_bytes(), classes(path)
    seed = random.Random(17)
    for flip in range(FLIPS):
        name = sorted(pages)[flip % len(pages)]
        start, size = (0, 100) if name == HEADER else (PAGE * (seed.choice(pages[name]) - 1), PAGE)
        at, bit = start + seed.randrange(size), seed.randrange(8)
        damaged = bytearray(content)
        damaged[at] ^= 1 << bit
        file.write_bytes(damaged)
        said = verdict(path, good)
        assert said == "right" or (said.startswith("told") and "catalog.db" in said), (name, at, bit, said)
        if name != FREE:
            assert any("catalog.db" in problem for problem in check_collection(path)), (name, at, bit, said)
        for log in path.glob("catalog.db-*"):
            log.unlink()
    file.write_bytes(content)
    assert answers(path) == good and check_collection(path) == []


def test_a_header_that_denies_the_checksums_is_damage(whole: Path, tmp_path: Path) -> None:
    """It is what turns them off: the other pages would be believed unread."""
    path = shutil.copytree(whole, tmp_path / "c")
    content = bytearray((path / "catalog.db").read_bytes())
    assert content[20] == 8
    content[20] = 0
    (path / "catalog.db").write_bytes(content)
    with pytest.raises(DataLoss, match=r"catalog\.db"):
        Collection(path)


def test_pages_of_the_log_get_checksums_when_they_come_into_the_file(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", 0, terms=True) as collection, collection.catalog.reading() as view:
        assert has_checksums(view.db)
        with collection.catalog.writing() as writing:
            writing.db.execute("CREATE TABLE more (value BLOB)")
            writing.db.executemany("INSERT INTO more VALUES (?)", [(os.urandom(3000),) for _ in range(64)])
    db = connect(tmp_path / "c" / "catalog.db")
    assert len(list(db.execute("SELECT value FROM more"))) == 64
    db.close()
