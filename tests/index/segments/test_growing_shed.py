"""What memory keeps of fresh documents that are rewritten again and again, against what a new reader loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from plait.index.collection import Collection
from plait.index.tokens import from_matrices


def test_rewritten_documents_leave_memory_before_they_are_sealed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    query = from_matrices([rng.integers(-4, 5, (3, 5)).astype(np.float32)])
    with Collection.create(tmp_path / "c", 5) as collection:
        for turn in range(30):
            # Whole numbers: sums are exact in any order. Different ids at different rates, one document without tokens,
            # some deleted for good.
            ids = [f"d{i}" for i in range(turn % 7 + 1)]
            rows = [rng.integers(-4, 5, (i % 4, 5)).astype(np.float32) for i in range(len(ids))]
            collection.live.upsert(ids, from_matrices(rows, 5), durable=False)
            if turn % 5 == 0:
                collection.live.delete(ids[-1:], durable=False)
            if turn == 16:
                collection.seal()
            with collection.snapshot() as snapshot, Collection(tmp_path / "c") as other, other.snapshot() as anew:
                state = snapshot.state
                held = sum(len(s.documents) for s in state.fresh)
                assert held <= 2 * len(collection) + len(ids)
                assert len(state.dead) <= held
                (mine,), (theirs,) = snapshot.search(query, 20), anew.search(query, 20)
                assert mine.docs.tolist() == theirs.docs.tolist() and mine.scores.tolist() == theirs.scores.tolist()
                assert [d.id for d in snapshot.documents(mine.docs)] == [d.id for d in anew.documents(theirs.docs)]
