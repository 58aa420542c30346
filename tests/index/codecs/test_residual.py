"""ColBERTv2's codec: records against its formula, on every instruction set, and in collections."""

from functools import cache
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import on_every_level
from plait.index.codecs.codec import score
from plait.index.codecs.precisions import codec
from plait.index.codecs.residual import BITS, Buckets, Residual
from plait.index.collection import Collection
from plait.index.errors import DataLoss, InvalidArgument
from plait.index.tokens import Tokens, from_matrices


def unit(rng: np.random.Generator, n: int, dim: int) -> np.ndarray:
    some = rng.standard_normal((n, dim)).astype(np.float32)
    return some / np.linalg.norm(some, axis=1, keepdims=True)


def documents(seed: int, lengths: list[int], dim: int) -> Tokens:
    rng = np.random.default_rng(seed)
    return from_matrices([unit(rng, n, dim) for n in lengths], dim)


@cache
def learned(dim: int, bits: int) -> Residual:
    some = Residual(dim, bits)
    some.encode(unit(np.random.default_rng(2), 500, dim))
    return some


def meant(record: bytes, book: Buckets, bits: int) -> np.ndarray:
    """The formula, bit by bit: buckets from the highest bit of each byte down, each bucket's lowest bit first."""
    number = int.from_bytes(record[:4], "little")
    stream = [byte >> (7 - i) & 1 for byte in record[4:] for i in range(8)]
    buckets = [sum(bit << k for k, bit in enumerate(stream[at : at + bits])) for at in range(0, len(stream), bits)]
    sums = book.centroids[number].astype(np.float64) + book.weights[buckets]
    return sums / np.linalg.norm(sums)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [8, 24, 128])
def test_records_stand_for_the_formula(dim: int, bits: int) -> None:
    vectors = unit(np.random.default_rng(3), 70, dim)
    some = learned(dim, bits)
    records = some.encode(vectors)
    assert records.shape == (70, some.width) and some.width == 4 + dim * bits // 8
    for record, wide, vector in zip(records, some.floats(records), vectors, strict=True):
        np.testing.assert_allclose(wide, meant(record.tobytes(), some.book, bits), atol=1e-6)
        centroid = some.book.centroids[int.from_bytes(record[:4].tobytes(), "little")]
        # Of the buckets, each dimension is in the one that its cutoffs say.
        for d, left in enumerate(vector - centroid):
            bucket = sum(left > cutoff for cutoff in some.book.cutoffs)
            at = d * bits
            held = sum((record[4 + (at + k) // 8] >> (7 - (at + k) % 8) & 1) << k for k in range(bits))
            assert held == bucket


def test_more_bits_lie_nearer() -> None:
    vectors = unit(np.random.default_rng(4), 200, 64)
    near = [(learned(64, b).floats(learned(64, b).encode(vectors)) * vectors).sum(axis=1).mean() for b in BITS]
    assert 0.8 < near[0] < near[1] - 0.02 < near[2] - 0.04


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 2, 7, 33]), min_size=1, max_size=9),
    st.sampled_from([8, 16, 24, 72]),
    st.sampled_from(BITS),
    st.integers(1, 40),
    st.integers(0, 2**31),
)
def test_scores_are_maxsim_of_the_formula(lengths: list[int], dim: int, bits: int, q: int, seed: int) -> None:
    tokens, rng = documents(seed, lengths, dim), np.random.default_rng(seed)
    query = (rng.standard_normal((q, dim)) * 10.0 ** rng.integers(-3, 3)).astype(np.float32)
    some = learned(dim, bits)
    records, every = some.encode(tokens.vectors), np.arange(len(lengths))
    wide = np.array([meant(r.tobytes(), some.book, bits) for r in records]).reshape(-1, dim)
    wanted = np.array([oracle.maxsim(query, wide[tokens.rows(d)]) for d in range(len(lengths))])
    for name in on_every_level():
        got = score(some, records, tokens.offsets, every, query, 1)
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(query).sum(), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("store", ["exact", "flat:8", "lists:8"])
def test_collections_rank_and_explain_by_the_records(tmp_path: Path, store: str) -> None:
    lengths = [0, *np.random.default_rng(1).integers(1, 9, 299).tolist()]
    tokens, query = documents(5, lengths, 24), documents(6, [6], 24)
    ids = [str(i) for i in range(300)]
    with Collection.create(tmp_path / "c", 24, store, precision="residual:2") as collection:
        with collection.builder() as builder:
            builder.add(ids[:200], tokens.take(range(200)))
            builder.publish()
        collection.live.upsert(ids[200:], tokens.take(range(200, 300)))
    with Collection(tmp_path / "c") as collection:
        some = collection.schema.codec
        kept = some.floats(some.encode(tokens.vectors))
        scores = {d: oracle.maxsim(query.vectors, kept[tokens.rows(d)]) for d in range(1, 300)}
        for _ in range(2):
            with collection.snapshot() as snapshot:
                (hits,) = snapshot.search(query, 20)
                numbered = {snapshot.view.by_id(str(d)).number: s for d, s in scores.items()}
                oracle.same_ranking(hits, numbered, 20, 1e-4)
                assert abs(snapshot.explain(query, int(hits.docs[0])).score - hits.scores[0]) < 1e-4
            collection.compact()


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="precision is 'residual:1' with dim 20; dim must be a multiple of 8"):
        codec("residual:1", 20)
    some = learned(8, 2)
    with pytest.raises(InvalidArgument, match="a vector has length 2, and precision residual:2 keeps directions only"):
        some.encode(2 * unit(np.random.default_rng(0), 3, 8))
    records = some.encode(unit(np.random.default_rng(0), 3, 8))
    records[1, :4] = 255
    with pytest.raises(ValueError, match="no such centroid"):
        score(some, records, np.array([0, 3]), np.array([0]), np.ones((1, 8), np.float32), 1)
    with pytest.raises(DataLoss, match="buckets are damaged"):
        Buckets.from_bytes(some.book.to_bytes()[:-30])
    with (
        Collection.create(tmp_path / "c", 8, precision="residual:2") as collection,
        collection.builder() as builder,
        pytest.raises(InvalidArgument, match=r"records have shape \(3, 5\) uint8; residual:2 takes 6 uint8 a token"),
    ):
        builder.add(["a"], Tokens(records[:, :5], np.array([0, 3])), encoded=True)
