"""FAISS on GPUs: what it cannot do is refused or done another way. The GPU itself: test_gpu.py."""

import numpy as np
import pytest

faiss = pytest.importorskip("faiss", reason="the extra `faiss` is not installed")

from plait.index.errors import FailedPrecondition, InvalidArgument  # noqa: E402
from plait.index.late import faiss_store  # noqa: E402
from plait.index.late.faiss_params import FaissParams  # noqa: E402
from plait.index.late.faiss_store import FaissStore, train  # noqa: E402
from test_faiss_store import DIM, build, factory, unit  # noqa: E402


def test_devices(tmp_path):
    vectors = unit(60, DIM, 0)
    path = build(tmp_path, vectors, factory("PQfs"))
    with pytest.raises(InvalidArgument, match="no fast scan on GPUs"):
        FaissStore.open(path, device="cuda:0")
    path = build(tmp_path, vectors, "IVF,SQ8")
    with pytest.raises(InvalidArgument, match="cpu or cuda:N"):
        FaissStore.open(path, device="tpu")
    number = faiss.get_num_gpus()
    with pytest.raises(FailedPrecondition, match=f"sees {number} GPUs"):
        FaissStore.open(path, device=f"cuda:{number}")
    with pytest.raises(FailedPrecondition, match="GPUs"):
        train(vectors, FaissParams("IVF,SQ8"), 60, device=f"cuda:{number}")


def test_a_gpu_takes_only_the_sub_vectors_it_is_compiled_for(tmp_path):
    vectors = unit(300, 50, 0)
    codebook = train(vectors, FaissParams("IVF2,PQ5"), 300, threads=1)
    faiss_store.build(codebook, [vectors], tmp_path / "pq5")
    with pytest.raises(InvalidArgument, match=r"PQ5; FAISS on GPUs takes M of 1, 2, 3, 4, 8"):
        FaissStore.open(tmp_path / "pq5", device="cuda:0")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_rows_are_sorted_out_after_a_gpu_search(tmp_path, monkeypatch, share):
    """The way of a GPU, with an index on the CPU in its place: the same hits as a search
    with a selector, or an error."""
    vectors, queries = unit(400, DIM, 0), unit(5, DIM, 1)
    path = build(tmp_path, vectors, "IVF4,SQ8")
    store, other = FaissStore.open(path), FaissStore.open(path)
    other._device = "cuda:0"
    rows = np.random.default_rng(2).random(400) < share
    for nprobe in (1, 4):
        wanted, got = (s.search(queries, 10, nprobe, rows=rows) for s in (store, other))
        np.testing.assert_array_equal(got[1], wanted[1])
        np.testing.assert_array_equal(got[0], wanted[0])
    monkeypatch.setattr(faiss_store, "_GPU_LIMIT", 12)
    with pytest.raises(InvalidArgument, match="k_token 13, nprobe 1: on a GPU at most 12"):
        other.search(queries, 13, 1)
    if share < 0.5:
        with pytest.raises(InvalidArgument, match=r"the best 12 tokens hold .* of the 10 allowed ones"):
            other.search(queries, 10, 4, rows=rows)
