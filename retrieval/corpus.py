"""Documents as a stream of dicts: `id` and `text` (str), perhaps `title` (str), and other JSON fields as payload."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..index.errors import InvalidArgument, NotFound
from ..index.payload import check_id, check_payload
from .text_files import SUFFIXES, at_place, read_lines, read_records

Document = dict[str, Any]

COLLECTIONS = ("corpus.jsonl", "corpus.jsonl.gz", "collection.tsv", "collection.tsv.gz")
"""What a folder may call its documents: BEIR's name, then MS MARCO's."""


@dataclass(frozen=True)
class Corpus:
    """Documents that can be read any number of times; each iteration opens the source afresh and holds one document."""

    name: str
    path: Path | None
    """The file that holds the documents; None for an ir_datasets id."""
    read: Callable[[], Iterator[Document]]

    def __iter__(self) -> Iterator[Document]:
        return self.read()


@dataclass(frozen=True)
class Survey:
    """What one pass over a corpus tells."""

    documents: int
    characters: int
    """Sum of the lengths of `document_text`, in code points."""
    sample: list[Document]
    """A uniform sample without replacement, in corpus order."""
    repeats: bool = False
    """Whether an id seems to occur twice (`repeated` looks whether it does)."""


def document_text(document: Document) -> str:
    """The text that is encoded, and that token spans index into: the title, if there is one, a space, and the text."""
    title = document.get("title")
    return f"{title} {document['text']}" if title else document["text"]


def given_vectors(documents: Sequence[Document], width: int) -> np.ndarray:
    """(documents, width) float32 of their `vector` fields. InvalidArgument: one is
    missing, or no such list of numbers."""
    rows = np.empty((len(documents), width), np.float32)
    for row, document in zip(rows, documents, strict=True):
        try:
            given = np.asarray(document.get("vector"), np.float32)
        except (TypeError, ValueError):
            given = np.zeros(0)
        if given.shape != (width,):
            raise InvalidArgument(
                f"document {document['id']!r} needs 'vector', {width} numbers; it has {str(document.get('vector'))[:40]}"
            )
        row[:] = given
    return rows


def open_corpus(data: str | Path) -> Corpus:
    """Documents of a BEIR or MS MARCO passage folder, of a file (`retrieval/text_files.py`), of stdin (`-`), or an
    ir_datasets id.

    A record has an id and a `text`, perhaps a `title`, and payload fields. JSON calls the id `_id` or `id` (text or
    integer), and the fields of a `metadata` object join the payload; .jsonl, .json, .tsv and .csv files are read, each
    perhaps .gz; stdin is .jsonl.

    Raises:
        NotFound: no such path, or a folder without documents.
        InvalidArgument: a file that is no such format; while iterating, a bad line, by file and line number.
    """
    if str(data) == "-":
        return _stdin()
    path = Path(data).expanduser()
    if path.is_dir():
        path, name = find_file(path, COLLECTIONS), path.resolve().name
    elif path.is_file():
        name = Path(path.name.removesuffix(".gz")).stem
    else:
        dataset = load_ir_dataset(data)
        return Corpus(str(data), None, lambda: _ir_documents(dataset))
    if not path.name.endswith(SUFFIXES):
        raise InvalidArgument(
            f"{path} is no corpus file; give a folder, or a file that ends in {', '.join(SUFFIXES)} (pandas writes .jsonl by "
            "to_json(path, orient='records', lines=True))"
        )
    return Corpus(name, path, lambda: _numberless(read_documents(path)))


def read_documents(path: Path) -> Iterator[tuple[str, Document]]:
    """The documents (or queries) of one file, each with its place there in words.

    Raises:
        InvalidArgument: file, line number, and what is wrong there.
    """
    for place, record in read_records(path):
        try:
            yield place, _from_json(record)
        except ValueError as error:
            raise at_place(path, place, error) from error


def read_queries(path: Path) -> list[str]:
    """The texts of a file: of records (`retrieval/text_files.py`), which need no id, or else of lines.

    Raises:
        NotFound: no such file.
        InvalidArgument: a record without a text, by its place; or no query at all.
    """
    if not path.name.endswith(SUFFIXES):
        found = [line for _, line in read_lines(path)]
    else:
        found = []
        for place, record in read_records(path):
            if not isinstance(record.get("text"), str):
                raise at_place(
                    path, place, ValueError(f"a query needs 'text' as text; it has {record.get('text')!r:.40}")
                )
            found.append(record["text"])
    if not found:
        raise InvalidArgument(f"{path} holds no queries")
    return found


def repeated(corpus: Corpus) -> InvalidArgument | None:
    """The error of a corpus in which an id occurs twice, by file and both places; None: none does."""
    places: dict[str, str] = {}
    numbered = read_documents(corpus.path) if corpus.path else ((f"document {i}", d) for i, d in enumerate(corpus, 1))
    for place, document in numbered:
        if (first := places.setdefault(document["id"], place)) is not place:
            where = corpus.path or corpus.name
            return InvalidArgument(
                f"{where} has the id {document['id']!r:.80} twice, {first} and {place}; each document needs its own"
            )
    return None


def survey(documents: Iterable[Document], sample: int, seed: int = 0) -> Survey:
    """Counts the documents and draws `sample` of them in one pass (reservoir sampling, Vitter 1985, algorithm R).

    Args:
        sample: documents kept in memory; all of them when the corpus is smaller.
        seed: the same seed draws the same documents.
    """
    if sample < 0:
        raise InvalidArgument(f"sample is {sample}; it must be 0 or more")
    draw, hashes = random.Random(seed), array("q")
    kept: list[tuple[int, Document]] = []
    count = characters = 0
    for count, document in enumerate(documents, 1):
        characters += len(document_text(document))
        hashes.append(hash(document["id"]))
        if len(kept) < sample:
            kept.append((count, document))
        elif (place := draw.randrange(count)) < sample:
            kept[place] = count, document
    repeats = len(np.unique(np.frombuffer(hashes, np.int64))) < count
    return Survey(count, characters, [document for _, document in sorted(kept, key=lambda pair: pair[0])], repeats)


def find_file(folder: Path, names: Iterable[str]) -> Path:
    """The first of the names that the folder holds.

    Raises:
        NotFound: none of them; the message lists what was looked for.
    """
    names = list(names)
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise NotFound(f"{folder} holds none of {', '.join(names)}")


def load_ir_dataset(name: str | Path) -> Any:
    """The ir_datasets data set of that id, for a `name` that is no file or folder.

    Raises:
        NotFound: `name` looks like a path, ir_datasets knows no such id, or that package is not installed.
    """
    if isinstance(name, Path) or name.startswith((".", "/", "~")) or name.endswith(SUFFIXES):
        raise NotFound(f"no file or folder {name}")
    try:
        import ir_datasets  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise NotFound(
            f"no file or folder {name}; if it is an ir_datasets id, install the package ir_datasets"
        ) from error
    try:
        return ir_datasets.load(name)
    except KeyError as error:
        raise NotFound(f"{name} is neither a file or folder nor an ir_datasets id") from error


def _ir_documents(dataset: Any) -> Iterator[Document]:
    for number, row in enumerate(dataset.docs_iter(), 1):
        fields: Document = {
            k: v for k, v in row._asdict().items() if isinstance(v, str | int | float | list | dict | None)
        }
        # MS MARCO's long documents call their text the body.
        renamed = {"doc_id": "id"} if "text" in fields else {"doc_id": "id", "body": "text"}
        try:
            document = _document({renamed.get(name, name): value for name, value in fields.items()})
        except ValueError as error:
            raise InvalidArgument(f"document {number} of the ir_datasets data set: {error}") from error
        yield document


def _numberless(documents: Iterator[tuple[str, Document]]) -> Iterator[Document]:
    return (document for _, document in documents)


def _stdin() -> Corpus:
    """What stdin holds, in a file that goes with the corpus, which is read more than once."""
    handle, name = tempfile.mkstemp(prefix="plait-stdin-", suffix=".jsonl")
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)

    def read() -> Iterator[Document]:
        try:
            yield from _numberless(read_documents(Path(name)))
        except InvalidArgument as error:
            raise InvalidArgument(str(error).replace(name, "stdin")) from None

    corpus = Corpus("stdin", None, read)
    weakref.finalize(corpus, os.unlink, name)
    return corpus


def _from_json(record: Document) -> Document:
    if "_id" in record and record.setdefault("id", record["_id"]) != record.pop("_id"):
        raise ValueError("_id and id differ; keep one of them")
    return _document(record)


def _document(record: Document) -> Document:
    for name in ("id", "text"):
        if name not in record:
            raise ValueError(f"no {'_id or id' if name == 'id' else name} among the fields {sorted(record)}")
    if isinstance(record["id"], int) and not isinstance(record["id"], bool):
        record["id"] = str(record["id"])
    if isinstance(metadata := record.get("metadata"), dict):
        del record["metadata"]
        record = {**metadata, **record}
    if record.get("title", "") is None:
        del record["title"]
    for name in ("id", "text", "title"):
        if not isinstance(record.get(name, ""), str):
            raise ValueError(f"{name} is {record[name]!r:.60}; it must be a string")
    if not record["id"]:
        raise ValueError("the id is empty")
    check_payload(check_id(record["id"]), {name: value for name, value in record.items() if name != "id"})
    return record
