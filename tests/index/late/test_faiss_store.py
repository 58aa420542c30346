"""The FAISS adapter against brute force over the vectors that its codes decode to."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

faiss = pytest.importorskip("faiss")

from plait.index.errors import DataLoss, FailedPrecondition, InvalidArgument  # noqa: E402
from plait.index.late import faiss_merge, faiss_store  # noqa: E402
from plait.index.late.faiss_params import FaissParams, list_count, parse, sample_size  # noqa: E402
from plait.index.late.faiss_store import FaissStore, train  # noqa: E402

CODECS = ("SQfp16", "SQ8", "PQ", "PQfs")
DIM, M = 12, 4
quick = settings(max_examples=100, deadline=None)


def factory(codec: str, lists: int | str = "", m: int = M) -> str:
    return f"IVF{lists},{codec.replace('PQfs', f'PQ{m}x4fs') if codec == 'PQfs' else codec.replace('PQ', f'PQ{m}')}"


def unit(n: int, dim: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def build(folder: Path, vectors: np.ndarray, spec: str, sizes: int = 97) -> Path:
    codebook = train(vectors, FaissParams(spec), len(vectors), threads=1)
    blocks = (vectors[i : i + sizes] for i in range(0, len(vectors), sizes))
    faiss_store.build(codebook, blocks, folder / "tokens.faiss", threads=1)
    return folder / "tokens.faiss"


def decoded(path: Path, vectors: np.ndarray) -> np.ndarray:
    """(n, dim): what the codes of `vectors` stand for."""
    index = faiss.read_index(str(path))
    if isinstance(index, faiss.IndexIVFPQFastScan):
        # FAISS 1.15 crashes on `reconstruct` of a fast-scan index that was read; its codes are those of the bare PQ.
        return index.pq.decode(index.pq.compute_codes(vectors))
    index.make_direct_map()
    return np.stack([index.reconstruct(row) for row in range(index.ntotal)])


def tolerance(path: Path, queries: np.ndarray) -> np.ndarray:
    """(q,) how far a score may lie from the decoded product.

    Fast scan scales a query's M tables by one factor so that the widest spans 255 and the sum of all fits 16 bits, then
    rounds each entry to the nearest integer: off by half a step per table.
    """
    index = faiss.read_index(str(path))
    if not isinstance(index, faiss.IndexIVFPQFastScan):
        return np.full(len(queries), 1e-4)
    pq = index.pq
    words = faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)
    tables = np.einsum("qmd,mcd->qmc", queries.reshape(len(queries), pq.M, pq.dsub), words)
    spans = np.ptp(tables, axis=2)
    step = np.maximum(spans.max(axis=1) / 255, spans.sum(axis=1) / 65535)
    return pq.M / 2 * step + 1e-5


def check_pairs(
    scores: np.ndarray, rows: np.ndarray, oracle: np.ndarray, allowed: list[set[int]], slack: np.ndarray
) -> None:
    """All allowed rows and no others, each with its oracle score, ordered by (score, row), then padding."""
    for q, expected in enumerate(allowed):
        n = len(expected)
        assert set(rows[q, :n].tolist()) == expected
        assert (rows[q, n:] == -1).all() and (scores[q, n:] == -np.inf).all()
        np.testing.assert_allclose(scores[q, :n], oracle[q, rows[q, :n]], rtol=0, atol=slack[q])
        order = list(zip((-scores[q, :n]).tolist(), rows[q, :n].tolist(), strict=True))
        assert order == sorted(order)


@quick
@given(
    codec=st.sampled_from(CODECS),
    n=st.integers(1, 300),
    m=st.integers(1, 9),
    width=st.integers(1, 3),
    lists=st.sampled_from(["", 1, 3, 50]),
    seed=st.integers(0, 99),
)
def test_full_probe_is_brute_force_over_the_decoded_vectors(tmp_path_factory, codec, n, m, width, lists, seed):
    vectors, queries = unit(n, m * width, seed), 3 * unit(5, m * width, seed + 1)
    path = build(tmp_path_factory.mktemp("full"), vectors, factory(codec, lists, m))
    store = FaissStore.open(path)
    assert store.tokens == n and 1 <= store.lists <= max(1, n // 39) and store.dim == m * width
    scores, rows = store.search(queries, n, store.lists)
    assert scores.dtype == np.float32 and rows.dtype == np.int64
    check_pairs(scores, rows, queries @ decoded(path, vectors).T, [set(range(n))] * 5, tolerance(path, queries))
    some, best = store.search(queries, max(1, n // 3), 10**6)
    np.testing.assert_array_equal(best, rows[:, : best.shape[1]])
    np.testing.assert_array_equal(some, scores[:, : best.shape[1]])


@quick
@given(
    codec=st.sampled_from(CODECS),
    n=st.integers(40, 400),
    nprobe=st.integers(1, 10),
    allowed=st.sampled_from([0, 1, 5, 0.5, None]),
    seed=st.integers(0, 99),
)
def test_probing_and_masking_are_brute_force_over_the_allowed_rows(tmp_path_factory, codec, n, nprobe, allowed, seed):
    vectors, queries = unit(n, DIM, seed), unit(3, DIM, seed + 1)
    path = build(tmp_path_factory.mktemp("mask"), vectors, factory(codec))
    store, index = FaissStore.open(path), faiss.read_index(str(path))
    mask = None
    if allowed is not None:
        mask = np.zeros(n, bool)
        count = allowed if isinstance(allowed, int) else int(allowed * n)
        mask[np.random.default_rng(seed).choice(n, count, replace=False)] = True
    index.make_direct_map()
    owner = faiss.vector_to_array(index.direct_map.array) >> 32  # FAISS packs (list, offset) into one number
    near = np.argsort(-(queries @ index.quantizer.reconstruct_n(0, index.nlist).T), axis=1)[:, :nprobe]
    reach = [{r for r in range(n) if owner[r] in lists and (mask is None or mask[r])} for lists in near]
    scores, rows = store.search(queries, n, nprobe, rows=mask)
    check_pairs(scores, rows, queries @ decoded(path, vectors).T, reach, tolerance(path, queries))


@pytest.mark.parametrize("codec", CODECS)
def test_one_allowed_row_comes_back_at_small_k(tmp_path, codec):
    vectors = unit(200, DIM, 0)
    store = FaissStore.open(build(tmp_path, vectors, factory(codec)))
    for row in (0, 77, 199):
        mask = np.zeros(200, bool)
        mask[row] = True
        scores, rows = store.search(-vectors[row : row + 1], 3, store.lists, rows=mask)
        assert rows.tolist() == [[row, -1, -1]] and np.isfinite(scores[0, 0]) and scores[0, 0] < 0


def test_fp16_codes_lose_only_their_rounding(tmp_path):
    vectors, queries = unit(300, 11, 0), unit(6, 11, 1)
    store = FaissStore.open(build(tmp_path, vectors, factory("SQfp16")))
    scores, rows = store.search(queries, 300, store.lists)
    # |residual| <= |x| + |centroid| = 2; float16 rounds each component by at most 2^-11 of itself.
    np.testing.assert_allclose(
        scores, np.take_along_axis(queries @ vectors.T, rows, axis=1), rtol=0, atol=2.0**-10 + 1e-6
    )


@pytest.mark.parametrize("codec", CODECS)
def test_ties_go_by_row_also_at_the_last_place(tmp_path, codec):
    vectors = np.repeat(unit(5, DIM, 0), 20, axis=0)[np.random.default_rng(1).permutation(100)]
    store = FaissStore.open(build(tmp_path, vectors, factory(codec, 2)))
    scores, rows = store.search(vectors[:1], 100, store.lists)
    same = np.flatnonzero((vectors == vectors[0]).all(axis=1))
    assert rows[0, :20].tolist() == same.tolist() and len(np.unique(scores[0, :20])) == 1
    for k in (1, 7, 19):
        assert store.search(vectors[:1], k, store.lists)[1].tolist() == [same[:k].tolist()]


@pytest.mark.parametrize("codec", CODECS)
def test_a_zero_query_scores_every_token_zero(tmp_path, codec):
    store = FaissStore.open(build(tmp_path, unit(150, DIM, 0), factory(codec)))
    scores, rows = store.search(np.zeros((2, DIM), np.float32), 150, store.lists)
    assert (scores == 0).all() and (rows == np.arange(150)).all()


@pytest.mark.parametrize("codec", CODECS)
def test_slices_and_threads_do_not_change_a_result(tmp_path, codec, monkeypatch):
    vectors, queries = unit(400, DIM, 0), unit(7, DIM, 1)
    store = FaissStore.open(build(tmp_path, vectors, factory(codec)))
    expected = store.search(queries, 50, 3)
    before = faiss.omp_get_max_threads()
    for pairs, threads in ((1, 1), (300, 1), (1 << 24, 2)):
        monkeypatch.setattr(faiss_store, "_PAIRS", pairs)
        scores, rows = store.search(queries, 50, 3, threads=threads)
        np.testing.assert_array_equal(rows, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=0, atol=1e-6)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("codec", CODECS)
def test_same_seed_same_bytes_for_any_threads_and_blocks(tmp_path, codec):
    vectors, params = unit(3000, DIM, 0), FaissParams(factory(codec), seed=5)
    one, two = (train(vectors, params, 3000, threads=threads) for threads in (1, 2))
    assert one == two
    assert one != train(vectors, FaissParams(factory(codec), seed=6), 3000, threads=1)
    files, progress = [], []
    for name, size, threads in (("a", 3000, 1), ("b", 701, 2)):
        blocks = [vectors[i : i + size] for i in range(0, 3000, size)]
        faiss_store.build(one, blocks, tmp_path / name, threads=threads, progress=progress.append)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    assert progress == [3000, 701, 1402, 2103, 2804, 3000]
    left, right = (FaissStore.open(tmp_path / "a").search(vectors[:4], 9, 5) for _ in range(2))
    np.testing.assert_array_equal(left, right)


def test_the_sample_is_capped_by_a_seeded_choice():
    vectors = unit(2000, DIM, 0)
    capped = FaissParams("IVF,SQ8", train_tokens=400, seed=1)
    chosen = np.sort(np.random.default_rng(1).choice(2000, 400, replace=False))
    assert train(vectors, capped, 2000, threads=1) == train(vectors[chosen], capped, 2000, threads=1)
    assert faiss.deserialize_index(np.frombuffer(train(vectors, capped, 2000, threads=1), np.uint8)).nlist == 400 // 39


@pytest.mark.parametrize("codec", CODECS)
def test_few_samples_lower_the_lists_and_none_are_refused(tmp_path, codec, capfd):
    params = FaissParams(factory(codec, 1024))
    for n, lists in ((1, 1), (38, 1), (39 * 7, 7)):
        index = faiss.deserialize_index(np.frombuffer(train(unit(n, DIM, 0), params, 10**6, threads=1), np.uint8))
        assert (index.nlist, index.ntotal, index.is_trained) == (lists, 0, True)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(FailedPrecondition, match="no token vectors"):
        train(np.empty((0, DIM), np.float32), params, 0)


def test_an_index_without_tokens_answers_with_nothing(tmp_path):
    codebook = train(unit(50, DIM, 0), FaissParams("IVF,SQ8"), 50, threads=1)
    faiss_store.build(codebook, [np.empty((0, DIM), np.float32)], tmp_path / "empty")
    store = FaissStore.open(tmp_path / "empty")
    scores, rows = store.search(unit(2, DIM, 0), 5, 1)
    assert store.tokens == 0 and scores.shape == rows.shape == (2, 0)


@given(tokens=st.integers(0, 10**9))
def test_the_list_count_follows_the_rule(tokens):
    rule = 2 ** math.floor(math.log2(16 * math.sqrt(tokens))) if tokens else 1
    assert list_count(FaissParams("IVF,SQ8"), tokens) == max(1, min(rule, tokens // 39))
    assert list_count(FaissParams("IVF1024,SQ8"), tokens) == max(1, min(1024, tokens // 39))


def test_sample_sizes():
    assert sample_size(FaissParams("IVF,SQ8"), 1000) == 1000
    assert sample_size(FaissParams("IVF64,SQ8"), 10**6) == 65_536
    assert sample_size(FaissParams("IVF1024,SQ8"), 10**6) == 256 * 1024
    assert sample_size(FaissParams("IVF1024,SQ8", train_tokens=500), 10**6) == 500


@pytest.mark.parametrize(
    ("spec", "bytes_"), [("IVF1024,PQ64x4fs", 32), ("IVF1,SQ8", 128), ("IVF,SQfp16", 256), ("IVF,PQ64", 64)]
)
def test_the_grammar_accepts_the_family(tmp_path, spec, bytes_):
    assert parse(spec, 128) == FaissParams(spec)
    assert FaissStore.open(build(tmp_path, unit(300, 128, 0), spec)).code_bytes == bytes_


@pytest.mark.parametrize(
    "spec", ["", "Flat", "IVF", "IVF,Flat", "IVF0,SQ8", "IVF-1,SQ8", "IVF,PQ0", "IVF,SQ4", "ivf,SQ8", "IVF,SQ8 "]
)
def test_the_grammar_refuses_all_else(spec):
    with pytest.raises(InvalidArgument, match=r"not one of IVF\[K\],SQfp16"):
        parse(spec, 128)


def test_refusals_name_the_remedy():
    with pytest.raises(InvalidArgument, match="drop the prefix"):
        parse("OPQ64,IVF,PQ64", 128)
    with pytest.raises(InvalidArgument, match="M = 60 must divide the dimension 128; near it: 8, 16, 32, 64"):
        parse("IVF,PQ60x4fs", 128)
    with pytest.raises(InvalidArgument, match="M = 5 must divide"):
        train(unit(9, DIM, 0), FaissParams("IVF,PQ5"), 9)
    with pytest.raises(InvalidArgument, match="seed is -1"):
        FaissParams("IVF,SQ8", seed=-1)
    with pytest.raises(InvalidArgument, match="train_tokens is 0"):
        FaissParams("IVF,SQ8", train_tokens=0)


def test_calls_out_of_bounds_are_refused(tmp_path):
    store, queries = FaissStore.open(build(tmp_path, unit(60, DIM, 0), "IVF,SQ8")), unit(2, DIM, 0)
    with pytest.raises(InvalidArgument, match="k_token is 0"):
        store.search(queries, 0, 1)
    with pytest.raises(InvalidArgument, match="nprobe is 0"):
        store.search(queries, 1, 0)
    with pytest.raises(InvalidArgument, match="threads is 0"):
        store.search(queries, 1, 1, threads=0)
    with pytest.raises(InvalidArgument, match=r"\(n, 12\)"):
        store.search(unit(2, DIM + 1, 0), 1, 1)
    for wrong in (np.ones(59, bool), np.arange(60)):
        with pytest.raises(InvalidArgument, match=r"\(60,\) bool"):
            store.search(queries, 1, 1, rows=wrong)
    with pytest.raises(InvalidArgument, match=r"\(n, 12\)"):
        faiss_store.build(train(queries, FaissParams("IVF,SQ8"), 2), [unit(3, DIM + 1, 0)], tmp_path / "wrong")


@pytest.mark.parametrize("codec", CODECS)
def test_a_truncated_or_garbled_file_is_data_loss(tmp_path, codec):
    path = build(tmp_path, unit(300, DIM, 0), factory(codec))
    whole = path.read_bytes()
    damaged = [whole[:size] for size in (0, 1, 4, 50, len(whole) // 2, len(whole) - 1)]
    # The type, the dimension, the number of tokens, the metric: bytes 0-3, 4-7, 8-15, 33-36.
    for position in (0, 3, 4, 8, 12, 33):
        damaged.append(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
    for bytes_ in [*damaged, b"not an index" * 99]:
        path.write_bytes(bytes_)
        with pytest.raises(DataLoss, match=r"tokens\.faiss"):
            FaissStore.open(path)
    path.unlink()
    with pytest.raises(DataLoss, match=r"tokens\.faiss"):
        FaissStore.open(path)


def test_foreign_indexes_and_broken_codebooks_are_data_loss(tmp_path):
    vectors = unit(300, DIM, 0)
    for spec, metric in (
        ("Flat", faiss.METRIC_INNER_PRODUCT),
        ("IVF2,Flat", faiss.METRIC_INNER_PRODUCT),
        ("IVF2,SQ8", faiss.METRIC_L2),
    ):
        index = faiss.index_factory(DIM, spec, metric)
        index.train(vectors)
        faiss.write_index(index, str(tmp_path / "foreign"))
        with pytest.raises(DataLoss, match="foreign contradicts itself"):
            FaissStore.open(tmp_path / "foreign")
    codebook = train(vectors, FaissParams("IVF,SQ8"), 300, threads=1)
    with pytest.raises(DataLoss, match="train again"):
        faiss_store.build(codebook[:-9], [vectors], tmp_path / "never")


def test_without_faiss_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(FailedPrecondition, match=r"plait\[faiss\]"):
        train(unit(9, DIM, 0), FaissParams("IVF,SQ8"), 9)
    with pytest.raises(FailedPrecondition, match=r"plait\[faiss\]"):
        FaissStore.open(tmp_path / "any")
    assert parse("IVF,SQ8", 7).factory == "IVF,SQ8"


def test_importing_the_adapter_imports_neither_faiss_nor_torch():
    code = "import sys, plait.index.late.faiss_store; print(sorted({'faiss', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("codec", CODECS)
def test_a_splice_is_what_a_build_would_write(tmp_path, codec):
    """Codes taken over from two indexes, in another order and without some tokens: the
    same bytes as coding them anew."""
    vectors = unit(400, DIM, 0)
    params = parse(factory(codec), DIM)
    codebook = train(vectors, params, 400)
    faiss_store.build(codebook, [vectors[:150]], tmp_path / "a")
    faiss_store.build(codebook, [vectors[150:]], tmp_path / "b")
    rng = np.random.default_rng(1)
    kept = rng.random(400) < 0.7
    moved = np.full(400, -1)
    moved[kept] = rng.permutation(int(kept.sum()))
    fast = codec.endswith("fs")
    done = faiss_merge.splice(codebook, [(tmp_path / "a", moved[:150]), (tmp_path / "b", moved[150:])], tmp_path / "c")
    assert done is not fast
    if fast:
        assert not (tmp_path / "c").exists()
        return
    wanted = np.empty((int(kept.sum()), DIM), np.float32)
    wanted[moved[kept]] = vectors[kept]
    faiss_store.build(codebook, [wanted], tmp_path / "d")
    assert (tmp_path / "c").read_bytes() == (tmp_path / "d").read_bytes()
    other = train(unit(400, DIM, 7), params, 400)
    assert not faiss_merge.splice(other, [(tmp_path / "a", moved[:150])], tmp_path / "e")


def test_a_file_that_cannot_be_written_is_an_oserror(tmp_path):
    codebook = train(unit(100, DIM, 0), parse(factory("SQ8"), DIM), 100)
    with pytest.raises(OSError, match="could not be written"):
        faiss_store.build(codebook, [unit(100, DIM, 0)], tmp_path / "no" / "folder")
