"""One experiment: search a test collection, measure, and report the quality beside what it cost."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..index.errors import InvalidArgument
from ..index.hits import Hits
from ..index.kernels.vectors import simd_level
from ..index.term_rows import from_terms
from ..retrieval.corpus import document_text
from ..retrieval.retriever import Retriever
from ..retrieval.sparse.analyzer import words
from ..retrieval.text.term_side import load_terms
from . import bm25, lucene
from .checking import depth_of
from .dataset import Dataset
from .measure import Run, evaluate, write_run

_QUERIES = 64
"""Queries searched in one call."""


@dataclass(frozen=True)
class Report:
    """What an experiment found; `as_json` is what `plait eval --json` prints."""

    dataset: str
    system: dict[str, Any]
    """Every parameter that the result depends on."""
    mean: dict[str, float]
    per_query: dict[str, dict[str, float]] = field(repr=False)
    documents: int
    """Those that were searched."""
    queries: int
    tokens: int | None
    bytes: int | None
    cpu_s: dict[str, float]
    """CPU seconds of all threads: `open` (and verify), `encode` (the queries), `search`; `build` where it was built."""
    versions: dict[str, str]
    run: Run = field(repr=False)
    """Every query's results."""

    def as_json(self) -> dict[str, Any]:
        """Everything but the results, which are a run file's."""
        return {name: value for name, value in vars(self).items() if name != "run"}

    def write_run(self, path: Path) -> None:
        """Writes the results as a TREC run file. InvalidArgument: an id holds white space."""
        write_run(path, self.run, f"plait-{self.system['system']}")


def evaluate_retriever(
    dataset: Dataset,
    retriever: Retriever,
    measures: Sequence[str] = (),
    run_file: Path | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    *,
    results: int | None = None,
    skip_own: bool = False,
    **search: Any,
) -> Report:
    """Searches the dataset's judged queries in a collection that holds its corpus.

    Args:
        measures: ir-measures names; empty: the dataset's customary ones. The deepest cut-off is the depth searched.
        run_file: where to write the TREC run.
        results: results for each query, where the measures' cut-offs shall not say it.
        skip_own: leave a query's own document, that of its id, out of its results, as BEIR does.
        **search: search parameters as in `Retriever.search`.
    """
    names = list(measures) or list(dataset.measures)
    depth = depth_of(names, results)
    wanted = depth + skip_own
    ids, texts = list(dataset.queries), list(dataset.queries.values())
    run: dict[str, list[tuple[str, float]]] = {}
    start = time.process_time()
    with retriever.collection.snapshot():
        # Opening verifies every segment: not a cost of searching.
        cpu = {"open": time.process_time() - start, "encode": 0.0, "search": 0.0}
    for first in range(0, len(ids), _QUERIES):
        some = slice(first, first + _QUERIES)
        start = time.process_time()
        queries = retriever.encode(texts[some], **search)
        encoded = time.process_time()
        found = retriever.search(queries, wanted, **search)
        cpu["encode"] += encoded - start
        cpu["search"] += time.process_time() - encoded
        run |= {q: [(h.id, h.score) for h in hits] for q, hits in zip(ids[some], found, strict=True)}
        if progress:
            progress("search", min(first + _QUERIES, len(ids)), len(ids))
    info = retriever.info()
    system = {k: info[k] for k in ("system", "store", "recipe", "dim", "encoder", "term_encoder")}
    system |= {"k": depth, **vars(retriever.system.params), **vars(retriever.system.scoring), **search}
    if skip_own:
        run = _without_own(run, depth)
    size = info["tokens"], info["bytes"]["total"]
    return _report(dataset, names, run, run_file, system, cpu, len(retriever), *size)


