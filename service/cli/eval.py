"""`plait eval`: the quality of a system on a test collection, beside what it costs."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...index.errors import InvalidArgument
from ...retrieval.routes.options import SearchOptions
from ...retrieval.text.options import CollectionOptions
from ..terminal.console import bytes_text, err, out, print_json
from ..terminal.flags import flags
from ..terminal.making import differences
from ..terminal.options import Cache, Device, DeviceMemory, Json, Quiet, Threads
from ..terminal.progress import progress

if TYPE_CHECKING:
    from ...eval.checking import Meeting
    from ...eval.dataset import Dataset
    from ...eval.experiment import Report
    from ...retrieval.retriever import Retriever


@dataclass(frozen=True)
class Trial:
    """What is measured, and how it is shown."""

    dataset: Dataset
    measures: list[str]
    results: int
    """For each query."""
    run: Path | None
    skip_own: bool
    quiet: bool

    @property
    def options(self) -> dict[str, Any]:
        """What every evaluation takes."""
        return {"measures": self.measures, "results": self.results, "skip_own": self.skip_own}

    def check(self, met: Meeting, where: str) -> None:
        """Says what of the ids does not meet. InvalidArgument: nothing does."""
        from ...eval.checking import check_meeting

        _say(check_meeting(met, where, self.run is not None, self.skip_own))


_FLAGS = {"reduce": "--reduce (or --prune, --pool)"}
_BASELINES = ("bm25", "lucene-bm25", "lucene-impact")


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("eval")(flags(evaluate))


def evaluate(
    data: Annotated[str, typer.Argument(help="BEIR or MS MARCO folder, or ir_datasets id.")],
    collection: Annotated[
        Path | None, typer.Option(help="Search this collection; otherwise one is built for the run.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which qrels (default: test, or the only ones).")] = None,
    measures: Annotated[str | None, typer.Option(help="Comma-separated, as ir-measures names them.")] = None,
    run: Annotated[Path | None, typer.Option(help="Write a TREC run file (.gz compresses).")] = None,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="Results for each query (default: the deepest cut-off of the measures)."),
    ] = None,
    skip_own: Annotated[
        bool,
        typer.Option(
            "--skip-own", help="Leave a query's own document, that of its id, out of its results, as BEIR does."
        ),
    ] = False,
    raw_qrels: Annotated[
        bool,
        typer.Option(
            "--raw-qrels", help="Take quotes in BEIR's qrels as part of an id, where BEIR's reader drops them."
        ),
    ] = False,
    making: CollectionOptions = CollectionOptions(),
    options: SearchOptions = SearchOptions(),
    device: Device = "cpu",
    device_memory: DeviceMemory = None,
    threads: Threads = None,
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a system on a test collection. --system bm25 gives the lexical baseline, lucene-bm25 Lucene's.

    lucene-impact has Lucene rank by the weights of what --terms names, in eight bits. Everything that can be checked
    is checked before the first document is encoded.
    """
    from ...eval.checking import check_run_file, depth_of
    from ...eval.dataset import open_dataset
    from ...index.filters.sql import to_json
    from ...retrieval.routes.option import as_filter

    system = making.system
    if system in _BASELINES:
        making = replace(making, system=None)
    search = options.given()
    if options.filter is not None:
        search["filter"] = to_json(as_filter(options.filter))  # as the report shows it
    dataset = open_dataset(data, split, quoted=not raw_qrels)
    names = [name.strip() for name in measures.split(",")] if measures else [*dataset.measures]
    trial = Trial(dataset, names, depth_of(names, k), run, skip_own, quiet)
    if run is not None:
        check_run_file(run)
    machine = {"device": device, "threads": threads, "cache": cache}
    if system in _BASELINES:
        _refuse(system, search, making, collection)
        report = _baseline(trial, system, making, {"device": device, "threads": threads})
    elif collection is not None:
        report = _of_collection(trial, collection, making, {**machine, "device_memory": device_memory}, search)
    else:
        report = _of_new_one(trial, making, machine, search)
    _show(report, as_json)
    if run is not None:
        report.write_run(run)  # last, so that an id it cannot hold costs nobody the figures


