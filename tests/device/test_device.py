"""The flat plan on a device, here torch's CPU: the same documents and scores as the CPU's
plan, wherever segments lie."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from plait.device import codes, records
from plait.device.flat import DeviceFlat, document_scores
from plait.device.lists import DeviceLists
from plait.device.placement import Placement, placement
from plait.device.records import greatest
from plait.index.codecs import kmeans as clustering
from plait.index.codecs import pq4
from plait.index.codecs.precisions import codec
from plait.index.codecs.product import Keep
from plait.index.collection import Collection
from plait.index.errors import FailedPrecondition, InvalidArgument
from plait.index.filters.sql import parse as parse_filter
from plait.index.hits import Hits
from plait.index.kernels import vectors as kernels
from plait.index.late import lists
from plait.index.late.flat import Flat
from plait.index.late.rerank import rerank
from plait.index.params import SearchParams
from plait.index.tokens import Tokens, from_matrices


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


def one(search: Callable[..., list[Hits]], query: np.ndarray, *given: Any, **named: Any) -> Hits:
    (hits,) = search(from_matrices([query]), *given, **named)
    return hits


def same(a: Hits, b: Hits) -> None:
    np.testing.assert_array_equal(a.docs, b.docs)
    np.testing.assert_array_equal(a.scores, b.scores)


def products(book: codes.Book, asked: codes.Asked, numbers: np.ndarray) -> np.ndarray:
    """(rows, tokens) float64 of the codes (subs, tokens) as a device decodes them, in the unit of `asked`."""
    bytes_ = book.entries.T.contiguous().numpy().view(np.int8)
    each = np.repeat(numbers, len(bytes_) // len(numbers), axis=0)
    decoded = 128.0 + np.take_along_axis(bytes_, each, 1)
    return asked.rows.double().numpy() @ decoded + asked.bias.double().numpy()[:, None]


def maxima(products: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(documents,) sums of row maxima; minus infinity without tokens."""
    spans = pairwise(offsets.tolist())
    return np.array([products[:, a:b].max(1).sum() if b > a else -np.inf for a, b in spans])


def asked(flat: Flat | lists.Lists, query: np.ndarray) -> tuple[codes.Book, codes.Asked]:
    book = codes.book(flat.codebook, torch.device("cpu"))
    return book, codes.ask(book, torch.from_numpy(query))


