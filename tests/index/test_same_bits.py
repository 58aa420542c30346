"""Scores and records are the same to the bit, however they are asked for: threads, blocks, batches, segments,
instruction sets."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import normal, on_every_level
from paths import TESTS
from plait.index.catalog.catalog import put_resource
from plait.index.codecs import kmeans as clustering
from plait.index.codecs import pq4
from plait.index.codecs.codec import Codec, score, scores, similarities
from plait.index.codecs.precisions import codec
from plait.index.codecs.product import LEARNED, Keep
from plait.index.collection import Collection
from plait.index.kernels import rows as row_kernels
from plait.index.kernels import vectors as kernels
from plait.index.kernels.threads import limited
from plait.index.late import exact
from plait.index.late.rerank import rerank
from plait.index.params import Scoring, SearchParams, totals
from plait.index.search.alignment import Alignment
from plait.index.terms import Terms
from plait.index.tokens import Tokens, concatenate
from plait.retrieval.reducers import pooling, projection
from scipy.sparse import csr_array

PRECISIONS = ("float16", "int8", "pq:32", "pq:72", "residual:2")
XTR = Scoring("retrieved")


def rounded(value: Fraction) -> np.float32:
    """The nearest float32, the even one of two; |value| is below 2^127."""
    near = np.float32(float(value))
    around = np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))
    return min(around, key=lambda f: (abs(Fraction(float(f)) - value), f.view(np.uint32) & 1))


def chain(row: np.ndarray, query: np.ndarray) -> np.float32:
    """A product as plait defines it: fused multiply-adds by rising dimension from 0, in exact
    arithmetic, each rounded once."""
    total = np.float32(0)
    for a, b in zip(row.tolist(), query.tolist(), strict=True):
        total = rounded(Fraction(a) * Fraction(b) + Fraction(float(total)))
    return total


def unit(tokens: Tokens) -> Tokens:
    """The tokens at length one, as `residual` wants them; a zero row points along the first dimension."""
    rows = tokens.vectors.astype(np.float64)
    rows[:, 0] += ~rows.any(axis=1)
    return tokens.with_vectors((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))


@cache
def made(precision: str, dim: int) -> Codec:
    """The codec, with what it learns of the same vectors every time."""
    some = codec(precision, dim, Keep())
    some.encode(unit(normal(np.random.default_rng(0), [300], dim)).vectors)
    return some


@contextmanager
def every_thread_pays() -> Iterator[None]:
    """Threads share the smallest work too."""
    before = row_kernels._WORTH
    row_kernels._WORTH = 1
    try:
        yield
    finally:
        row_kernels._WORTH = before


def assert_same_bits(*arrays: np.ndarray) -> None:
    for other in arrays[1:]:
        assert arrays[0].dtype == other.dtype and arrays[0].shape == other.shape
        np.testing.assert_array_equal(arrays[0].view(np.uint8), other.view(np.uint8))


@settings(max_examples=40)
@given(
    st.integers(1, 20), st.integers(1, 5), st.integers(1, 20), st.sampled_from([0, 3, 20, 60]), st.integers(0, 2**31)
)
def test_a_product_is_a_chain_of_fused_multiply_adds(rows: int, q: int, dim: int, spread: int, seed: int) -> None:
    """Of any magnitude, subnormal ones included: the scalar level has no such instruction
    and must round as if it had."""
    rng = np.random.default_rng(seed)

    def drawn(n: int) -> np.ndarray:
        return (rng.standard_normal((n, dim)) * 2.0 ** rng.integers(-spread - 8, spread // 3 + 1, (n, dim))).astype(
            "f4"
        )

    left, query = drawn(rows), drawn(q)
    wanted = np.array([[chain(row, one) for one in query] for row in left])
    for _ in on_every_level():
        stored = row_kernels.float_rows(left)
        assert_same_bits(
            wanted,
            row_kernels.row_products(stored, query),
            row_kernels.product(left, query.T),
            np.ascontiguousarray(row_kernels.product(query, left.T).T),
        )


def test_products_beyond_float32_are_the_same_too() -> None:
    rng = np.random.default_rng(1)
    left, query = (np.float32(2.0) ** rng.integers(30, 128, (n, 9)) * rng.choice([-1, 1], (n, 9)) for n in (30, 8))
    found = [
        row_kernels.row_products(row_kernels.float_rows(left.astype("f4")), query.astype("f4"))
        for _ in on_every_level()
    ]
    assert np.isinf(found[0]).any()
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@settings(max_examples=60)
@given(oracle.ragged(dim=8), oracle.ragged(dim=8, documents=4, longest=20, shortest=1), st.integers(0, 2**31))
def test_a_score_depends_on_the_document_and_the_query_alone(tokens: Tokens, queries: Tokens, seed: int) -> None:
    """Not on threads, on the instruction set, nor on which other documents and queries are scored with it."""
    rng, tokens = np.random.default_rng(seed), unit(tokens)
    order = rng.permutation(len(tokens))
    for precision in PRECISIONS:
        some = made(precision, 8)
        records = some.encode(tokens.vectors)
        alone = np.array(
            [
                [
                    totals(similarities(some, records[tokens.rows(d)], q).max(axis=0, initial=-np.inf)[None])[0]
                    for q in (queries.vectors[queries.rows(i)] for i in range(len(queries)))
                ]
                for d in range(len(tokens))
            ]
        )
        for _ in on_every_level():
            with every_thread_pays():
                for threads in (1, 2, 4):
                    given_ = records, tokens.offsets, order, queries.vectors, queries.offsets
                    found = np.empty_like(alone)
                    found[order] = scores(some, *given_, threads=threads)
                    assert_same_bits(alone, found)
            one = queries.vectors[queries.rows(0)]
            hits = rerank(some, records, tokens.offsets, order, one, len(order), threads=2)
            assert_same_bits(hits.scores, alone[hits.docs, 0])


@settings(max_examples=40)
@given(
    oracle.ragged(dim=8, documents=20), st.integers(1, 40), st.integers(1, 300), st.booleans(), st.integers(0, 2**31)
)
def test_the_best_tokens_are_a_sort_of_all_products(tokens: Tokens, q: int, k: int, some_only: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = (rng.integers(-2, 3, (q, 8)) / 2).astype(np.float32)
    rows = row_kernels.half_rows(tokens.vectors.astype(np.float16))
    allowed = rng.random(len(rows)) < 0.4 if some_only else np.ones(len(rows), bool)
    places = np.flatnonzero(allowed)
    wanted = row_kernels.row_products(rows, query)
    for _ in on_every_level():
        for threads in (1, 2, 4):
            with every_thread_pays():
                got, found = row_kernels.best_rows(
                    rows, query, k, allowed=allowed if some_only else None, threads=threads
                )
            assert got.shape == found.shape == (q, min(k, len(rows)))
            for line in range(q):
                best = places[np.lexsort((places, -wanted[places, line]))][:k]
                np.testing.assert_array_equal(
                    found[line], np.pad(best, (0, found.shape[1] - len(best)), constant_values=-1)
                )
                assert_same_bits(got[line][: len(best)], wanted[best, line])
                assert (got[line][len(best) :] == -np.inf).all()


@settings(max_examples=40)
@given(oracle.ragged(dim=8, shortest=1), st.sampled_from([3, 8]), st.integers(0, 2**31))
def test_a_record_does_not_depend_on_its_batch(tokens: Tokens, dim: int, seed: int) -> None:
    """Projected, pooled and encoded alone or with others, by few threads or many, on any
    instruction set. Ties are frequent."""
    axes = np.linalg.qr(np.random.default_rng(seed).standard_normal((8, 8)))[0][:, :dim].astype(np.float32)
    axes = np.ascontiguousarray(axes)
    parts = [tokens.take([d]) for d in range(len(tokens))]
    seen: dict[str, list[np.ndarray]] = {}
    for _ in on_every_level():
        for threads in (1, 4):
            with limited(threads), every_thread_pays():
                ways = {
                    "projected": lambda t: projection.project(t, axes).vectors,
                    "pooled": lambda t: pooling.pool(t, 2).vectors,
                    "pooled by kmeans": lambda t: pooling.pool(t, 2, "kmeans").vectors,
                    **{p: lambda t, p=p: made(p, 8).encode(unit(t).vectors) for p in PRECISIONS},
                }
                for name, way in ways.items():
                    seen.setdefault(name, []).extend((way(tokens), np.concatenate([way(part) for part in parts])))
    for found in seen.values():
        assert_same_bits(*found)


@pytest.mark.parametrize("centroids", [40, 3000])
def test_the_nearest_centroid_does_not_depend_on_the_batch(centroids: int) -> None:
    """Of few centroids all are looked at, of many those of some groups."""
    rng = np.random.default_rng(2)
    middles, points = (np.round(rng.standard_normal((n, 12)) * 2) for n in (centroids, 400))
    found = []
    for _ in on_every_level():
        given_ = middles.astype(np.float32), points.astype(np.float32)
        found.append(clustering.assign(*given_))
        found.append(np.concatenate([clustering.assign(given_[0], given_[1][i : i + 33]) for i in range(0, 400, 33)]))
    assert_same_bits(*found)


def collection(folder: Path, precision: str, batches: list[Tokens], fresh: Tokens | None = None) -> Collection:
    """A segment per batch, then documents that wait to be sealed; ids number all
    documents. One codebook for all collections."""
    made_ = Collection.create(folder, batches[0].dim, "exact", precision=precision)
    kept = made(precision, batches[0].dim)
    if precision.startswith(("pq", "residual")):
        with made_.catalog.writing() as view:
            put_resource(view, LEARNED, kept.book.to_bytes())  # type: ignore[attr-defined]
    first = 0
    for batch in batches:
        with made_.builder() as writer:
            writer.add([str(first + i) for i in range(len(batch))], batch)
            writer.publish()
        first += len(batch)
    if fresh is not None:
        made_.live.upsert([str(first + i) for i in range(len(fresh))], fresh)
    return made_


def searched(made_: Collection, queries: Tokens, scoring: Scoring) -> list[dict[str, float]]:
    """Scores by id of each query, each of them what its explanation adds up to."""
    params, found = SearchParams(k_token=40, candidates=10_000), []
    with made_.snapshot() as snapshot:
        for q, hits in enumerate(snapshot.search(queries, 10_000, scoring, params)):
            names = [d.id for d in snapshot.documents(hits.docs)]
            found.append(dict(zip(names, hits.scores.tolist(), strict=True)))
            for doc, value in list(zip(hits.docs.tolist(), hits.scores.tolist(), strict=True))[:3]:
                why: Alignment = snapshot.explain(queries.take([q]), doc, scoring=scoring, params=params)
                assert why.score == value == totals(why.contributions[None])[0]
            if scoring.tokens == "all":
                given_ = snapshot.score_tokens(queries.take([q]), hits.docs, threads=2)
                assert_same_bits(given_, hits.scores)
    return found


@pytest.mark.parametrize("precision", PRECISIONS)
def test_collections_score_alike_however_documents_lie(tmp_path: Path, precision: str) -> None:
    """One segment, three, fresh documents, threads, two shards: the same scores by id, which
    explanations add up to exactly."""
    rng = np.random.default_rng(7)
    tokens = unit(normal(rng, rng.integers(0, 12, 90).tolist(), 24))
    queries = normal(rng, [9, 32, 5], 24)
    thirds = [tokens.take(range(a, a + 30)) for a in (0, 30, 60)]
    layouts = {
        "one": collection(tmp_path / "one", precision, [tokens]),
        "three": collection(tmp_path / "three", precision, thirds),
        "fresh": collection(tmp_path / "fresh", precision, thirds[:1], concatenate(thirds[1:])),
    }
    for scoring in (Scoring(), XTR, Scoring("retrieved", "none")):
        wanted = searched(layouts["one"], queries, scoring)
        assert all(wanted)
        for made_ in layouts.values():
            assert searched(made_, queries, scoring) == wanted
        with every_thread_pays():
            for threads in (1, 2, 4):
                with Collection(tmp_path / "three", threads=threads) as again:
                    assert searched(again, queries, scoring) == wanted
    shards = [collection(tmp_path / "s0", precision, [concatenate(thirds[:2])])]
    found = searched(shards[0], queries, Scoring())
    for every, some in zip(searched(layouts["one"], queries, Scoring()), found, strict=True):
        assert some and all(every[name] == value for name, value in some.items())


def test_blocks_do_not_change_a_ranking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tokens, queries = normal(np.random.default_rng(8), [5] * 200, 16), normal(np.random.default_rng(9), [7, 3], 16)
    with collection(tmp_path, "float16", [tokens]) as made_, made_.snapshot() as snapshot:
        whole = snapshot.search(queries, 50)
        for products in (1, 100, 5000):
            monkeypatch.setattr(exact, "_PRODUCTS", products)
            for a, b in zip(whole, snapshot.search(queries, 50), strict=True):
                np.testing.assert_array_equal(a.docs, b.docs)
                assert_same_bits(a.scores, b.scores)


@pytest.mark.parametrize("store", ["flat:8", "lists:8"])
def test_coded_plans_give_the_scores_of_the_exact_plan(tmp_path: Path, store: str) -> None:
    rng = np.random.default_rng(10)
    tokens, queries = normal(rng, rng.integers(1, 9, 300).tolist(), 24), normal(rng, [9, 4], 24)
    with Collection.create(tmp_path / "c", 24, store) as made_:
        with made_.builder() as writer:
            writer.add([str(i) for i in range(300)], tokens)
            writer.publish()
        for _ in on_every_level():
            with made_.snapshot() as snapshot:
                every = snapshot.search(queries, 300, exact=True)
                for hits, all_ in zip(snapshot.search(queries, 20, params=SearchParams(nprobe=3)), every, strict=True):
                    by_number = dict(zip(all_.docs.tolist(), all_.scores.tolist(), strict=True))
                    assert [by_number[d] for d in hits.docs.tolist()] == hits.scores.tolist()


def test_codes_of_a_query_are_the_same_on_every_instruction_set() -> None:
    """Which documents a coded plan scores exactly follows from them."""
    rng = np.random.default_rng(11)
    book = pq4.fit(rng.standard_normal((500, 20)).astype(np.float32), 8)
    query = rng.standard_normal((6, 20)).astype(np.float32)
    tables = []
    for _ in on_every_level():
        tables.append(pq4.table(pq4.Codebook(book.rotation, book.centroids), query))
    for other in tables[1:]:
        assert_same_bits(tables[0].losses, other.losses)
        assert_same_bits(tables[0].tops, other.tops)
        assert other.scale == tables[0].scale


def test_one_query_alone_and_among_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(12)
    tokens, queries = normal(rng, [6] * 50, 24), normal(rng, [1, 2, 17, 40], 24)
    with collection(tmp_path, "float16", [tokens]) as made_, made_.snapshot() as snapshot:
        for scoring in (Scoring(), XTR):
            together = snapshot.search(queries, 20, scoring)
            for q, hits in enumerate(together):
                (one,) = snapshot.search(queries.take([q]), 20, scoring)
                np.testing.assert_array_equal(one.docs, hits.docs)
                assert_same_bits(one.scores, hits.scores)


def test_a_document_without_records_scores_minus_infinity() -> None:
    half = made("float16", 8)
    assert (
        score(half, np.zeros((0, 8), np.float16), np.array([0, 0]), np.array([0]), np.ones((2, 8), "f4"), 1) == -np.inf
    )


def environments() -> list[dict[str, str]]:
    """Every BLAS kernel family and every instruction set of this machine, in pairs. OpenBLAS takes its word for what it
    is told."""
    cores = {"avx512": ["SkylakeX"], "avx2": ["Haswell", "Zen"], "neon": ["NEOVERSEN1"], "scalar": ["Prescott"]}
    levels = kernels.simd_levels()
    pairs = [
        {"PLAIT_SIMD": level, "OPENBLAS_CORETYPE": core}
        for level in levels
        for core in cores[level]
        if core != "Prescott" or "neon" not in levels
    ]
    pairs[-1] |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    pairs[0] |= {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "3"}
    return pairs


def test_no_blas_and_no_instruction_set_changes_a_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(13)
    tokens, queries = normal(rng, rng.integers(0, 20, 120).tolist(), 64), normal(rng, [9, 32, 5], 64)
    book = pq4.learn(tokens.vectors, 32, 256)
    np.savez(
        tmp_path / "given.npz",
        vectors=tokens.vectors,
        offsets=tokens.offsets,
        queries=queries.vectors,
        query_offsets=queries.offsets,
        axes=projection.fit(tokens.vectors, 48),
        rotation=book.rotation,
        centroids=book.centroids,
    )
    kept = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "PLAIT_SIMD")}
    command = [sys.executable, str(TESTS / "support" / "bits_child.py"), str(tmp_path / "given.npz")]
    told: dict[str, str] = {}
    for settings_ in environments():
        run = subprocess.run(command, env={**kept, **settings_}, capture_output=True, text=True, timeout=600)
        assert run.returncode == 0, run.stderr
        told[str(settings_)] = run.stdout
    results = {name: [line for line in text.splitlines() if line[0] != "#"] for name, text in told.items()}
    assert len(next(iter(results.values()))) == 14
    assert all(lines == next(iter(results.values())) for lines in results.values()), "\n".join(
        map("\n".join, told.items())
    )


def test_terms_score_alike_fresh_and_sealed(tmp_path: Path) -> None:
    """Weights of many sizes, so that sums in another order would be other sums; and explanations have the same."""
    rng = np.random.default_rng(14)

    def drawn(rows: int) -> csr_array:
        dense = rng.standard_normal((rows, 60)) * 2.0 ** rng.integers(-12, 12, (rows, 60))
        return csr_array(np.where(rng.random((rows, 60)) < 0.7, np.abs(dense), 0).astype(np.float32))

    documents, queries = drawn(400), drawn(20)
    found = []
    with Collection.create(tmp_path / "c", 0, terms=True) as made_:
        made_.live.upsert([str(i) for i in range(400)], None, terms=Terms(documents))
        for sealed in (False, True):
            if sealed:
                made_.seal()
            with made_.snapshot() as snapshot:
                hits = snapshot.search_terms(Terms(queries), 400)
                found.append([(h.docs.tolist(), h.scores.tolist()) for h in hits])
                for q, one in enumerate(hits):
                    for doc, value in list(zip(one.docs.tolist(), one.scores.tolist(), strict=True))[:20]:
                        assert snapshot.explain_terms(Terms(queries[[q]]), doc).score == value
    assert found[0] == found[1]
