"""What can be known of an experiment before it begins: its measures, its run file, and
whether data and collection meet."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..index.collection import Collection
from ..index.errors import FailedPrecondition, InvalidArgument
from .dataset import Dataset
from .measure import parse_measures

_SPACES = (" ", "\t", "\n", "\r", "\v", "\f")


def depth_of(measures: Sequence[str], k: int | None = None) -> int:
    """Results needed for each query: k, or the deepest cut-off of the measures; 1,000 for a measure without one.

    Raises:
        InvalidArgument: an unknown measure; k below the cut-off of one.
        FailedPrecondition: ir-measures is not installed.
    """
    cuts = {str(measure): measure.params.get("cutoff") for measure in parse_measures(measures)}
    for name, cut in cuts.items():
        if k is not None and cut is not None and int(cut) > k:
            raise InvalidArgument(
                f"k is {k}, and {name} looks at {cut} results; give at least that, or another measure"
            )
    return k or max(int(1000 if cut is None else cut) for cut in cuts.values())


def check_run_file(path: Path) -> None:
    """FailedPrecondition: a run file cannot be written there."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise FailedPrecondition(f"the run cannot be written to {path}: there is no folder {folder}; make it first")
    if path.is_dir():
        raise FailedPrecondition(f"the run cannot be written to {path}: that is a folder; name a file")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise FailedPrecondition(f"the run cannot be written to {path}: permission denied; name a file elsewhere")


@dataclass(frozen=True)
class Meeting:
    """How the ids of a test collection and those of the documents that are searched go together."""

    documents: int
    judged: int
    """Documents that have a grade."""
    lacking: int
    """How many of these are not among the documents."""
    own: int
    """Judged queries whose id is a document's as well."""
    spaced: str | None
    """An id with white space in it, of a document or a query."""
    examples: tuple[str, str]
    """A judged id, and a document's."""


def of_corpus(dataset: Dataset) -> Meeting:
    """The ids of the data's own corpus, read once."""
    return _meeting(dataset, (document["id"] for document in dataset.corpus))


def of_collection(dataset: Dataset, collection: Collection) -> Meeting:
    """The ids of the documents in a collection."""
    with collection.catalog.reading() as view:
        rows = view.db.execute("SELECT id FROM documents WHERE number < ?", (view.meta("visible"),))
        return _meeting(dataset, (str(id) for (id,) in rows))


def check_meeting(met: Meeting, where: str, run: bool, skip_own: bool) -> list[str]:
    """What the user should know of it, one sentence each.

    Args:
        where: what is searched, by name.
        run: a run file shall be written.
        skip_own: a query's own document is left out.

    Raises:
        InvalidArgument: no judged document is there.
    """
    if met.lacking == met.judged:
        judged, held = met.examples
        raise InvalidArgument(
            f"none of the {met.judged:,} judged documents is among the {met.documents:,} of {where}: the qrels have ids "
            f"such as {judged!r}, it has {held!r}; give data and a collection with the same ids"
        )
    notes = []
    if met.lacking:
        notes.append(
            f"{met.lacking:,} of the {met.judged:,} judged documents are not among those of {where}; they count as not found"
        )
    if met.own and not skip_own:
        notes.append(
            f"{met.own:,} queries have the id of a document of {where}. BEIR leaves that document out of their results: "
            "--skip-own does so too"
        )
    if met.spaced is not None and run:
        notes.append(
            f"the id {met.spaced!r} holds white space, and a TREC run file's columns are separated by it: everything is "
            "measured, and no run will be written"
        )
    return notes


def _meeting(dataset: Dataset, ids: Iterable[str]) -> Meeting:
    judged = dict.fromkeys(id for grades in dataset.qrels.values() for id in grades)
    documents = found = own = 0
    example = ""
    spaced = next((id for id in dataset.queries if _spaced(id)), None)
    for id in ids:
        documents, example = documents + 1, example or id
        found += id in judged
        own += id in dataset.queries
        if spaced is None and _spaced(id):
            spaced = id
    return Meeting(documents, len(judged), len(judged) - found, own, spaced, (next(iter(judged)), example))


def _spaced(id: str) -> bool:
    return any(space in id for space in _SPACES)
