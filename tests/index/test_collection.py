"""A collection on disk: what was added is there, whatever interrupts; what is damaged is named; nothing is lost."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import oracle
import pytest
from crash_child import add_for_ever
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import some_tokens
from plait.index import stores
from plait.index.catalog.catalog import Catalog, next_segment, put_meta
from plait.index.collection import Collection
from plait.index.errors import AlreadyExists, DataLoss, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from plait.index.params import SearchParams
from plait.index.segments.segment import segment_folder
from plait.index.tokens import Tokens, from_matrices


def build(folder: Path, documents: int = 7, store: str = "exact") -> Collection:
    collection = Collection.create(folder, 5, store)
    with collection.builder() as writer:
        writer.add([f"d{i}" for i in range(documents)], some_tokens(documents), [{"n": i} for i in range(documents)])
        assert writer.publish() == documents
    return collection


def found(collection: Collection, query: Tokens | None = None, k: int = 99) -> list[str]:
    """The ids that a search returns."""
    with collection.snapshot() as snapshot:
        (hits,) = snapshot.search(query or from_matrices([np.ones((1, 5), np.float32)]), k)
        return [d.id for d in snapshot.documents(hits.docs)]


def stored(collection: Collection, id: str) -> Tokens:
    with collection.snapshot() as snapshot:
        return snapshot.tokens(snapshot.view.by_id(id).number)


def test_what_was_added_comes_back(tmp_path: Path) -> None:
    build(tmp_path).close()
    collection = Collection(tmp_path)
    wanted = some_tokens(7)
    assert len(collection) == 7
    with collection.snapshot() as snapshot:
        for i in range(7):
            document = snapshot.view.by_id(f"d{i}")
            assert document.payload == {"n": i} and snapshot.documents([document.number]) == [document]
            got, one = snapshot.tokens(document.number), wanted.take([i])
            for column in ("vectors", "offsets", "ids", "spans", "roles"):
                np.testing.assert_array_equal(getattr(got, column), getattr(one, column))
        with pytest.raises(NotFound, match="'d7'"):
            snapshot.view.by_id("d7")


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=5), st.booleans())
def test_batches_are_one_segment(tmp_path_factory: pytest.TempPathFactory, batches: list[int], pooled: bool) -> None:
    """Spans of a pooled token are ragged; batches join without a seam, empty batches and empty documents included."""
    collection = Collection.create(tmp_path_factory.mktemp("c"), 5)
    added: list[Tokens] = []
    with collection.builder() as writer:
        for b, size in enumerate(batches):
            tokens = some_tokens(size, b)
            if pooled:
                counts = np.arange(len(tokens.vectors)) % 3 + 1
                spans = np.arange(2 * counts.sum(), dtype=np.uint32).reshape(-1, 2)
                offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
                tokens = Tokens(tokens.vectors, tokens.offsets, tokens.ids, spans, offsets, roles=tokens.roles)
            writer.add([f"{b}-{i}" for i in range(size)], tokens)
            added += [tokens.take([i]) for i in range(size)]
        writer.publish()
    with collection.snapshot() as snapshot:
        for number, wanted in enumerate(added):
            got = snapshot.tokens(number)
            np.testing.assert_array_equal(got.vectors, wanted.vectors)
            for row in range(len(wanted.vectors)):
                np.testing.assert_array_equal(got.spans_of(row), wanted.spans_of(row))


def test_nothing_is_seen_before_publish_and_a_pinned_snapshot_stays(tmp_path: Path) -> None:
    collection = build(tmp_path)
    reader = Collection(tmp_path)
    before = found(reader)
    with reader.snapshot() as pinned:
        with collection.builder() as writer:
            writer.add(["new"], some_tokens(1, 4))
            assert found(reader) == before and len(reader) == 7
            with reader.snapshot() as now, pytest.raises(NotFound):
                now.view.by_id("new")
            writer.publish()
        assert len(pinned.state.parts) == 1 and pinned.view.count() == 7
    assert len(reader) == 8 and set(found(reader)) >= set(before)


@pytest.mark.parametrize("step", ["add", "train", "seal", "commit"])
def test_an_interrupted_build_goes_on(tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut at each step: the next writer has all committed batches, and the result equals
    an undisturbed build's files."""
    folder, whole = tmp_path / "cut", tmp_path / "whole"
    collection = Collection.create(folder, 5, "faiss:IVF,SQ8")

    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), collection.builder() as writer:
        writer.add(["a", "b"], some_tokens(2, 1))
        target = {
            "add": "plait.index.writing.bulk.put_documents",
            "train": "plait.index.late.faiss_store.build",
            "seal": "plait.index.writing.bulk.seal",
            "commit": "plait.index.writing.bulk.put_meta",
        }[step]
        if step in ("add", "train", "seal"):
            monkeypatch.setattr(target, fail)
        if step == "add":
            writer.add(["c"], some_tokens(1, 2))
        monkeypatch.undo()
        writer.add(["c"], some_tokens(1, 2))
        monkeypatch.setattr(target, fail)
        writer.publish()
    monkeypatch.undo()
    assert len(Collection(folder)) == 0
    with Collection(folder).builder() as writer:
        behind = writer.staged_ids
        assert behind == (["a", "b"] if step == "add" else ["a", "b", "c"])
        if step == "add":
            writer.add(["c"], some_tokens(1, 2))
        assert writer.publish() == 3
    other = Collection.create(whole, 5, "faiss:IVF,SQ8")
    with other.builder() as writer:
        writer.add(["a", "b"], some_tokens(2, 1))
        writer.add(["c"], some_tokens(1, 2))
        writer.publish()
    names = sorted(p.name for p in (whole / "segment-000001").iterdir())
    assert names == sorted(p.name for p in (folder / "segment-000001").iterdir())
    for name in names:
        assert (folder / "segment-000001" / name).read_bytes() == (whole / "segment-000001" / name).read_bytes(), name
    assert len(Collection(folder)) == 3


