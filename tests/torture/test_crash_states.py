"""A machine dies at any moment: what was acknowledged is there, and what was under way is there whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from torture import disk, recorder, states, traces
from torture.recorder import Event

MOST = {"service": 12}
"""Distinct states of one record. Each state of a server starts a server. `make torture` looks at more."""

pytestmark = pytest.mark.skipif(bool(recorder.available()), reason=recorder.available())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorder.build(tmp_path_factory.mktemp("recorder"))


@pytest.mark.parametrize("name", traces.NAMES)
def test_what_a_dead_machine_leaves_is_whole(library: Path, tmp_path: Path, name: str) -> None:
    trace = traces.trace(name, 0)
    events = states.recorded(library, trace, tmp_path / "record")
    found = states.explore(tmp_path / "record", trace, events, MOST.get(name, 80), enough=3)
    assert not found.violations, "\n\n".join(found.violations)
    assert found.states >= 0.8 * MOST.get(name, 80)


@pytest.mark.parametrize(
    ("forgotten", "where"),
    [
        ("c/*-wal", "upsert"),
        ("c/*.db", "reopen"),
        ("c/segment-*", "seal"),
        ("c", "seal"),
        ("*snapshot-*", "snapshot"),
        ("*restored-*", "restore"),
    ],
)
def test_a_disk_that_forgets_a_kind_of_sync_is_found_out(
    library: Path, tmp_path: Path, forgotten: str, where: str
) -> None:
    """The states show it when a sync does nothing, as they would if the program left the sync out."""
    trace = traces.trace("exact", 0)
    events = states.recorded(library, trace, tmp_path / "record")
    since = [name for name, _ in trace.operations].index(where)
    found = states.explore(tmp_path / "record", trace, events, 150, forgotten, 1, since)
    assert found.violations
    assert "again: " in found.violations[0]


def left(events: Sequence[Event], loss: str) -> list[disk.Image]:
    """What 50 draws leave of these events, each once."""
    model, images = disk.Disk(Path("/r"), 1), []
    for number, event in enumerate(events):
        model.take(number, event)
    for draw in range(50):
        if (image := model.left(loss, Random(draw))) not in images:
            images.append(image)
    return images


MADE = [Event("C", 2, 0, b"/r/a"), Event("W", 2, 0, b"x" * 600)]


def test_a_file_needs_its_own_sync_and_its_folders() -> None:
    bytes_kept, names_kept = Event("S", 2), Event("S", 1)
    whole = {"a": b"x" * 600}
    assert left([*MADE, bytes_kept, names_kept], "everything") == [whole]
    assert left([*MADE, bytes_kept], "everything") == [{}]
    assert left([*MADE, names_kept], "everything") == [{"a": b""}]
    assert left(MADE, "nothing") == [whole]


def test_of_what_was_not_synced_any_part_may_be_there() -> None:
    found = left([*MADE, Event("S", 1)], "some changes")
    assert {"a": b"x" * 600} in found and {"a": b"x" * 512} in found and {"a": bytes(512) + b"x" * 88} in found


def test_a_name_that_moves_is_in_one_place() -> None:
    events = [*MADE, Event("S", 2), Event("S", 1), Event("R", 0, 0, b"/r/a", b"/r/b")]
    for loss in disk.LOSSES:
        assert all(image in ({"a": b"x" * 600}, {"b": b"x" * 600}) for image in left(events, loss))
    assert len(left(events, "some changes")) == 2


def test_a_journal_keeps_the_order_of_names() -> None:
    events = [Event("C", 2, 0, b"/r/a"), Event("C", 3, 0, b"/r/b"), Event("C", 4, 0, b"/r/c")]
    assert {frozenset(image) for image in left(events, "journal")} == {
        frozenset(names) for names in ("", "a", "ab", "abc")
    }
    assert frozenset("c") in {frozenset(image) for image in left(events, "some changes")}
