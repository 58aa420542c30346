"""`plait build`: a corpus becomes a collection, and an interrupted build goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...retrieval.text.options import CollectionOptions
from ..terminal.console import bytes_text, err, out, print_json
from ..terminal.describing import show_frontier
from ..terminal.flags import flags
from ..terminal.options import Cache, Defer, Device, Json, Quiet, Threads
from ..terminal.progress import progress

if TYPE_CHECKING:
    from ...retrieval.corpus import Corpus
    from ...retrieval.offline.build import Estimate
    from ...retrieval.retriever import Retriever

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""


def register(app: typer.Typer) -> None:
    """Puts the command on the command line."""
    app.command("build")(flags(build))


def build(
    data: Annotated[
        str,
        typer.Argument(
            help="BEIR or MS MARCO folder; a .jsonl, .json, .tsv or .csv file (.gz) with id, text, perhaps title, and payload fields "
            "(a table without a header: id, text or id, title, text); - for .jsonl from stdin; or an ir_datasets id."
        ),
    ],
    collection: Annotated[Path, typer.Argument(help="Folder to make.")],
    making: CollectionOptions = CollectionOptions(),
    device: Device = "cpu",
    threads: Threads = None,
    cache: Cache = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop what an interrupted build left, and begin anew.")
    ] = False,
    defer: Defer = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode a corpus and build a collection. Run it again after an interruption: it goes on where it stopped."""
    from ...retrieval.corpus import open_corpus
    from ..terminal.beginning import begun

    corpus = open_corpus(data)
    if defer:
        _check_defer(making)
    machine = {"device": device, "threads": threads, "cache": cache}
    try:
        with begun(collection, making, machine, restart) as retriever:
            done = built(retriever, corpus, quiet, restart, defer=defer)
    except KeyboardInterrupt:
        _say_stopped(collection)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(done)
        return
    info = done["collection"]
    out.print(
        f"{collection}: {info['documents']:,} documents, {info['tokens']:,} tokens, {bytes_text(info['bytes']['total'])}"
        f" ({info['bytes_per_document']:,.0f} B per document)"
        + (f"; {info['pending']:,} wait for `plait encode {collection}`" if info["pending"] else "")
    )
    show_frontier(retriever.collection.calibration)


def built(
    retriever: Retriever,
    corpus: Corpus,
    quiet: bool,
    restart: bool = False,
    measure: bool = True,
    defer: bool = False,
) -> dict[str, Any]:
    """Fills a collection, and shows the estimate and the progress unless `quiet`.
    Returns what `build --json` prints."""
    from ...retrieval.offline import build as indexing

    start = time.process_time()
    with progress(quiet) as report:
        announce = None if quiet else _announce
        done = indexing.build(retriever, corpus, report, announce, restart, measure, defer)
    cpu = round(time.process_time() - start, 2)
    return {**done, "cpu_s": cpu, "collection": retriever.info()}


def _check_defer(making: CollectionOptions) -> None:
    """InvalidArgument: nothing of this collection can be made later."""
    from ...index.terms import TERMS
    from ...retrieval.text.freshness import at_once

    makers = {TERMS: making.terms} if isinstance(making.terms, str) else making.terms or {}
    fields = {name: {"name": maker} for name, maker in makers.items()}
    at_once({**making.settings(), "terms": None, "term_fields": fields})


def _announce(expected: Estimate) -> None:
    """What the build will cost, and what an interrupted one has behind it."""
    about = f"{expected.documents:,} documents"
    if expected.tokens:
        about += f", about {expected.tokens:,} tokens"
    rate = f" ({expected.tokens_per_s:,.0f} tokens/s)" if expected.tokens else ""
    err.print(f"{about}: about {bytes_text(expected.bytes)} on disk, {expected.seconds:,.0f} s to encode{rate}")
    if expected.coded:
        err.print("then come learning the codes and measuring recall, which take their own time")
    if expected.there:
        err.print(f"{expected.there:,} of {expected.documents:,} documents were there already; the build goes on")


def _say_stopped(collection: Path) -> None:
    """At which document an interrupted build stopped, and how it goes on."""
    from ...index.catalog.catalog import FILE
    from ...index.collection import Collection

    if not (collection / FILE).exists():
        err.print("stopped before the first document; nothing was kept")
        return
    with Collection(collection) as stopped, stopped.catalog.reading() as view:
        count = view.staged or view.count()
    err.print(
        f"stopped: {count:,} documents are kept in {collection}; the same command goes on from there", markup=False
    )
