"""The command line. Every command: `--json` prints one object on stdout; progress goes to stderr; exit codes 0, 1, 2."""

from __future__ import annotations

import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from ..eval import experiment
from ..eval.dataset import Dataset, open_dataset
from ..index.codecs import DEFAULT
from ..index.errors import InvalidArgument, NotFound, PlaitError
from ..index.terms import TERMS
from ..retrieval import places
from ..retrieval.corpus import open_corpus
from ..retrieval.encoder import EMBEDDED, EncoderOptions
from ..retrieval.freshness import at_once
from ..retrieval.indexing import Estimate, build
from ..retrieval.retriever import Retriever
from ..retrieval.term_side import named_fields, stored_fields
from . import doctor, explaining, importing, key_commands, serving, snapshot_commands, upkeep
from .console import bytes_text, err, out, print_json, progress, show_explanation, show_hits, show_info
from .opening import OnServer, open_index
from .options import (
    Alpha,
    Cache,
    Candidates,
    Defer,
    Depth,
    Device,
    DeviceMemory,
    Dim,
    DocumentLength,
    Elsewhere,
    Encoder,
    EncoderType,
    Exact,
    Expansion,
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
    Pool,
    Precision,
    Prune,
    QueryLength,
    QueryTerms,
    Quiet,
    Reduce,
    Scorer,
    Store,
    SystemName,
    TargetRecall,
    TermCandidates,
    TermsName,
    Threads,
    Vector,
    Weights,
    read_filter,
    read_lanes,
    read_weights,
    search_parameters,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def version_callback(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Multi-vector retrieval: build, search, explain and measure collections of token embeddings."""
    if version:
        out.print(metadata.version("plait"))
        raise typer.Exit()


@app.command("build")
def build_command(
    data: Annotated[
        str,
        typer.Argument(
            help="BEIR or MS MARCO folder; a .jsonl, .json, .tsv or .csv file (.gz) with id, text, perhaps title, and payload fields "
            "(a table without a header: id, text or id, title, text); - for .jsonl from stdin; or an ir_datasets id."
        ),
    ],
    collection: Annotated[Path, typer.Argument(help="Folder to make.")],
    system: SystemName = None,
    encoder: Encoder = EMBEDDED,
    pool: Pool = None,
    prune: Prune = None,
    reduce: Reduce = None,
    dim: Dim = None,
    terms: TermsName = None,
    vector: Vector = False,
    store: Store = "auto",
    precision: Precision = DEFAULT,
    query_length: QueryLength = None,
    document_length: DocumentLength = None,
    query_expansion: Expansion = None,
    dtype: EncoderType = None,
    device: Device = "cpu",
    threads: Threads = None,
    cache: Cache = None,
    restart: Annotated[bool, typer.Option("--restart", help="Drop what an interrupted build left.")] = False,
    defer: Defer = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode a corpus and build a collection. Run it again after an interruption: it goes on where it stopped."""
    settings = _settings(
        *(system, encoder, pool, prune, reduce, dim, terms, vector, store, precision),
        *(query_length, document_length, query_expansion, dtype),
    )
    machine = {"device": device, "threads": threads, "cache": cache}
    _, done = _build(data, collection, settings, machine, quiet, restart, defer=defer)
    if as_json:
        print_json(done)
    else:
        info = done["collection"]
        out.print(
            f"{collection}: {info['documents']:,} documents, {info['tokens']:,} tokens, {bytes_text(info['bytes']['total'])}"
            f" ({info['bytes_per_document']:,.0f} B per document)"
            + (f"; {info['pending']:,} wait for `plait encode {collection}`" if info["pending"] else "")
        )


@app.command("search")
def search_command(
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
    server: OnServer = None,
    device: Device = "cpu",
    device_memory: DeviceMemory = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Search a collection."""
    retriever = open_index(collection, server, encoder, device=device, device_memory=device_memory, threads=threads)
    choices = search_parameters(
        *(missing, exact, k_token, nprobe, candidates, target_recall, mode, depth, fusion, read_weights(weights)),
        *(read_lanes(lanes), field, scorer, term_candidates, query_terms, min_idf, alpha),
    )
    if filter:
        choices["filter"] = read_filter(filter)
    hits = retriever.search(query, k, **choices)
    why = [hit.explain() for hit in (hits if as_json else hits[:1])] if explain else []
    if as_json:
        rows = [hit.as_json() for hit in hits]
        for row, one in zip(rows, why, strict=False):
            row["explanation"] = one.as_json()
        print_json({"query": query, "hits": rows})
        return
    show_hits(hits)
    for one in why:
        out.print()
        show_explanation(one)


@app.command("info")
def info_command(
    collection: Annotated[Path, typer.Argument(help="A collection's folder.")],
    server: OnServer = None,
    as_json: Json = False,
) -> None:
    """What a collection holds, how it was made, what it weighs."""
    info = open_index(collection, server).info()
    if as_json:
        print_json(info)
        return
    show_info(info)


@app.command("eval")
def eval_command(
    data: Annotated[str, typer.Argument(help="BEIR or MS MARCO folder, or ir_datasets id.")],
    collection: Annotated[
        Path | None, typer.Option(help="Search this collection; otherwise one is built for the run.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Which qrels (default: test, or the only ones).")] = None,
    measures: Annotated[str | None, typer.Option(help="Comma-separated, as ir-measures names them.")] = None,
    run: Annotated[Path | None, typer.Option(help="Write a TREC run file (.gz compresses).")] = None,
    system: SystemName = None,
    encoder: Encoder = EMBEDDED,
    pool: Pool = None,
    prune: Prune = None,
    reduce: Reduce = None,
    dim: Dim = None,
    terms: TermsName = None,
    vector: Vector = False,
    store: Store = "auto",
    precision: Precision = DEFAULT,
    query_length: QueryLength = None,
    document_length: DocumentLength = None,
    query_expansion: Expansion = None,
    dtype: EncoderType = None,
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
    device: Device = "cpu",
    device_memory: DeviceMemory = None,
    threads: Threads = None,
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure a system on a test collection. --system bm25 gives the lexical baseline, lucene-bm25 Lucene's.

    lucene-impact has Lucene rank by the weights of what --terms names, in eight bits.
    """
    dataset = open_dataset(data, split)
    names = [m.strip() for m in measures.split(",")] if measures else []
    machine = {"device": device, "device_memory": device_memory, "threads": threads, "cache": cache}
    search = search_parameters(
        *(missing, exact, k_token, nprobe, candidates, target_recall, mode, depth, fusion, read_weights(weights)),
        *(read_lanes(lanes), field, scorer, term_candidates, query_terms, min_idf, alpha),
    )
    if system in ("bm25", "lucene-bm25"):
        report = experiment.evaluate_bm25(dataset, names, run, engine=system).as_json()
    elif system == "lucene-impact":
        if terms is None or len(terms) != 1:
            raise InvalidArgument("--system lucene-impact needs one sparse encoder: add --terms CHECKPOINT")
        lengths = {"query_length": query_length, "document_length": document_length}
        place = {"device": device, "threads": threads, "dtype": dtype, **lengths}
        report = experiment.evaluate_lucene_impacts(dataset, terms[0], names, run, **place).as_json()
    elif collection is not None:
        report = _evaluate(dataset, Retriever(collection, **machine), names, run, search, quiet)
    else:
        settings = _settings(
            *(system, encoder, pool, prune, reduce, dim, terms, vector, store, precision),
            *(query_length, document_length, query_expansion, dtype),
        )
        with tempfile.TemporaryDirectory(prefix="plait-eval-") as folder:
            retriever, built = _build(
                data, Path(folder) / "collection", settings, machine, quiet, measure=target_recall is not None
            )
            report = _evaluate(dataset, retriever, names, run, search, quiet)
            report["cpu_s"]["build"] = built["cpu_s"]
    if as_json:
        print_json(report)
        return
    for name, value in report["mean"].items():
        out.print(f"{name:>10}  {value:.4f}")
    size = f", {report['tokens']:,} tokens, {bytes_text(report['bytes'])}" if report["bytes"] else ""
    out.print(
        f"{report['dataset']}: {report['documents']:,} documents, {report['queries']:,} queries{size}, CPU s {report['cpu_s']}"
    )


explaining.register(app)
upkeep.register(app)
app.add_typer(key_commands.keys, name="keys")
app.add_typer(snapshot_commands.snapshots, name="snapshot")
serving.register(app)
doctor.register(app)
importing.register(app)


def main() -> None:
    """Runs the command line; a known error becomes one line on stderr and an exit code, never a stack trace."""
    try:
        app()
    except (PlaitError, OSError) as error:
        err.print(f"plait: {error}", style="red", markup=False)
        sys.exit(2 if isinstance(error, InvalidArgument | NotFound) else 1)


def _settings(
    system: str | None,
    encoder: str,
    pool: str | None,
    prune: list[str] | None,
    reduce: list[str] | None,
    dim: int | None,
    terms: list[str] | None,
    vector: bool,
    store: str,
    precision: str,
    query_length: int | None,
    document_length: int | None,
    query_expansion: int | None,
    dtype: str | None,
) -> dict[str, Any]:
    steps = [*(reduce or []), *(prune or []), *([f"pool:{pool}"] if pool and pool != "1" else [])]
    options = EncoderOptions(query_length, document_length, query_expansion, dtype=dtype)
    named = None if encoder == "none" else encoder
    sides = {"encoder": named, "options": options, "reduce": steps, "dim": dim, "terms": named_fields(terms or [])}
    return {"system": system, **sides, "vector": vector or None, "store": store, "precision": precision}


def _build(
    data: str,
    folder: Path,
    settings: dict[str, Any],
    machine: dict[str, Any],
    quiet: bool,
    restart: bool = False,
    measure: bool = True,
    defer: bool = False,
) -> tuple[Retriever, dict[str, Any]]:
    corpus = open_corpus(data)
    if defer:
        made = settings["terms"]
        makers = {TERMS: made} if isinstance(made, str) else made or {}
        at_once({**settings, "term_fields": {name: {"name": maker} for name, maker in makers.items()}})
    retriever = _create_or_resume(folder, settings, machine)

    def announce(expected: Estimate) -> None:
        if not quiet:
            err.print(
                f"{expected.documents:,} documents, about {expected.tokens:,} tokens: about {bytes_text(expected.bytes)} on disk,"
                f" {expected.seconds:,.0f} s to encode ({expected.tokens_per_s:,.0f} tokens/s)"
            )

    start = time.process_time()
    with progress(quiet) as report:
        done = build(retriever, corpus, report, announce, restart, measure, defer)
    cpu = round(time.process_time() - start, 2)
    return retriever, {**done, "cpu_s": cpu, "collection": retriever.info()}


def _create_or_resume(folder: Path, settings: dict[str, Any], machine: dict[str, Any]) -> Retriever:
    """A new collection, or the one an interrupted build began with the same settings."""
    if not (folder / "catalog.db").exists():
        return Retriever.create(folder, **settings, **machine)
    retriever = Retriever(folder, **machine)
    was, encoder = retriever.settings, retriever.settings["encoder"] or {}
    same = ("system", "dim")
    settings = {**settings, "system": settings["system"] or was["system"]}
    kept = retriever.collection
    made = {name: field["name"] for name, field in stored_fields(was).items()}
    other = {"terms": made[TERMS] if made.keys() == {TERMS} else made or None, "precision": kept.schema.precision}
    wanted = settings["terms"]
    wanted = (
        {n: places.kept(one) for n, one in wanted.items()}
        if isinstance(wanted, dict)
        else wanted and places.kept(wanted)
    )
    named = settings["encoder"] and places.kept(settings["encoder"])
    now = {k: settings[k] for k in (*same, *other)} | {"terms": wanted, "recipe": settings["reduce"], "encoder": named}
    then = {**{k: was[k] for k in same}, **other, "recipe": was["recipe"], "encoder": encoder.get("name")}
    lacking = settings["vector"] and not was.get("vector")
    if now != then or settings["store"] not in (kept.store, retriever.system.store) or lacking:
        raise InvalidArgument(f"{folder} was begun with other settings ({then}, {kept.store}); choose another folder")
    return retriever


def _evaluate(
    dataset: Dataset, retriever: Retriever, names: list[str], run: Path | None, search: dict[str, Any], quiet: bool
) -> dict[str, Any]:
    with progress(quiet) as show:
        return experiment.evaluate_retriever(dataset, retriever, names, run, show, **search).as_json()
