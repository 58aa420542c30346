"""What a precision learns: by one writer, from vectors that say something, and again where they were too few."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scheduler
from plait.index.codecs import product
from plait.index.collection import Collection
from plait.index.errors import AlreadyExists, InvalidArgument
from plait.index.reading.check import check_collection
from plait.index.tokens import from_matrices
from plait.index.writing import learned
from plait.index.writing.maintenance import Policy

DIM = 16
PRECISIONS = "pq:32", "residual:2"


def documents(kind: int, count: int, tokens: int = 8) -> list[np.ndarray]:
    """Unit vectors of one of two kinds, so that their codebooks differ."""
    rng = np.random.default_rng(kind)
    drawn = rng.standard_normal((count, tokens, DIM)).astype(np.float32)
    drawn[:, :, : DIM // 2] *= 1 + 7 * (kind % 2)
    return list(drawn / np.linalg.norm(drawn, axis=2, keepdims=True))


def write(collection: Collection, letter: str, given: list[np.ndarray]) -> None:
    collection.live.upsert([f"{letter}{i}" for i in range(len(given))], from_matrices(given))


def likeness(collection: Collection, letter: str, given: list[np.ndarray]) -> float:
    """Mean cosine of what is stored with what was written."""
    with collection.snapshot() as snapshot:
        stored = [snapshot.tokens(snapshot.view.by_id(f"{letter}{i}").number).vectors for i in range(len(given))]
    return float(
        np.mean(
            [(s * g).sum(1) / np.maximum(np.linalg.norm(s, axis=1), 1e-9) for s, g in zip(stored, given, strict=True)]
        )
    )


def book(collection: Collection) -> bytes | None:
    with collection.catalog.reading() as view:
        return view.resource(product.LEARNED)


@pytest.fixture
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """256 vectors instead of 4096, so that learning takes milliseconds."""
    for module in (product, learned):
        monkeypatch.setattr(module, "ENOUGH", 256)
    monkeypatch.setattr(learned, "_AGAIN", (256, 4))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.usefixtures("few_are_enough")
def test_any_order_of_first_writers_leaves_one_codebook(tmp_path: Path, precision: str) -> None:
    """Live and bulk writers that all come first, and merges that learn again meanwhile:
    every vector is what was written."""
    sets = {letter: documents(kind, 12) for kind, letter in enumerate("abc", 1)}
    Collection.create(tmp_path / "alone", DIM, precision=precision).close()
    with Collection(tmp_path / "alone", threads=1) as alone:
        for letter, given in sets.items():
            write(alone, letter, given)
        wanted = min(likeness(alone, letter, given) for letter, given in sets.items())
    for seed in range(24):
        path = tmp_path / str(seed)
        with scheduler.running(seed) as schedule:
            collection = Collection.create(path, DIM, precision=precision, threads=1)

            def bulk(collection: Collection = collection) -> None:
                with collection.builder() as builder:
                    builder.add([f"c{i}" for i in range(12)], from_matrices(sets["c"]))
                    builder.publish()

            def merge(collection: Collection = collection) -> None:
                for _ in range(3):
                    collection.compact()

            tasks: dict[str, Callable[[], None]] = {"bulk": bulk, "merge": merge} if seed % 2 else {"merge": merge}
            for letter in "ab" if seed % 2 else "abc":
                tasks[letter] = lambda letter=letter, collection=collection: write_patiently(
                    collection, letter, sets[letter]
                )
            schedule.run(tasks)
            collection.close()
        assert [str(e) for e in schedule.errors if "bulk write" not in str(e)] == [], seed
        assert check_collection(path) == []
        with Collection(path) as again:
            for letter, given in sets.items():
                assert likeness(again, letter, given) > wanted - 0.05, (seed, letter, schedule.trace)


def write_patiently(collection: Collection, letter: str, given: list[np.ndarray]) -> None:
    """Two writes; while a bulk write is under way they are tried again, as its error says."""
    from plait.index.errors import Unavailable

    while True:
        try:
            return write(collection, letter, given)
        except Unavailable:
            continue


@pytest.mark.parametrize("precision", PRECISIONS)
def test_nothing_is_learned_from_zeros(tmp_path: Path, precision: str) -> None:
    zeros, given = np.zeros((3, DIM), np.float32), documents(1, 40)
    with Collection.create(tmp_path / "c", DIM, precision=precision) as collection:
        with pytest.raises(InvalidArgument, match=r"zero|length 0"):
            collection.live.upsert(["padding"], from_matrices([zeros]))
        with pytest.raises(InvalidArgument, match=r"zero|length 0"), collection.builder() as builder:
            builder.add(["padding"], from_matrices([zeros]))
        assert book(collection) is None and len(collection) == 0
        write(collection, "a", given)
        assert likeness(collection, "a", given) > 0.8
        if precision.startswith("pq"):  # beside others, zeros are what they are
            collection.live.upsert(["padding"], from_matrices([zeros]))


def test_zeros_beside_others_are_not_learned_from(tmp_path: Path) -> None:
    given = documents(1, 40)
    padded = [np.concatenate([np.zeros((500, DIM), np.float32), g]) for g in given]
    found = []
    for name, first in (("plain", given), ("padded", padded)):
        with Collection.create(tmp_path / name, DIM, precision="pq:32") as collection:
            write(collection, "a", first)
            write(collection, "b", given)
            found.append(likeness(collection, "b", given))
    assert found[1] > found[0] - 0.01


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("how", ["compact", "background"])
@pytest.mark.usefixtures("few_are_enough")
def test_what_was_learned_from_too_few_is_learned_again_by_the_first_merge_that_has_enough(
    tmp_path: Path, precision: str, how: str
) -> None:
    one, many = documents(1, 1, tokens=2), documents(2, 60)
    with (
        Collection.create(tmp_path / "c", DIM, precision=precision) as collection,
        Collection(tmp_path / "c") as reader,
    ):
        write(collection, "a", one)
        first = book(collection)
        with collection.catalog.reading() as view:
            assert view.meta("learned_from") == 2 and learned.due(view, 2) is False
        write(collection, "b", many)
        before = likeness(reader, "b", many)
        collection.seal()
        if how == "compact":
            collection.compact()
        else:
            while collection.maintenance.step(Policy()):
                pass
        assert book(collection) != first
        write(collection, "c", many)
        with collection.catalog.reading() as view:
            assert not learned.may_change(view)
            assert "originals" not in {name for (name,) in view.db.execute("SELECT name FROM sqlite_master").fetchall()}
        # Whoever had it open before reads by the new codebook, fresh documents and sealed ones alike.
        for who in (collection, reader):
            assert likeness(who, "a", one) > 0.75
            assert likeness(who, "b", many) > before - 0.01
            assert likeness(who, "c", many) == pytest.approx(likeness(who, "b", many), abs=0.02)
        learned_again = book(collection)
        collection.compact(retrain=True)
        assert book(collection) == learned_again
    assert check_collection(tmp_path / "c") == []


def test_a_refused_write_stores_no_codebook(tmp_path: Path) -> None:
    given = documents(1, 40)
    with Collection.create(tmp_path / "c", DIM, precision="pq:32") as collection:
        with pytest.raises(InvalidArgument, match="payload"):
            collection.live.upsert(["a"], from_matrices(given[:1]), [{"n": float("nan")}])
        assert book(collection) is None
        write(collection, "a", given)
        with pytest.raises(AlreadyExists), collection.builder("write") as builder:
            builder.add(["a0"], from_matrices(given[:1]))


def test_a_codebook_that_another_process_stored_is_taken(tmp_path: Path) -> None:
    """What this one had learned for a write that was refused is of no use any more."""
    one, two = documents(1, 40), documents(2, 40)
    Collection.create(tmp_path / "c", DIM, precision="pq:32").close()
    first, second = Collection(tmp_path / "c"), Collection(tmp_path / "c")
    with pytest.raises(InvalidArgument), first.builder() as builder:
        builder.add([f"a{i}" for i in range(40)], from_matrices(one), [{"n": float("nan")}] * 40)
    write(second, "b", two)
    second.close()
    write(first, "a", one)
    alone = likeness(first, "b", two)
    assert alone > 0.9 and likeness(first, "a", one) > 0.6
    first.close()
