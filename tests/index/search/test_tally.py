"""The tally of a search: candidates as the plan was told, counted for the thread and block that asked."""

import threading
from pathlib import Path

import numpy as np
import plait.index.search.tally as under_test
import pytest

import plait

DIM = 16


@pytest.mark.parametrize("store", ["exact", "flat", "lists", "faiss:IVF4,SQfp16"])
def test_candidates_are_counted_where_a_plan_has_them(tmp_path: Path, store: str) -> None:
    if store.startswith("faiss"):
        pytest.importorskip("faiss", reason="the extra `faiss` is not installed")
    rng = np.random.default_rng(1)
    matrices = [rng.standard_normal((3, DIM)).astype(np.float32) for _ in range(600)]
    with plait.create(tmp_path / "c", encoder=None, dim=DIM, store=store) as index:
        index.add_tokens([str(i) for i in range(600)], plait.from_matrices(matrices))
        for queries in (1, 3):
            asked = plait.from_matrices([rng.standard_normal((4, DIM)).astype(np.float32) for _ in range(queries)])
            with under_test.tally() as summed, under_test.tally() as inner:
                index.search(asked, k=2, candidates=40, nprobe=64)
            # All 600 documents hold some of the k' best tokens, so each query has as many candidates as it may.
            assert inner.documents == (0 if store == "exact" else 40 * queries)
            assert (inner.seconds > 0) == (store != "exact")
            assert summed.documents == 0, "the inner block has it"


def test_threads_do_not_mix() -> None:
    counts: dict[int, int] = {}

    def work(number: int) -> None:
        with under_test.tally() as summed:
            for _ in range(number):
                with under_test.tallied(number):
                    pass
        counts[number] = summed.documents

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {n: n * n for n in range(1, 5)}