LENGTHS = st.lists(st.one_of(st.sampled_from([0, 1, 7, 8, 9]), st.integers(0, 70)), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(LENGTHS, st.sampled_from([3, 16, 20]), st.integers(1, 70), st.integers(0, 2**31))
@example([3], 16, 1, 0)
def test_scores_by_codes_are_those_of_decoded_vectors(lengths: list[int], dim: int, q: int, seed: int) -> None:
    flat, rng = made(lengths, dim, seed), np.random.default_rng(seed)
    query = rng.standard_normal((q, dim)).astype(np.float32) * np.float32(10.0 ** rng.integers(-3, 4))
    book, ready = asked(flat, query)
    placed = DeviceFlat(flat, "cpu")
    scores = document_scores(placed.book, ready, placed.words, placed.bounds)
    decoded = pq4.decode(flat.codebook, flat.codes, len(flat.records)).astype(np.float64)
    wanted, full = maxima(query @ decoded.T, flat.offsets), np.diff(flat.offsets) > 0
    got = scores.sum(0).double().numpy() * float(ready.unit)
    allowed = float(codes.bound(book, torch.from_numpy(query)).sum()) + 1e-4 * np.abs(query).sum()
    assert (np.abs(got[full] - wanted[full]) <= allowed).all()
    assert (got[~full] == -np.inf).all()


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([3, 16, 20, 128]), st.integers(1, 70), st.integers(0, 2**31))
def test_integers_of_a_query_are_within_their_part_of_the_bound(dim: int, q: int, seed: int) -> None:
    """Against the float query and the centroids' bytes: what is left when half a step is not at stake."""
    flat, query = made([40], dim, seed), np.random.default_rng(seed).standard_normal((q, dim)).astype(np.float32)
    book, ready = asked(flat, query)
    numbers = pq4.unpack(flat.codes)[:, :40]
    each = np.repeat(numbers, len(book.low) // len(numbers), axis=0)
    bytes_ = 128.0 + np.take_along_axis(book.entries.T.contiguous().numpy().view(np.int8), each, 1)
    turned = (torch.from_numpy(query) @ book.rotation).double().numpy()
    low, step = (t.double().numpy()[:, None] for t in (book.low, book.step))
    apart = np.abs(products(book, ready, numbers)[:q] * float(ready.unit) - turned @ (low + step * bytes_)).max(1)
    steps = np.abs(turned) @ step[:, 0]
    part = codes.bound(book, torch.from_numpy(query)).double().numpy() - steps / 2
    # The bias is a float32 sum of a thousand times the integers.
    assert (apart <= part + 1e-3 * steps).all()


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_words_hold_every_documents_codes_and_its_last_again(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(codes, "_CHUNK", chunk)
    flat = made([0, 1, 40, 0, 7, 8, 9, 33, 0], 16, 2)
    first, last, bounds = codes.by_document(flat.offsets)
    words, numbers = codes.words(flat.codes, first, last, torch.device("cpu")).numpy(), pq4.unpack(flat.codes)
    for document, (start, stop) in enumerate(pairwise(flat.offsets.tolist())):
        own = words[bounds[document] : bounds[document + 1]]
        got = [[int(word) >> 4 * i & 15 for word in block] for block in own for i in range(8)]
        assert got == [numbers[:, min(start + i, stop - 1)].tolist() for i in range(-(-(stop - start) // 8) * 8)]


def test_bytes_lose_little_beside_what_codes_lose() -> None:
    flat = made([9] * 40, 128, 1)
    query = np.random.default_rng(1).standard_normal((32, 128)).astype(np.float32)
    book, ready = asked(flat, query)
    decoded = pq4.decode(flat.codebook, flat.codes, 360)
    got = products(book, ready, pq4.unpack(flat.codes)[:, :360]) * float(ready.unit)
    assert (
        np.abs(got - query @ decoded.T).mean() < 0.01 * np.abs(query @ (decoded - kernels.widen(flat.records)).T).mean()
    )


@settings(max_examples=40, deadline=None)
@given(
    LENGTHS,
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
def test_the_best_by_their_codes_are_reranked(
    lengths: list[int], dim: int, q: int, k: int, more: int, masked: bool, rows: bool, precision: str, seed: int
) -> None:
    flat, rng = made(lengths, dim, seed, precision), np.random.default_rng(seed)
    query = rng.standard_normal((q, dim)).astype(np.float32)
    allowed = rng.random(len(lengths)) < 0.5 if masked else np.ones(len(lengths), bool)
    numbers = pq4.unpack(flat.codes)[:, : len(flat.records)]
    scores = np.where(allowed, maxima(products(*asked(flat, query), numbers), flat.offsets), -np.inf)
    order = np.argsort(-scores, kind="stable")[: int((scores > -np.inf).sum())]
    if len(order) > k + more:
        # Sums in float32 tell no closer scores apart.
        assume(scores[order[k + more - 1]] - scores[order[k + more]] > 1e-3)
    found = one(DeviceFlat(flat, "cpu", rows).search, query, k, k + more, allowed=allowed if masked else None)
    same(found, rerank(flat.codec, flat.records, flat.offsets, np.sort(order[: k + more]), query, k))


def inverted(flat: Flat, number: int) -> lists.Lists:
    vectors = kernels.widen(flat.records)
    centroids = clustering.fit(vectors, number)
    postings = lists.build(flat.codebook, centroids, vectors, flat.offsets)
    return lists.Lists(flat.codebook, centroids, postings, flat.offsets, flat.codec, flat.records)


SOME = st.lists(st.integers(0, 40), min_size=1, max_size=30).filter(any)


@settings(max_examples=30, deadline=None)
@given(SOME, st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_gains_are_what_lies_above_the_last_list_probed(lengths: list[int], q: int, nprobe: int, seed: int) -> None:
    """By loops over lists, rows and tokens; and the CPU's, but for the rounding of its table and ours."""
    source = inverted(made(lengths, 16, seed), min(4, sum(lengths)))
    query = np.random.default_rng(seed).standard_normal((q, 16)).astype(np.float32)
    placed, nprobe = DeviceLists(source, "cpu"), min(nprobe, len(source.centroids))
    book, ready = asked(source, query)
    unit, near = float(ready.unit), query @ source.centroids.T
    scores = products(book, ready, pq4.unpack(source.postings.codes)) * unit
    wanted, floors = np.zeros((q, len(lengths))), -np.sort(-near, axis=1)[:, nprobe - 1]
    if nprobe == len(source.centroids):
        floors = np.full(q, -np.inf)
    for row in range(q):
        for one in np.argsort(-near[row], kind="stable")[:nprobe]:
            for at in range(*(source.postings.bounds[one : one + 2] * pq4.BLOCK)):
                if (document := source.postings.documents[at]) < len(lengths):
                    wanted[row, document] = max(wanted[row, document], scores[row, at] - max(floors[row], -1e3))
    got = placed.gains(from_matrices([query]), nprobe)[0].double().numpy() * unit
    full = np.array(lengths) > 0
    if nprobe == len(source.centroids):
        # The floor is some number below everything: differences between documents are what counts.
        got, wanted = got[full] - got[full][0], wanted.sum(0)[full] - wanted.sum(0)[full][0]
        np.testing.assert_allclose(got, wanted, atol=2e-3 * q)
        return
    np.testing.assert_allclose(got, wanted.sum(0), rtol=1e-4, atol=1e-3 * q)
    table = pq4.table(source.codebook, query)
    apart = table.bound + q * table.scale + float(codes.bound(book, torch.from_numpy(query)).sum()) + 1e-3 * q
    np.testing.assert_allclose(got, source.gains(query, nprobe) * float(table.scale), atol=apart)


@settings(max_examples=30, deadline=None)
@given(SOME, st.integers(1, 5), st.booleans(), st.booleans(), st.integers(0, 2**31))
def test_lists_find_what_the_cpu_finds(lengths: list[int], k: int, masked: bool, rows: bool, seed: int) -> None:
    """With every document a candidate, whatever was probed."""
    source, rng = inverted(made(lengths, 16, seed), min(4, sum(lengths))), np.random.default_rng(seed)
    query = rng.standard_normal((4, 16)).astype(np.float32)
    allowed = rng.random(len(lengths)) < 0.5 if masked else None
    most = max(k, len(lengths))
    found = one(DeviceLists(source, "cpu", rows).search, query, k, most, nprobe=2, allowed=allowed)
    same(found, source.search(query, k, most, nprobe=2, allowed=allowed))


def test_kernels_find_what_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scans by Triton, interpreted, in the place of torch's."""
    pytest.importorskip("plait.device.code_kernel")
    flat, rng = made([0, 40, 3, 0, 33, 65, 1, 20] * 3, 16, 4), np.random.default_rng(4)
    by_list = inverted(flat, 4)
    for allowed in (None, rng.random(24) < 0.3):
        queries, found = oracle.normal(rng, [7, 33, 2], 16), []
        for kernel in (False, True):
            monkeypatch.setattr(codes, "compiled", lambda _, kernel=kernel: kernel)
            found.append(DeviceFlat(flat, "cpu").search(queries, 3, 5, allowed=allowed))
            found.append(DeviceLists(by_list, "cpu").search(queries, 3, 5, nprobe=2, allowed=allowed))
        for a, b in zip([*found[0], *found[1]], [*found[2], *found[3]], strict=True):
            same(a, b)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1.5, 3e38]), st.booleans()), min_size=1, max_size=20),
    st.integers(1, 25),
)
def test_the_greatest_are_the_first_of_a_sorted_list(entries: list[tuple[float, bool]], k: int) -> None:
    some = [(-score, at) for at, (score, open_) in enumerate(entries) if open_]
    scores, open_ = torch.tensor([e[0] for e in entries]), torch.tensor([e[1] for e in entries])
    places, counted = greatest(scores[None], open_, k)
    assert places[counted].tolist() == sorted(at for _, at in sorted(some)[:k])


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


def found(path: Path, queries: Tokens, place: Placement | None, **how: Any) -> list[Hits]:
    how = {"params": PARAMS, **how}
    with Collection(path, place=place) as opened, opened.snapshot() as snapshot:
        filters = None, parse_filter({"year": 1})
        return [h for f in filters for h in snapshot.search(queries, 5, filter=f, **how)]


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


def test_exact_segments_answer_alike_wherever_they_lie(tmp_path: Path) -> None:
    queries = collection(tmp_path, "exact")
    wanted = found(tmp_path, queries, None)
    whole = Placement("cpu")
    assert stores(tmp_path, whole)[0] == [True] * 3
    for place in (whole, Placement("cpu", 0), Placement("cpu", 9000)):
        for a, b in zip(found(tmp_path, queries, place), wanted, strict=True):
            np.testing.assert_array_equal(a.docs, b.docs)
            np.testing.assert_allclose(a.scores, b.scores, rtol=1e-5)


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

    monkeypatch.setattr(records, "upload", full)
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
