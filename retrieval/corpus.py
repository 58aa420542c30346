"""Documents as a stream of dicts: `id` and `text` (str), perhaps `title` (str), and other JSON fields as payload."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..index.errors import InvalidArgument, NotFound

Document = dict[str, Any]

COLLECTIONS = ("corpus.jsonl", "corpus.jsonl.gz", "collection.tsv", "collection.tsv.gz")
"""What a folder may call its documents: BEIR's name, then MS MARCO's."""
SUFFIXES = (".jsonl", ".jsonl.gz", ".tsv", ".tsv.gz")


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


def document_text(document: Document) -> str:
    """The text that is encoded, and that token spans index into: the title, if there is one, a space, and the text."""
    title = document.get("title")
    return f"{title} {document['text']}" if title else document["text"]


def given_vectors(documents: Sequence[Document], width: int) -> np.ndarray:
    """(documents, width) float32 of their `vector` fields. InvalidArgument: one is missing, or no such list of numbers."""
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
    """Documents of a BEIR or MS MARCO passage folder, a .jsonl or .tsv file (perhaps .gz), or an ir_datasets id.

    A JSON line holds `_id` or `id` (text or integer), `text`, perhaps `title`, and payload fields; the fields of a
    `metadata` object join the payload. A TSV line holds id, text or id, title, text.

    Raises:
        NotFound: no such path, or a folder without documents.
        InvalidArgument: a file that is no such format; while iterating, a bad line, by file and line number.
    """
    path = Path(data).expanduser()
    if path.is_dir():
        path, name = find_file(path, COLLECTIONS), path.resolve().name
    elif path.is_file():
        name = Path(path.name.removesuffix(".gz")).stem
    else:
        dataset = load_ir_dataset(data)
        return Corpus(str(data), None, lambda: _ir_documents(dataset))
    if not path.name.endswith(SUFFIXES):
        raise InvalidArgument(f"{path} is no corpus file; give a folder, or a file that ends in {', '.join(SUFFIXES)}")
    return Corpus(name, path, lambda: read_documents(path))


def survey(documents: Iterable[Document], sample: int, seed: int = 0) -> Survey:
    """Counts the documents and draws `sample` of them in one pass (reservoir sampling, Vitter 1985, algorithm R).

    Args:
        sample: documents kept in memory; all of them when the corpus is smaller.
        seed: the same seed draws the same documents.
    """
    if sample < 0:
        raise InvalidArgument(f"sample is {sample}; it must be 0 or more")
    draw = random.Random(seed)
    kept: list[tuple[int, Document]] = []
    count = characters = 0
    for count, document in enumerate(documents, 1):
        characters += len(document_text(document))
        if len(kept) < sample:
            kept.append((count, document))
        elif (place := draw.randrange(count)) < sample:
            kept[place] = count, document
    return Survey(count, characters, [document for _, document in sorted(kept, key=lambda pair: pair[0])])


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


def read_documents(path: Path) -> Iterator[Document]:
    """The documents (or queries) of one JSON-lines or TSV file, perhaps gzipped.

    Raises:
        InvalidArgument: file, line number, and what is wrong there.
    """
    json_lines = path.name.removesuffix(".gz").endswith(".jsonl")
    columns = None
    for number, line in read_lines(path):
        try:
            if json_lines:
                document = _from_json(line)
            else:
                cells = line.split("\t")
                columns = columns or len(cells)
                document = _from_cells(cells, columns)
        except ValueError as error:
            raise InvalidArgument(f"{path}, line {number}: {error}") from error
        yield document


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, from 1, without their ends; blank lines are passed over.

    Raises:
        InvalidArgument: invalid UTF-8, or a .gz file that is cut off or damaged.
    """
    number = 0
    try:
        if path.suffix == ".gz" and path.stat().st_size == 0:
            raise EOFError("no bytes at all")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if line.strip(" "):
                    yield number, line
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{path}, line {number}: not valid UTF-8 ({error.reason} at byte {error.start})"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgument(f"{path}, after line {number}: the gzip file is cut off or damaged ({error})") from error


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


def _from_json(line: str) -> Document:
    record = json.loads(line, parse_constant=_refuse_constant)
    if not isinstance(record, dict):
        raise ValueError(f"expected one JSON object, got {type(record).__name__}")
    if "\\u" in line:
        # Half a surrogate pair is legal JSON but no text: nothing after this could store or tokenize it.
        json.dumps(record, ensure_ascii=False).encode()
    if "_id" in record and record.setdefault("id", record["_id"]) != record.pop("_id"):
        raise ValueError("_id and id differ; keep one of them")
    return _document(record)


def _from_cells(cells: list[str], columns: int) -> Document:
    if len(cells) != columns or columns not in (2, 3):
        expected = columns if columns in (2, 3) else "2 (id, text) or 3 (id, title, text)"
        raise ValueError(f"{len(cells)} tab-separated columns; expected {expected}")
    return _document(dict(zip(("id", "text") if columns == 2 else ("id", "title", "text"), cells, strict=True)))


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
    return record


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")
