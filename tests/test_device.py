"""The flat plan on a device, here torch's CPU: the same documents and scores as the CPU's plan, wherever segments lie."""

from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from plait.device import flat as device_flat
from plait.device.flat import DeviceFlat, in_document_order, least
from plait.device.placement import Placement, placement
from plait.index import clustering, lists, pq4
from plait.index.codecs import codec
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.filters import parse as parse_filter
from plait.index.flat import Flat
from plait.index.hits import Hits
from plait.index.product import Keep
from plait.index.scoring import SearchParams
from plait.index.tokens import Tokens


def made(lengths: list[int], dim: int, seed: int, precision: str = "float16") -> Flat:
    rng = np.random.default_rng(seed)
    tokens = oracle.normal(rng, lengths, dim)
    book = pq4.fit(oracle.normal(rng, [40], dim).vectors, 8, seed)
    kept = codec(
        precision,
        dim,
        Keep(book=pq4.learn(tokens.vectors if len(tokens.vectors) else np.ones((1, dim), np.float32), 32, 256)),
    )
    records = kept.encode(tokens.vectors)
    return Flat(book, pq4.encode(book, tokens.vectors), tokens.offsets, kept, records)


def same(a: Hits, b: Hits) -> None:
    np.testing.assert_array_equal(a.docs, b.docs)
    np.testing.assert_array_equal(a.scores, b.scores)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.just(0), st.integers(0, 70)), min_size=1, max_size=30),
    st.sampled_from([3, 16]),
    st.integers(1, 35),
    st.integers(1, 6),
    st.integers(0, 8),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["float16", "int8", "pq:32"]),
    st.integers(0, 2**31),
)
# No rows, and a dimension that puts the scales off the boundary of a float.
@example([0], 3, 1, 1, 0, False, True, "int8", 0)
def test_the_device_finds_what_the_cpu_finds(
    lengths: list[int], dim: int, q: int, k: int, more: int, masked: bool, rows: bool, precision: str, seed: int
) -> None:
    flat, rng = made(lengths, dim, seed, precision), np.random.default_rng(seed)
    query = rng.standard_normal((q, dim)).astype(np.float32)
    allowed = rng.random(len(lengths)) < 0.5 if masked else None
    found = DeviceFlat(flat, "cpu", rows).search(query, k, k + more, allowed=allowed)
    same(found, flat.search(query, k, k + more, leaders=max(len(lengths), k + more), allowed=allowed))


def test_the_kernel_finds_what_the_cpu_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan by Triton, interpreted, in the place of torch's."""
    code_kernel = pytest.importorskip("plait.device.code_kernel")
    flat, rng = made([0, 40, 3, 0, 33, 65, 1, 20] * 3, 16, 4), np.random.default_rng(4)
    monkeypatch.setattr(device_flat, "code_losses", code_kernel.code_losses)
    for allowed in (None, rng.random(24) < 0.3):
        query = rng.standard_normal((7, 16)).astype(np.float32)
        found = DeviceFlat(flat, "cpu").search(query, 3, 5, allowed=allowed)
        same(found, flat.search(query, 3, 5, leaders=24, allowed=allowed))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=30), st.integers(1, 5), st.booleans(), st.integers(0, 2**31))
def test_codes_of_lists_are_scanned_as_if_all_were_probed(lengths: list[int], k: int, masked: bool, seed: int) -> None:
    flat, rng = made(lengths, 16, seed), np.random.default_rng(seed)
    vectors = flat.records
    if not len(vectors):
        return
    number = min(4, len(vectors))
    centroids = clustering.fit(vectors.astype(np.float32), number)
    postings = lists.build(flat.codebook, centroids, vectors, flat.offsets)
    inverted = lists.Lists(flat.codebook, centroids, postings, flat.offsets, flat.codec, flat.records)
    query = rng.standard_normal((4, 16)).astype(np.float32)
    allowed = rng.random(len(lengths)) < 0.5 if masked else None
    found = DeviceFlat(in_document_order(inverted), "cpu").search(query, k, 2 * k, allowed=allowed)
    same(found, inverted.search(query, k, 2 * k, nprobe=number, allowed=allowed))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=20), st.integers(1, 25))
def test_the_least_are_the_first_of_a_sorted_list(entries: list[tuple[int, bool]], k: int) -> None:
    wanted = sorted(sorted((loss, at) for at, (loss, open_) in enumerate(entries) if open_)[:k], key=lambda e: e[1])
    losses, open_ = torch.tensor([e[0] for e in entries]), torch.tensor([e[1] for e in entries])
    places, counted = least(losses, open_, k)
    assert places[counted].tolist() == [at for _, at in wanted]