def evaluate_bm25(
    dataset: Dataset,
    measures: Sequence[str] = (),
    run_file: Path | None = None,
    k1: float = 1.2,
    b: float = 0.75,
    engine: str = "bm25",
    *,
    results: int | None = None,
    skip_own: bool = False,
) -> Report:
    """The lexical baseline on the same dataset: by bm25s (`bm25`), or by Lucene over the same terms (`lucene-bm25`)."""
    names = list(measures) or list(dataset.measures)
    depth = depth_of(names, results)
    wanted = depth + skip_own
    texts, asked = [document_text(d) for d in dataset.corpus], list(dataset.queries.values())
    start = time.process_time()
    if engine == "bm25":
        index = bm25.build(texts, k1=k1, b=b)
        built = time.process_time()
        hits = bm25.search(index, asked, wanted)
    else:
        terms = words(texts)
        built = time.process_time()
        hits = lucene.bm25(terms, words(asked), wanted, k1=k1, b=b)
    cpu = {"build": built - start, "search": time.process_time() - built}
    system = {"system": engine, "k1": k1, "b": b, "k": depth}
    run = _named(dataset, hits)
    return _report(
        dataset, names, _without_own(run, depth) if skip_own else run, run_file, system, cpu, len(texts), None, None
    )


def evaluate_lucene_impacts(
    dataset: Dataset,
    terms: str,
    measures: Sequence[str] = (),
    run_file: Path | None = None,
    *,
    query_length: int | None = None,
    document_length: int | None = None,
    dtype: str | None = None,
    device: str = "cpu",
    threads: int | None = None,
    results: int | None = None,
    skip_own: bool = False,
) -> Report:
    """A sparse encoder's weights as impacts of eight bits, ranked by Lucene.

    Args:
        terms: what makes them, as in `load_terms`; one row of positive weights for each text.
        query_length, document_length, dtype, device, threads: as in `load_terms`.

    Raises:
        InvalidArgument: `bm25`, whose stored weights are counts; an encoder with a row per token.
        FailedPrecondition: as in `lucene.bm25`.
    """
    names = list(measures) or list(dataset.measures)
    depth = depth_of(names, results)
    side = load_terms(terms, query_length, document_length, dtype, device=device, threads=threads)
    if side.bm25:
        raise InvalidArgument(f"{terms} counts words; --system lucene-bm25 ranks by it")
    start = time.process_time()
    # Queries first: a row per token is refused before the corpus is encoded.
    queries = lucene.quantised(from_terms(side.queries(list(dataset.queries.values()))), each=True)
    encoded = time.process_time()
    texts = [document_text(d) for d in dataset.corpus]
    documents = lucene.quantised(from_terms(side.documents(texts)))
    built = time.process_time()
    hits = lucene.impacts(documents, queries, depth + skip_own)
    cpu = {"build": built - encoded, "encode": encoded - start, "search": time.process_time() - built}
    system = {"system": "lucene-impact", "term_encoder": terms, "levels": lucene.LEVELS, "k": depth}
    system |= {"query_length": query_length, "document_length": document_length}
    run = _named(dataset, hits)
    return _report(
        dataset, names, _without_own(run, depth) if skip_own else run, run_file, system, cpu, len(texts), None, None
    )


def _named(dataset: Dataset, hits: Iterable[Hits]) -> Run:
    """Documents found by position, by their ids."""
    ids = [document["id"] for document in dataset.corpus]
    return {
        query: [(ids[doc], float(score)) for doc, score in zip(found.docs, found.scores, strict=True)]
        for query, found in zip(dataset.queries, hits, strict=True)
    }


def _without_own(run: Run, depth: int) -> dict[str, list[tuple[str, float]]]:
    """The same results without the document of each query's own id, cut at the depth."""
    return {query: [one for one in found if one[0] != query][:depth] for query, found in run.items()}


def _report(
    dataset: Dataset,
    names: Sequence[str],
    run: Run,
    run_file: Path | None,
    system: dict[str, Any],
    cpu: dict[str, float],
    documents: int,
    tokens: int | None,
    size: int | None,
) -> Report:
    measured = evaluate(run, dataset.qrels, names)
    seconds = {k: round(v, 3) for k, v in cpu.items()}
    means = dataset.name, system, measured.mean, measured.per_query
    report = Report(*means, documents, len(run), tokens, size, seconds, _versions(), run)
    if run_file:
        report.write_run(run_file)
    return report


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "simd": simd_level()}
    for package in (
        "plait",
        "numpy",
        "faiss-cpu",
        "onnxruntime",
        "torch",
        "sentence-transformers",
        "bm25s",
        "ir-measures",
        "pyserini",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
