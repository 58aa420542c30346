"""Several queries in one pass over a device, here torch's CPU: what each finds alone, with no more held than there is
room for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

from plait.device import flat, lists
from plait.device.placement import Placement, placement
from plait.index.collection import Collection
from plait.index.late import search
from plait.index.late.search import passes
from plait.index.params import Scoring, SearchParams
from plait.index.tokens import Tokens
from test_device import collection, found, inverted, made
from test_device_exact import near

LENGTHS = [4, 1, 32, 33, 64, 70, 5]
KINDS: list[tuple[Any, str, str]] = [(flat, "_SCORES", "document_scores"), (lists, "_GAINS", "list_gains")]


def alone(queries: Tokens, find: Callable[[Tokens], Any]) -> list[Any]:
    return [find(queries.take([q]))[0] for q in range(len(queries))]


def counted(monkeypatch: pytest.MonkeyPatch, kind: Any, name: str) -> list[int]:
    """Grows by one with each call of a function."""
    calls, function = [], getattr(kind, name)
    monkeypatch.setattr(kind, name, lambda *given, **named: calls.append(1) or function(*given, **named))
    return calls


@pytest.mark.parametrize(("kind", "bound", "scan"), KINDS)
@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize("share", [None, 0.5])
def test_queries_together_find_what_each_finds_alone(
    kind: Any, bound: str, scan: str, rows: bool, share: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(9)
    source = made(rng.integers(0, 20, 400).tolist(), 16, 9)
    placed = (
        flat.DeviceFlat(source, "cpu", rows) if kind is flat else lists.DeviceLists(inverted(source, 16), "cpu", rows)
    )
    queries, allowed = oracle.normal(rng, LENGTHS, 16), None if share is None else rng.random(400) < share

    def find(some: Tokens):
        return placed.search(some, 5, 30, allowed=allowed)

    wanted = alone(queries, find)
    groups_or_rows = 4 if kind is flat else 70
    for most, times in ((1, 7), (400 * groups_or_rows, None), (1 << 30, 1)):
        monkeypatch.setattr(kind, bound, most)
        calls = counted(monkeypatch, kind, scan)
        near(find(queries), wanted)
        assert len(calls) == times or (times is None and 1 < len(calls) < 7)
        monkeypatch.undo()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 20))
def test_passes_take_all_and_no_more_than_they_may(costs: list[int], most: int) -> None:
    ranges = list(passes(np.array(costs, np.int64), most))
    assert [q for first, last in ranges for q in range(first, last)] == [*range(len(costs))]
    for first, last in ranges:
        assert sum(costs[first:last]) <= most or last == first + 1
        assert last == len(costs) or sum(costs[first : last + 1]) > most, "one more would not fit"


@pytest.mark.parametrize("place", [None, Placement("cpu")])
@pytest.mark.parametrize("how", [{"scoring": Scoring("retrieved")}, {"exact": True}, {}], ids=str)
def test_collections_find_the_same_for_several_queries(
    tmp_path: Path, place: Placement | None, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection(tmp_path, "lists:8")
    queries = oracle.normal(np.random.default_rng(10), LENGTHS, 16)
    how = {"params": SearchParams(k_token=30, candidates=40), **how}
    with Collection(tmp_path, place=place) as opened, opened.snapshot() as snapshot:
        wanted = alone(queries, lambda some: snapshot.search(some, 5, **how))
        for matches, rows in ((1, 1), (30 * 40, 1 << 10), (1 << 20, 40), (1 << 20, 1 << 10)):
            monkeypatch.setattr(search, "_MATCHES", matches)
            monkeypatch.setattr(search, "_ROWS", rows)
            near(snapshot.search(queries, 5, **how), wanted)


def test_no_queries_find_nothing(tmp_path: Path) -> None:
    queries = collection(tmp_path, "lists:8").take([])
    for place in (None, Placement("cpu")):
        for how in ({}, {"exact": True}, {"scoring": Scoring("retrieved")}):
            assert found(tmp_path, queries, place, **how) == []


def test_collections_of_a_process_share_one_budget(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        queries = collection(tmp_path / name, "flat:8")
    whole = Placement("cpu")
    with Collection(tmp_path / "a", place=whole) as opened, opened.snapshot():
        each = whole.used
    place = Placement("cpu", int(1.5 * each))
    with Collection(tmp_path / "a", place=place) as first, first.snapshot() as a:
        assert place.used == each
        with Collection(tmp_path / "b", place=place) as second, second.snapshot() as b:
            assert each < place.used <= 1.5 * each, "the second has what the first leaves"
            near(b.search(queries, 5), a.search(queries, 5))


def test_a_process_has_one_placement_for_a_device_and_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert placement("cuda", 5) is placement("cuda:0", 5) is not None
    assert placement("cuda:0", 5) is not placement("cuda:0", 6)
    assert placement("cuda:0", 5) is not placement("cuda:1", 5)
