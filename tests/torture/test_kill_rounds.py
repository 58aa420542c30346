"""A few rounds of what `make torture ROUNDS=10000` does: kinds of collections that tests/index/disk/test_crash.py
leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest
from torture.kills import COUNTS, Kind, bm25, rounds


@pytest.mark.parametrize("kind", [Kind("auto", "int8", COUNTS), Kind("lists", "residual:2")], ids=str)
def test_rounds_of_kills_lose_nothing(tmp_path: Path, kind: Kind) -> None:
    seen = rounds(kind, 3, 5, tmp_path)
    assert not seen.violations, "\n".join(seen.told)
    assert seen.rounds == 3 and seen.reads > 0 and seen.acknowledged > 0


def test_bm25_is_told_from_other_formulas() -> None:
    from life import sparse

    documents = {seed: sparse(seed, COUNTS).rows for seed in range(12)}
    scores = bm25(documents, sparse(3, COUNTS).rows)
    assert scores and all(score > 0 for score in scores.values()) and len(set(scores.values())) > 1