def test_a_killed_writer_loses_no_acknowledged_batch(tmp_path: Path) -> None:
    Collection.create(tmp_path, 5)
    context = multiprocessing.get_context("spawn")
    seen = 0
    for _ in range(3):
        started = context.Event()
        child = context.Process(target=add_for_ever, args=(tmp_path, started))
        child.start()
        assert started.wait(60) and child.pid
        with pytest.raises(Unavailable, match="another process is writing"), Collection(tmp_path).builder():
            pass
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        with Collection(tmp_path).builder() as writer:
            staged = writer.staged_ids
            assert staged == [f"d{i}" for i in range(len(staged))] and len(staged) > seen and len(staged) % 2 == 0
            seen = len(staged)
    with Collection(tmp_path).builder() as writer:
        writer.publish()
    collection = Collection(tmp_path)
    for i in range(0, seen, 2):
        np.testing.assert_array_equal(stored(collection, f"d{i}").vectors, some_tokens(2, i).take([0]).vectors)


def test_a_refused_batch_leaves_everything_as_it_was(tmp_path: Path) -> None:
    collection = build(tmp_path)
    nan = some_tokens(1, 9).vectors.copy()
    with collection.builder() as writer:
        writer.add(["kept"], some_tokens(1, 3))
        good = some_tokens(2, 5)
        refused = [
            (AlreadyExists, "'d3'", ["fresh", "d3"], good),
            (AlreadyExists, "'twice'", ["twice", "twice"], good),
            (InvalidArgument, "1 ids, 2 documents", ["one"], good),
            (InvalidArgument, "''", ["", "b"], good),
            (InvalidArgument, "4 dimensions", ["a", "b"], some_tokens(2, 5, 4)),
            (InvalidArgument, "come with .*ids", ["a", "b"], Tokens(good.vectors, good.offsets)),
        ]
        if len(nan):
            nan[0, 0] = np.nan
            refused.append((InvalidArgument, "NaN", ["a"], some_tokens(1, 9).with_vectors(nan)))
        for error, message, ids, tokens in refused:
            with pytest.raises(error, match=message):
                writer.add(ids, tokens)
            assert writer.staged_ids == ["kept"]
        writer.publish()
    assert len(collection) == 8
    np.testing.assert_array_equal(stored(collection, "kept").vectors, some_tokens(1, 3).vectors)


def test_discard_drops_only_what_was_not_published(tmp_path: Path) -> None:
    collection = build(tmp_path)
    with collection.builder() as writer:
        writer.add(["x"], some_tokens(1, 3))
        writer.discard()
        writer.add(["x", "y"], some_tokens(2, 4))
        writer.publish()
    assert len(collection) == 9
    np.testing.assert_array_equal(stored(collection, "x").vectors, some_tokens(2, 4).take([0]).vectors)


FILES = ("documents", "offsets", "vectors", "ids", "roles", "spans", "segment.json", "tokens.faiss")


@pytest.mark.parametrize("name", FILES)
def test_missing_and_cut_files_are_named(tmp_path: Path, name: str) -> None:
    build(tmp_path / "good", store="faiss:IVF,SQ8").close()
    for damage in ("missing", "cut", "longer"):
        folder = shutil.copytree(tmp_path / "good", tmp_path / damage)
        path = folder / "segment-000001" / name
        if damage == "missing":
            path.unlink()
        else:
            content = path.read_bytes()
            path.write_bytes(content[:-1] if damage == "cut" else content + b"\0")
        with pytest.raises(DataLoss, match=name), Collection(folder).snapshot():
            pass


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits_are_found_when_opened(tmp_path: Path, name: str) -> None:
    build(tmp_path, store="faiss:IVF,SQ8").close()
    path = tmp_path / "segment-000001" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataLoss, match=name), Collection(tmp_path).snapshot():
        pass


