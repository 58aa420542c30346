"""Work stops between its steps when it is told to: in SQLite, in the loops of a search, in encoders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plait.index.catalog.schema import TermField
from plait.index.collection import Collection
from plait.index.errors import InvalidArgument
from plait.index.filters.conditions import MAX_ALL_VALUES, MAX_NODES, MAX_VALUES
from plait.index.filters.sql import In, Not, Or, Range, compile, parse
from plait.index.params import SearchParams
from plait.index.stopping import current_check, look, steps, stopping
from plait.index.terms import Terms
from plait.index.tokens import Tokens, from_matrices
from scipy.sparse import csr_array

import plait

DIM, COUNT = 8, 60


class Stop(Exception):
    pass


class Looks:
    """Raises `Stop` at the n-th look."""

    def __init__(self, stop_at: float = float("inf")):
        self.count, self._stop_at = 0, stop_at

    def __call__(self) -> None:
        self.count += 1
        if self.count >= self._stop_at:
            raise Stop


def test_a_check_holds_within_its_block_and_its_thread() -> None:
    look()
    assert current_check() is None
    outer, inner = Looks(), Looks(stop_at=3)
    with stopping(outer):
        with stopping(inner), pytest.raises(Stop):
            for _ in steps(range(9)):
                pass
        look()
        assert current_check() is outer
    assert (outer.count, inner.count) == (1, 3) and current_check() is None


@pytest.fixture(scope="module", params=["exact", "flat:8", "lists:8"])
def collection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path, rng = tmp_path_factory.mktemp("c"), np.random.default_rng(3)
    Collection.create(path, DIM, request.param, terms=TermField(), vector=4).close()
    with Collection(path, threads=1) as made:
        for batch in range(2):
            tokens = from_matrices([rng.standard_normal((5, DIM)).astype(np.float16) for _ in range(COUNT)])
            whole = rng.standard_normal((COUNT, 4)).astype(np.float16)
            tokens = Tokens(tokens.vectors, tokens.offsets, globals_=whole)
            made.live.upsert([f"{batch}-{i}" for i in range(COUNT)], tokens, terms=terms(rng, COUNT))
            made.seal()
        yield made


def terms(rng: np.random.Generator, rows: int) -> Terms:
    weights = rng.random((rows, 5)).astype(np.float32)
    return Terms(
        csr_array((weights.ravel(), np.tile(np.arange(5), rows), 5 * np.arange(rows + 1)), shape=(rows, 1 << 32))
    )


@pytest.mark.parametrize("way", ["search", "search_terms", "search_vectors", "search_added", "score_tokens"])
def test_a_search_looks_between_its_steps(collection: Any, way: str) -> None:
    """At least once for each query or segment, and it stops at any of these looks; else
    it finds what it always found."""
    rng, queries = np.random.default_rng(5), 4
    vectors = from_matrices([rng.standard_normal((3, DIM)).astype(np.float32) for _ in range(queries)])
    wholes, sparse = rng.standard_normal((queries, 4)).astype(np.float32), terms(rng, queries)
    calls: dict[str, Any] = {
        "search": lambda s: s.search(vectors, 5, params=SearchParams(k_token=20, nprobe=2, candidates=20)),
        "search_terms": lambda s: s.search_terms(sparse, 5),
        "search_vectors": lambda s: s.search_vectors(wholes, 5),
        "search_added": lambda s: s.search_added(sparse, wholes, 5),
        "score_tokens": lambda s: s.score_tokens(vectors.take([0]), np.arange(2 * COUNT)),
    }
    call = calls[way]
    with collection.snapshot() as snapshot:
        plain, looks = call(snapshot), Looks()
        with stopping(looks):
            seen = call(snapshot)
        assert looks.count >= 2
        for a, b in zip(plain, seen, strict=True):
            assert np.array_equal(getattr(a, "docs", a), getattr(b, "docs", b))
        for stop_at in range(1, looks.count + 1):
            with stopping(Looks(stop_at)), pytest.raises(Stop):
                call(snapshot)


def test_a_query_of_sqlite_stops(tmp_path: Path) -> None:
    """A filter that looks a million times at values is told to stop at its third look."""
    with plait.create(tmp_path / "c", encoder=None, dim=2) as index:
        tokens = from_matrices([np.ones((1, 2), np.float16)] * 2_000)
        index.upsert_tokens([f"d{i}" for i in range(2_000)], tokens, [{"s": f"value {i}"} for i in range(2_000)])
        slow, looks = Or(*[Range("s", gt=f"x{i}") for i in range(200)]), Looks(stop_at=3)
        with stopping(looks), pytest.raises(Stop):
            index.count(slow)
        assert index.count() == 2_000 and index.count(slow) == 0


def test_an_encoder_looks_between_its_texts() -> None:
    pytest.importorskip("onnxruntime")
    from plait.retrieval.encoders.load import load_encoder

    encoder, looks = load_encoder("minilm"), Looks(stop_at=4)
    with stopping(looks), pytest.raises(Stop):
        encoder.encode_documents(["bread"] * 9)


def test_a_batch_of_several_callers_is_not_stopped_for_one() -> None:
    from plait.service.hosting.batcher import Batcher

    def encode(_: Any, texts: list[str]) -> list[str]:
        return list(steps(texts))

    with stopping(Looks(stop_at=1)):
        assert Batcher(encode)("key", "text") == "text"


def test_all_values_of_a_filter_have_a_bound() -> None:
    def lists(count: int, values: int) -> Or:
        return Or(*[In("s", tuple(f"{i}-{j}" for j in range(values))) for i in range(count)])

    whole = MAX_ALL_VALUES // MAX_VALUES
    compile(lists(whole, MAX_VALUES))
    compile(Not(lists(MAX_NODES - 2, MAX_ALL_VALUES // (MAX_NODES - 2))))
    for more in (lists(whole + 1, MAX_VALUES), Or(lists(whole, MAX_VALUES), In("s", ("one",)))):
        with pytest.raises(InvalidArgument, match=f"{MAX_ALL_VALUES:,}"):
            compile(more)
    with pytest.raises(InvalidArgument, match="hold"):
        parse({"or": [{"in": {"s": list(range(MAX_VALUES))}} for _ in range(whole + 1)]})
