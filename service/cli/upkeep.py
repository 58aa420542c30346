"""Commands on a living collection: add, encode, delete, fields, compact, calibrate, check, stats."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ...index.errors import InvalidArgument
from ..terminal.console import err, out, print_json
from ..terminal.describing import show_calibration, show_info
from ..terminal.opening import OnServer, connected, connecting, open_index
from ..terminal.options import Defer, Device, Elsewhere, Filter, Folder, Json, Quiet, Threads, read_filter
from ..terminal.progress import progress


def register(app: typer.Typer) -> None:
    """Puts these commands on the command line."""
    for command in (add, encode, delete, fields, compact, calibrate, check, stats):
        app.command(command.__name__)(connecting(command))


def add(
    collection: Folder,
    data: Annotated[str, typer.Argument(help="Documents, as for build.")],
    defer: Defer = False,
    encoder: Elsewhere = None,
    server: OnServer = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Add documents to a collection, replacing those that are there under the same id.
    Each batch is durable and visible."""
    from ...retrieval.corpus import open_corpus, repeated, survey

    corpus = open_corpus(data)
    surveyed = survey(corpus, 0)
    if surveyed.repeats and (error := repeated(corpus)):
        raise error
    total = surveyed.documents
    with (
        open_index(collection, server, encoder, device=device, threads=threads) as retriever,
        progress(quiet) as report,
    ):

        def counted() -> Iterator[dict[str, Any]]:
            for number, document in enumerate(corpus, 1):
                yield document
                if number % 256 == 0 or number == total:
                    report("add", number, total)

        done = retriever.upsert(counted(), defer=defer).count
        seq, count = retriever.seq, retriever.count()
    if as_json:
        print_json({"written": done, "documents": count, "seq": seq})
    else:
        out.print(f"{done:,} written, {count:,} documents")


def encode(
    collection: Folder,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many documents at most (default: all that wait).")
    ] = None,
    encoder: Elsewhere = None,
    server: OnServer = None,
    device: Device = "cpu",
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute what `--defer` left out, the longest waiting first. Each batch is durable: a
    run that was killed goes on."""
    with (
        open_index(collection, server, encoder, device=device, threads=threads) as retriever,
        progress(quiet) as report,
    ):
        done = retriever.encode_pending(limit, partial(report, "encode"))
        left = retriever.info()["pending"]
    if as_json:
        print_json({"encoded": done.count, "pending": left, "seq": done.seq})
    else:
        out.print(f"{done.count:,} encoded, {left:,} wait")


def delete(
    collection: Folder,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of documents.")] = None,
    filter: Filter = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Delete documents by id, or all that satisfy a filter. Ids that are not there are ignored."""
    if bool(ids) == bool(filter):
        raise InvalidArgument("give either ids or --filter")
    with open_index(collection, server) as retriever:
        done = retriever.delete(ids or None, read_filter(filter), dry_run)
    if as_json:
        print_json({"deleted" if not dry_run else "would_delete": done.count, "seq": done.seq})
    else:
        out.print(f"{done.count:,} {'would be ' if dry_run else ''}deleted")


def fields(
    collection: Folder,
    names: Annotated[list[str] | None, typer.Argument(help="Keys of payloads, joined by dots.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Keep no index.")] = False,
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """Say which payload fields have an index, so that filters on them are fast; with names, make it these alone."""
    if names and none:
        raise InvalidArgument("give either names or --none")
    with open_index(collection, server, policy=None) as retriever:
        if names or none:
            retriever.collection.index_fields(names or [])
            for name in names or []:
                if not retriever.count({"exists": name}):
                    err.print(f"plait: no document has the field {name!r} now", markup=False)
        found = retriever.collection.stats()["fields"]
    if as_json:
        print_json({"fields": found})
    else:
        out.print(", ".join(found) or "none", markup=False)


def compact(
    collection: Folder,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train the FAISS codebook anew (when drift has grown).")
    ] = False,
    server: OnServer = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Merge everything into one segment without the dead."""
    with open_index(collection, server, threads=threads, policy=None) as retriever:
        before = retriever.collection.stats()
        retriever.collection.compact(retrain)
        after = retriever.collection.stats()
    if as_json:
        print_json({"before": before, "after": after})
    else:
        shown = [
            f"{len(s['segments'])} segments, {s['dead']:,} dead, {s['bytes']['total']:,} bytes" for s in (before, after)
        ]
        out.print(" -> ".join(shown))


def calibrate(
    collection: Folder,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries like those that will be asked: .jsonl, .json, .tsv or .csv with `text`, or one a line."
        ),
    ] = None,
    depths: Annotated[str, typer.Option("-k", help="Depths to measure.")] = "10,100",
    encoder: Elsewhere = None,
    server: OnServer = None,
    threads: Threads = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure recall and time of search parameters against exact search, so that searches may ask for a recall."""
    from ...retrieval.corpus import read_queries

    texts = None if queries is None else read_queries(queries)
    with open_index(collection, server, encoder, threads=threads, policy=None) as retriever, progress(quiet) as report:
        before = _measured(retriever.info()["recall"])
        found = retriever.calibrate(texts, _depths(depths), partial(report, "measure"))
    if gone := before - _measured(found.to_json()):
        kept = ",".join(str(k) for k in sorted(before | set(_depths(depths))))
        err.print(
            f"plait: what was measured before for k = {', '.join(map(str, sorted(gone)))} is replaced; `-k {kept}` measures all"
        )
    if as_json:
        print_json(found.to_json())
    else:
        show_calibration(found)


def check(collection: Folder, server: OnServer = None, as_json: Json = False) -> None:
    """Compare every checksum and every invariant; name what is damaged. Exit code 1 when something is."""
    from ...index.reading.check import check_collection

    problems = connected(server).open(str(collection)).check() if server else check_collection(collection)
    if as_json:
        print_json({"ok": not problems, "problems": problems})
    for problem in [] if as_json else problems:
        err.print(problem, markup=False)
    if problems:
        raise typer.Exit(1)
    if not as_json:
        out.print("all is well")


def stats(collection: Folder, server: OnServer = None, as_json: Json = False) -> None:
    """Counts, bytes, fresh and dead documents, segments and their drift."""
    with open_index(collection, server) as retriever:
        found = retriever.collection.stats()
    if as_json:
        print_json(found)
        return
    show_info(found)


def _measured(recall: dict[str, Any] | None) -> set[int]:
    """The depths of a calibration, as `info` has it."""
    sides = (recall, recall.get("terms")) if recall else ()
    return {int(point["k"]) for side in sides if side for point in side["points"]}


def _depths(text: str) -> list[int]:
    try:
        return [int(k) for k in text.split(",")]
    except ValueError:
        raise InvalidArgument(f"-k {text!r} is no list of numbers; write for example 10,100") from None