def test_a_damaged_or_foreign_catalog_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no plait collection"):
        Collection(tmp_path / "nothing")
    build(tmp_path / "a").close()
    (tmp_path / "a" / "catalog.db").write_bytes(b"not a database at all, but long enough to be taken for one" * 50)
    with pytest.raises(DataLoss, match=r"catalog\.db"):
        Collection(tmp_path / "a")
    build(tmp_path / "b").close()
    catalog = Catalog(tmp_path / "b")
    with catalog.writing() as view:
        put_meta(view, "format", 99)
    catalog.close()
    with pytest.raises(FailedPrecondition, match="format 99"):
        Collection(tmp_path / "b")


def test_create_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    build(tmp_path / "a")
    with pytest.raises(AlreadyExists):
        Collection.create(tmp_path / "a", 5)
    for dim, store, message in (
        (0, "exact", "dim is 0"),
        (4097, "exact", "4097"),
        (5, "annoy", "'annoy'"),
        (5, "faiss:", "'faiss:'"),
        (5, "flat:12", "flat:12"),
        (5, "lists:", "lists:"),
        (5, "flat16", "flat16"),
        (5, "faiss:HNSW32", "HNSW32"),
        (5, "faiss:IVF,PQ2", "must divide"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            Collection.create(tmp_path / "b", dim, store)
        assert not (tmp_path / "b").exists()


def test_stray_folders_are_swept_by_the_next_writer(tmp_path: Path) -> None:
    collection = build(tmp_path)
    left = segment_folder(tmp_path, next_segment(collection.catalog))  # as a crash leaves one
    left.mkdir()
    with collection.builder():
        assert not left.exists() and (tmp_path / "segment-000001").exists()


@settings(max_examples=15, deadline=None)
@given(oracle.ragged(dim=8, documents=40), oracle.ragged(dim=8, documents=2, shortest=1, longest=4))
def test_every_store_at_full_probe_is_exact(
    tmp_path_factory: pytest.TempPathFactory, documents: Tokens, queries: Tokens
) -> None:
    """ColBERT on flat codes and FAISS rescores with the stored rows: with all lists and
    candidates it equals the exact store."""
    ranking = {}
    for store in ("exact", "flat", "flat:64", "lists", "faiss:IVF,SQfp16", "faiss:IVF,SQ8", "faiss:IVF,PQ2x4fs"):
        collection = Collection.create(tmp_path_factory.mktemp("c"), 8, store)
        with collection.builder() as writer:
            writer.add([str(i) for i in range(len(documents))], documents)
            writer.publish()
        params = SearchParams(k_token=10_000, nprobe=10_000, candidates=10_000)
        with collection.snapshot() as snapshot:
            ranking[store] = snapshot.search(queries, 99, params=params)
    for store, ranked in ranking.items():
        for a, b in zip(ranking["exact"], ranked, strict=True):
            oracle.same_ranking(b, dict(zip(a.docs.tolist(), a.scores.tolist(), strict=True)), 99, 1e-5)
        assert len(ranked) == len(queries), store


def test_auto_suits_each_segment_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_FLAT_FROM", 100)
    monkeypatch.setattr(stores, "_LISTS_FROM", 300)
    collection = Collection.create(tmp_path / "c", 8, "auto", policy=None)
    rng = np.random.default_rng(1)
    parts: list[Tokens] = []
    for number, tokens in enumerate((99, 102, 300)):
        parts.append(oracle.normal(rng, [tokens // 3] * 3, 8))
        with collection.builder() as builder:
            builder.add([f"{number}-{i}" for i in range(3)], parts[-1])
            builder.publish()
    query = oracle.normal(rng, [4], 8)
    with collection.snapshot() as snapshot:
        files = [set(part.segment.files) & set(stores.store_files(collection.schema)) for part in snapshot.state.parts]
        found = snapshot.search(query, 9)[0]
        truth = snapshot.search(query, 9, exact=True)[0]
    assert [len(f) for f in files] == [0, 2, 5]
    assert found.docs.tolist() == truth.docs.tolist() and np.allclose(found.scores, truth.scores, rtol=1e-6)
    collection.compact()
    with collection.snapshot() as snapshot:
        assert snapshot.search(query, 9)[0].docs.tolist() == truth.docs.tolist()


@pytest.mark.parametrize(
    ("tokens", "dim", "plan"),
    [
        (0, 128, "exact"),
        (32_767, 128, "exact"),
        (32_768, 128, "flat:16"),
        (262_144, 96, "lists:16"),
        (262_144, 384, "lists:64"),
        (40_000, 1024, "flat:64"),
    ],
)
def test_auto_codes_grow_with_the_dimension(tokens: int, dim: int, plan: str) -> None:
    assert stores.plan("auto", tokens, dim) == plan
    assert stores.plan("flat:8", tokens, dim) == "flat:8"


def test_stats_count_bytes(tmp_path: Path) -> None:
    collection = build(tmp_path)
    info = collection.stats()
    on_disk = sum(p.stat().st_size for p in (tmp_path / "segment-000001").iterdir() if p.name != "segment.json")
    assert sum(v for k, v in info["bytes"].items() if k not in ("catalog", "total")) == on_disk
    assert info["tokens"] == len(some_tokens(7).vectors) and info["documents"] == 7
