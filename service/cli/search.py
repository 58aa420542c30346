"""`plait search` and `plait info`: what a collection answers, and what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..terminal.console import err, out, print_json, show_explanation, show_hits
from ..terminal.describing import show_info
from ..terminal.opening import OnServer, connecting, open_index
from ..terminal.options import (
    Alpha,
    Candidates,
    Depth,
    Device,
    DeviceMemory,
    Elsewhere,
    Exact,
    Field,
    Filter,
    Fusion,
    Json,
    KToken,
    Lanes,
    MinIdf,
    Missing,
    Mode,
    Nprobe,
    QueryTerms,
    Scorer,
    TargetRecall,
    TermCandidates,
    Threads,
    Weights,
    one_question,
    read_filter,
    read_lanes,
    read_weights,
    search_parameters,
)

if TYPE_CHECKING:
    from ...retrieval.retriever import Retriever
    from ..client.remote import Remote


def register(app: typer.Typer) -> None:
    """Puts the commands on the command line."""
    app.command("search", context_settings={"allow_extra_args": True})(connecting(search))
    app.command("info")(connecting(info))


def search(
    context: typer.Context,
    collection: Annotated[Path, typer.Argument(help="A collection's folder.")],
    query: Annotated[str, typer.Argument(help="A question.")],
    k: Annotated[int, typer.Option("-k", help="Documents wanted.")] = 10,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which tokens made the best document's score.")
    ] = False,
    k_token: KToken = None,
    nprobe: Nprobe = None,
    candidates: Candidates = None,
    missing: Missing = None,
    target_recall: TargetRecall = None,
    mode: Mode = None,
    depth: Depth = None,
    fusion: Fusion = None,
    weights: Weights = None,
    lanes: Lanes = None,
    field: Field = None,
    scorer: Scorer = None,
    term_candidates: TermCandidates = None,
    query_terms: QueryTerms = None,
    min_idf: MinIdf = None,
    alpha: Alpha = None,
    exact: Exact = False,
    filter: Filter = None,
    encoder: Elsewhere = None,
    payloads: Annotated[bool, typer.Option(help="Fetch what the documents hold, or ids and scores alone.")] = True,
    server: OnServer = None,
    device: Device = "cpu",
    device_memory: DeviceMemory = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Search a collection."""
    one_question(context)
    choices = search_parameters(
        *(missing, exact, k_token, nprobe, candidates, target_recall, mode, depth, fusion, read_weights(weights)),
        *(read_lanes(lanes), field, scorer, term_candidates, query_terms, min_idf, alpha),
    )
    condition = read_filter(filter)
    if condition is not None:
        choices["filter"] = condition
    index = open_index(collection, server, encoder, device=device, device_memory=device_memory, threads=threads)
    hits = index.search(query, k, payloads=payloads, **choices)
    why = [hit.explain() for hit in (hits if as_json else hits[:1])] if explain else []
    if as_json:
        rows = [hit.as_json() for hit in hits]
        for row, one in zip(rows, why, strict=False):
            row["explanation"] = one.as_json()
        print_json({"query": query, "hits": rows})
    else:
        show_hits(hits)
    for note in [] if hits else _reasons(index, condition):
        err.print(f"plait: {note}", markup=False)
    for one in [] if as_json else why:
        out.print()
        show_explanation(one)


def info(
    collection: Annotated[Path, typer.Argument(help="A collection's folder.")],
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """What a collection holds, how it was made, what it weighs."""
    found = open_index(collection, server).info()
    if as_json:
        print_json(found)
        return
    show_info(found)


def _reasons(index: Retriever | Remote, condition: dict[str, Any] | None) -> list[str]:
    """Why a search may have found nothing, as far as that is plain."""
    if not index.count():
        return ["the collection holds no documents (a build is perhaps not finished)"]
    if condition is None:
        return []
    from ...index.filters.conditions import fields_of
    from ...index.filters.sql import parse

    return [
        f"no document has the field {name!r}, which the filter names"
        for name in fields_of(parse(condition))
        if not index.count({"exists": name})
    ]