PARAMS = SearchParams(candidates=20)


def collection(path: Path, store: str) -> Tokens:
    """Three segments, fresh documents, some dead; returns queries."""
    rng = np.random.default_rng(5)
    with Collection.create(path, 16, store=store, fields=["year"]) as writer:
        for segment in range(4):
            ids = [f"{segment}-{i}" for i in range(30 - segment)]
            tokens = oracle.normal(rng, rng.integers(0, 12, len(ids)).tolist(), 16)
            writer.live.upsert(ids, tokens, [{"year": i % 3} for i in range(len(ids))])
            if segment < 3:
                writer.seal()
        writer.live.delete(["0-3", "1-4", "3-1"])
    return oracle.normal(rng, [3, 8], 16)


def found(path: Path, queries: Tokens, place: Placement | None) -> list[Hits]:
    with Collection(path, place=place) as opened, opened.snapshot() as snapshot:
        filters = None, parse_filter({"year": 1})
        return [h for f in filters for h in snapshot.search(queries, 5, params=PARAMS, filter=f)]


@pytest.mark.parametrize("store", ["flat:8", "lists:8"])
def test_collections_answer_alike_wherever_their_segments_lie(tmp_path: Path, store: str) -> None:
    """With every document a candidate all plans are exact, so any budget gives one answer."""
    queries = collection(tmp_path, store)
    wanted = found(tmp_path, queries, None)
    assert any(len(hits) for hits in wanted)
    whole = Placement("cpu")
    for a, b in zip(found(tmp_path, queries, whole), wanted, strict=True):
        same(a, b)
    for memory in (0, 2000, 6000, 12000):
        place = Placement("cpu", memory)
        for a, b in zip(found(tmp_path, queries, place), wanted, strict=True):
            same(a, b)


def stores(path: Path, place: Placement) -> tuple[list[bool], int]:
    """For each segment whether it was placed, and the bytes in use while they are open."""
    asked = []

    def watched(segment, store):
        other = place(segment, store)
        asked.append(other is not store)
        return other

    with Collection(path, place=watched) as opened, opened.snapshot():
        return asked, place.used


def test_segments_are_placed_while_they_fit(tmp_path: Path) -> None:
    collection(tmp_path, "flat:8")
    asked, whole = stores(tmp_path, Placement("cpu"))
    assert asked == [True] * 3
    assert stores(tmp_path, Placement("cpu", 0)) == ([False] * 3, 0)
    asked, used = stores(tmp_path, Placement("cpu", whole - 1))
    assert asked == [True] * 3 and used < whole, "the last segment's rows stay with the CPU, its codes do not"
    asked, used = stores(tmp_path, Placement("cpu", whole // 2))
    assert 0 < used <= whole // 2


def test_memory_comes_back_when_segments_go(tmp_path: Path) -> None:
    queries = collection(tmp_path, "flat:8")
    place = Placement("cpu")
    with Collection(tmp_path, place=place) as opened:
        with opened.snapshot() as snapshot:
            snapshot.search(queries, 5)
        opened.compact()
        del snapshot
        with opened.snapshot() as snapshot:
            snapshot.search(queries, 5)
        used = place.used
    assert stores(tmp_path, Placement("cpu")) == ([True], used)


def test_a_full_device_leaves_the_segment_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = collection(tmp_path, "flat:8")
    wanted = found(tmp_path, queries, None)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device_flat, "_upload", full)
    place = Placement("cpu")
    for a, b in zip(found(tmp_path, queries, place), wanted, strict=True):
        same(a, b)
    assert place.used == 0


def test_devices_that_are_not_there(tmp_path: Path) -> None:
    assert placement("cpu") is None
    with pytest.raises(InvalidArgument, match="'tpu'; use cpu or cuda:N"):
        placement("tpu")
    with pytest.raises(InvalidArgument, match="-1 bytes"):
        Placement("cuda:0", -1)
    number = torch.cuda.device_count()
    collection(tmp_path, "flat:8")
    with (
        pytest.raises(FailedPrecondition, match=f"torch sees {number} GPUs"),
        Collection(tmp_path, place=placement(f"cuda:{number}")) as opened,
        opened.snapshot(),
    ):
        pass
