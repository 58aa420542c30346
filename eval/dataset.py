"""Test collections: a corpus, its queries, and the relevance judgements (qrels) of one split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..index.errors import InvalidArgument, NotFound
from ..retrieval.corpus import Corpus, find_file, load_ir_dataset, open_corpus, read_documents
from ..retrieval.text_files import read_lines

Qrels = dict[str, dict[str, int]]
"""Grade by query id and document id."""

MEASURES = ("nDCG@10", "R@100", "RR@10")
MSMARCO_MEASURES = ("RR@10", "R@1000")
DEFAULT_SPLIT = "test"


@dataclass(frozen=True)
class Dataset:
    """What an experiment runs on. A query counts when it has a document with a grade above 0."""

    name: str
    corpus: Corpus
    queries: dict[str, str]
    """Text by query id, in the order of the queries file."""
    qrels: Qrels
    """Every grade of those queries, in the same order. A judged document may be absent from the corpus."""
    measures: tuple[str, ...]
    """What is customarily reported on this kind of collection."""


def open_dataset(data: str | Path, split: str | None = None, quoted: bool = True) -> Dataset:
    """Opens a BEIR folder, an MS MARCO passage folder, or an ir_datasets id that names a split (`beir/scifact/test`).

    BEIR: `queries.jsonl` and `qrels/{split}.tsv`, with three columns and a header or TREC's four columns.
    MS MARCO: `queries.{split}.tsv` and `qrels.{split}.tsv`. Each file may be gzipped.

    Args:
        split: None takes `test` where there is one, otherwise the only split there is. Not used with an ir_datasets id.
        quoted: read cells of BEIR's qrels as its own reader does, which takes them for CSV: quotes around a cell go,
            two inside stand for one. False: quotes are part of an id.

    Raises:
        NotFound: no such data or split, or a file is missing.
        InvalidArgument: a malformed line (by file and number), several splits to choose from, no judged query, or
            qrels that name queries the queries file lacks.
    """
    folder = Path(data).expanduser()
    if not folder.exists():
        return _open_ir_dataset(str(data), load_ir_dataset(data))
    if not folder.is_dir():
        raise InvalidArgument(f"{folder} is a file; a test collection is a folder with a corpus, queries and qrels")
    corpus = open_corpus(folder)
    msmarco = corpus.path is not None and corpus.path.name.startswith("collection.tsv")
    splits = _msmarco_splits(folder) if msmarco else _beir_splits(folder)
    queries_file, qrels_file = splits[_choose(folder, split, sorted(splits), msmarco)]
    qrels = _judged(read_qrels(qrels_file, quoted and not msmarco), str(qrels_file))
    rows = ((query["id"], query["text"]) for _, query in read_documents(queries_file))
    measures = MSMARCO_MEASURES if msmarco else MEASURES
    return _dataset(corpus, _texts(rows, qrels, str(queries_file)), qrels, measures)


def read_qrels(path: Path, quoted: bool = False) -> Qrels:
    """Grades of a qrels file: query, document, grade (perhaps under a header), or TREC's four columns.

    Args:
        quoted: a tab-separated cell in quotes is CSV, as BEIR writes and reads it.

    Raises:
        InvalidArgument: a malformed line, or two grades for one pair, by file and line number.
    """
    qrels: Qrels = {}
    for number, line in read_lines(path):
        cells = line.split("\t") if "\t" in line else line.split()
        if quoted and '"' in line:
            cells = [_unquoted(cell) for cell in cells]
        if number == 1 and len(cells) in (3, 4) and cells[-1].isidentifier():
            continue
        if len(cells) not in (3, 4) or not _is_grade(cells[-1]):
            raise InvalidArgument(
                f"{path}, line {number}: {line!r:.80} is no judgement; expected query, document and an integer grade, "
                "or TREC's query, iteration, document and grade"
            )
        query, doc, grade = cells[0], cells[-2], int(cells[-1])
        if qrels.setdefault(query, {}).setdefault(doc, grade) != grade:
            earlier = qrels[query][doc]
            raise InvalidArgument(
                f"{path}, line {number}: query {query}, document {doc} has grades {earlier} and {grade}"
            )
    return qrels


def _unquoted(cell: str) -> str:
    """A cell as CSV has it, where quotes enclose all of it; anything else as it stands."""
    inner = cell[1:-1].replace('""', "")
    enclosed = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner
    return cell[1:-1].replace('""', '"') if enclosed else cell


def _is_grade(cell: str) -> bool:
    return cell.strip().removeprefix("-").isdecimal()


def _beir_splits(folder: Path) -> dict[str, tuple[Path, Path]]:
    queries = find_file(folder, ("queries.jsonl", "queries.jsonl.gz"))
    return {split: (queries, qrels) for split, qrels in _tsv_files(folder / "qrels", "").items()}


def _msmarco_splits(folder: Path) -> dict[str, tuple[Path, Path]]:
    queries = _tsv_files(folder, "queries.")
    return {split: (queries[split], qrels) for split, qrels in _tsv_files(folder, "qrels.").items() if split in queries}


def _tsv_files(folder: Path, prefix: str) -> dict[str, Path]:
    """Files by what stands between the prefix and .tsv or .tsv.gz; the plain file where there are both."""
    files = [*folder.glob(f"{prefix}*.tsv.gz"), *folder.glob(f"{prefix}*.tsv")]
    return {path.name.removeprefix(prefix).removesuffix(".gz").removesuffix(".tsv"): path for path in files}


def _choose(folder: Path, split: str | None, splits: list[str], msmarco: bool) -> str:
    wanted = "queries.{}.tsv and qrels.{}.tsv" if msmarco else "qrels/{}.tsv"
    if not splits:
        raise NotFound(f"{folder} has no judgements; looked for {wanted.replace('{}', '*')}")
    if split is not None and split not in splits:
        raise NotFound(f"{folder} has no {wanted.replace('{}', split)}; its splits are {', '.join(splits)}")
    if split is None and DEFAULT_SPLIT not in splits and len(splits) > 1:
        raise InvalidArgument(f"{folder} has several splits; choose one of {', '.join(splits)}")
    return split or (DEFAULT_SPLIT if DEFAULT_SPLIT in splits else splits[0])


def _open_ir_dataset(name: str, dataset: Any) -> Dataset:
    for part in ("docs_iter", "queries_iter", "qrels_iter"):
        if not hasattr(dataset, part):
            raise NotFound(
                f"the ir_datasets id {name} has no {part.removesuffix('_iter')}; give the id of one of its splits"
            )
    grades: Qrels = {}
    for row in dataset.qrels_iter():
        grades.setdefault(row.query_id, {})[row.doc_id] = row.relevance
    qrels = _judged(grades, name)
    rows = ((query.query_id, getattr(query, "text", None) or query.title) for query in dataset.queries_iter())
    return _dataset(open_corpus(name), _texts(rows, qrels, name), qrels, MEASURES)


def _judged(qrels: Qrels, source: str) -> Qrels:
    judged = {query: grades for query, grades in qrels.items() if max(grades.values()) > 0}
    if not judged:
        raise InvalidArgument(f"{source} has no query with a grade above 0: nothing to measure")
    return judged


def _texts(rows: Iterable[tuple[str, str]], qrels: Qrels, source: str) -> dict[str, str]:
    queries: dict[str, str] = {}
    for query, text in rows:
        if query in queries:
            raise InvalidArgument(f"{source}: query {query} appears twice")
        if query in qrels:
            queries[query] = text
    missing = [query for query in qrels if query not in queries]
    if missing:
        raise InvalidArgument(f"{source} lacks {len(missing)} judged queries, first {', '.join(missing[:5])}")
    return queries


def _dataset(corpus: Corpus, queries: dict[str, str], qrels: Qrels, measures: tuple[str, ...]) -> Dataset:
    return Dataset(corpus.name, corpus, queries, {query: qrels[query] for query in queries}, measures)