def _of_collection(
    trial: Trial, folder: Path, making: CollectionOptions, machine: dict[str, Any], search: dict[str, Any]
) -> Report:
    from ...eval.checking import of_collection
    from ...retrieval.checks import check_search
    from ...retrieval.retriever import Retriever

    with Retriever(folder, **machine) as retriever:
        if other := differences(making, retriever, whole=False):
            raise InvalidArgument(
                f"{folder} is made already, and not so: {'; '.join(other)}. Leave these options out, or leave --collection "
                "out to build one for the run"
            )
        check_search(retriever, trial.results + trial.skip_own, search)
        trial.check(of_collection(trial.dataset, retriever.collection), str(folder))
        return _measured(trial, retriever, search)


def _of_new_one(trial: Trial, making: CollectionOptions, machine: dict[str, Any], search: dict[str, Any]) -> Report:
    from ...eval.checking import of_corpus
    from ...retrieval.checks import check_search
    from ..terminal.beginning import begun
    from .build import built

    with (
        tempfile.TemporaryDirectory(prefix="plait-eval-") as folder,
        begun(Path(folder) / "collection", making, machine) as retriever,
    ):
        check_search(retriever, trial.results + trial.skip_own, search)
        trial.check(of_corpus(trial.dataset), trial.dataset.name)
        done = built(retriever, trial.dataset.corpus, trial.quiet, measure="target_recall" in search)
        report = _measured(trial, retriever, search)
        report.cpu_s["build"] = done["cpu_s"]
        retriever.close()
        return report


def _measured(trial: Trial, retriever: Retriever, search: dict[str, Any]) -> Report:
    from ...eval import experiment

    with progress(trial.quiet) as show:
        return experiment.evaluate_retriever(trial.dataset, retriever, progress=show, **trial.options, **search)


def _baseline(trial: Trial, system: str, making: CollectionOptions, machine: dict[str, Any]) -> Report:
    from ...eval import experiment
    from ...eval.checking import of_corpus

    if system == "lucene-impact" and len(making.makers) != 1:
        raise InvalidArgument("--system lucene-impact needs one sparse encoder: add --terms CHECKPOINT")
    trial.check(of_corpus(trial.dataset), trial.dataset.name)
    if system != "lucene-impact":
        return experiment.evaluate_bm25(trial.dataset, engine=system, **trial.options)
    model = {name: getattr(making, name) for name in ("query_length", "document_length", "dtype")}
    (terms,) = making.makers
    return experiment.evaluate_lucene_impacts(trial.dataset, terms, **model, **machine, **trial.options)


def _refuse(system: str, search: dict[str, Any], making: CollectionOptions, collection: Path | None) -> None:
    """InvalidArgument: an option that this baseline does not look at."""
    heeded = ("terms", "query_length", "document_length", "dtype") if system == "lucene-impact" else ()
    given = [name for name in making.given() if name not in heeded]
    given += [*search, *(["collection"] if collection else [])]
    if given:
        shown = ", ".join(_FLAGS.get(name, f"--{name.replace('_', '-')}") for name in given)
        raise InvalidArgument(f"--system {system} is a baseline of its own and does not use {shown}; leave them out")


def _say(notes: list[str]) -> None:
    for note in notes:
        err.print(f"plait: {note}", markup=False)


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        print_json(report.as_json())
        return
    for name, value in report.mean.items():
        out.print(f"{name:>10}  {value:.4f}")
    tokens = f", {report.tokens:,} tokens" if report.tokens else ""
    size = f"{tokens}, {bytes_text(report.bytes)}" if report.bytes else ""
    out.print(
        f"{report.dataset}: {report.documents:,} documents, {report.queries:,} queries{size}, CPU s {report.cpu_s}"
    )
