"""The one reader of text files: lines of UTF-8, and the records of .jsonl, .json, .tsv and
.csv files, each by its place.

A line ends with LF or CRLF and nowhere else; a byte order mark is passed over; a name that ends in .gz says that the
file is gzipped.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..index.errors import InvalidArgument, NotFound
from ..index.payload import MAX_BYTES

Record = dict[str, Any]
SUFFIXES = tuple(kind + zipped for kind in (".jsonl", ".json", ".tsv", ".csv") for zipped in ("", ".gz"))
IDS = ("id", "_id", "pid", "qid", "docid", "doc_id", "docno", "passage_id", "psg_id", "query_id")
"""What headers call the id: BEIR's, ColBERT's, DPR's, MS MARCO's and TREC's names."""
TEXTS = ("text", "passage", "query", "contents", "content", "body", "document", "question")
"""What headers call the text."""
_OTHERS = ("title", "url", "query-id", "corpus-id", "score", "iteration", "relevance", "rel", "iter", "rank")
_ORDERS = {2: ("id", "text"), 3: ("id", "title", "text")}
"""Columns of a file without a header."""
_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_REMEDY = "if it is Latin-1, convert it: iconv -f LATIN1 -t UTF-8"


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 file, from 1, without their ends; blank lines are passed over.

    Raises:
        NotFound: no such file.
        InvalidArgument: invalid UTF-8, by line, or a .gz file that is cut off or damaged.
    """
    return ((number, line) for number, line in _lines(path) if line.strip(" "))


def read_records(path: Path) -> Iterator[tuple[str, Record]]:
    """The records of a file, each with its place in words, `line 3`; columns of tables by their names.

    Of .jsonl each line is a record, of .json each object of the array. A .tsv or .csv file may begin with a header,
    which is known by its names (`IDS`, `TEXTS`): an id and a text, called `id` and `text` in records, and any others.
    Without a header, columns are id and text, or id, title and text. Cells of .csv may be quoted (RFC 4180); those of
    .tsv are taken as they are.

    Raises:
        NotFound, InvalidArgument: as `read_lines`; a line that is no record, by its number.
    """
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "jsonl":
        return _json_lines(path)
    if kind == "json":
        return _json_array(path)
    rows = _cells(path) if kind == "csv" else ((number, line.split("\t")) for number, line in read_lines(path))
    return _table(path, rows)


def at_place(path: Path, place: str, error: Exception) -> InvalidArgument:
    """The error of something in a file, by its place there."""
    return InvalidArgument(f"{path}, {place}: {error}")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        if path.suffix == ".gz" and path.stat().st_size == 0:
            raise EOFError("no bytes at all")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                if number == 1 and raw[:2] in _MARKS:
                    raise InvalidArgument(f"{path} is {_MARKS[raw[:2]]}; save it as UTF-8")
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\n").removesuffix("\r")
    except FileNotFoundError:
        raise NotFound(f"no file {path}") from None
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{path}, line {number}: not valid UTF-8 ({error.reason} at byte {error.start}); {_REMEDY}"
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidArgument(f"{path}, after line {number}: the gzip file is cut off or damaged ({error})") from error


def _json_lines(path: Path) -> Iterator[tuple[str, Record]]:
    for number, line in read_lines(path):
        place = f"line {number}"
        try:
            yield place, _object(json.loads(line, parse_constant=_refuse_constant))
        except (ValueError, RecursionError) as error:
            raise at_place(path, place, error) from error


def _json_array(path: Path) -> Iterator[tuple[str, Record]]:
    try:
        array = json.loads("\n".join(line for _, line in _lines(path)), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise InvalidArgument(f"{path} is not JSON: {error}; one object a line is a .jsonl file") from error
    if not isinstance(array, list):
        raise InvalidArgument(f"{path} holds one {type(array).__name__}; expected an array of objects")
    for number, record in enumerate(array, 1):
        place = f"object {number}"
        try:
            yield place, _object(record)
        except ValueError as error:
            raise at_place(path, place, error) from error


def _object(value: Any) -> Record:
    if not isinstance(value, dict):
        raise ValueError(f"expected one JSON object, got {type(value).__name__}")
    return value


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a .csv file, numbered by their first line; a quoted cell may hold line ends."""
    csv.field_size_limit(MAX_BYTES)
    reader = csv.reader((line + "\n" for _, line in _lines(path)), strict=True)
    first = 1
    try:
        for row in reader:
            if row:
                yield first, row
            first = reader.line_num + 1
    except csv.Error as error:
        raise at_place(path, f"line {first}", error) from error


def _table(path: Path, rows: Iterable[tuple[int, list[str]]]) -> Iterator[tuple[str, Record]]:
    columns: list[str] | None = None
    for i, (number, cells) in enumerate(rows):
        place = f"line {number}"
        try:
            if i == 0 and (columns := _header(cells)):
                continue
            columns = columns or _unnamed(cells)
            if len(cells) != len(columns):
                raise ValueError(f"{len(cells)} columns; expected {len(columns)} ({', '.join(columns)})")
            yield place, dict(zip(columns, cells, strict=True))
        except ValueError as error:
            raise at_place(path, place, error) from error


def _header(cells: list[str]) -> list[str] | None:
    """The columns that a first line names; None: it is a record. ValueError: a header without an id or a text."""
    names = [cell.strip().lower() for cell in cells]
    ids, texts = ([name for name in names if name in known] for known in (IDS, TEXTS))
    if ids and texts:
        renamed = {ids[0]: "id", texts[0]: "text"}
        columns = [renamed.get(name, cell.strip()) for name, cell in zip(names, cells, strict=True)]
        columns = ["title" if name == "title" else column for name, column in zip(names, columns, strict=True)]
        if len(set(columns)) < len(columns) or "" in columns:
            raise ValueError(f"the header {cells} has a column without a name, or a name twice")
        return columns
    if len(names) > 1 and all(name in (*IDS, *TEXTS, *_OTHERS) for name in names):
        raise ValueError(
            f"the header {cells} names no {'text' if ids else 'id'}; call one {(TEXTS if ids else IDS)[0]}"
        )
    return None


def _unnamed(cells: list[str]) -> list[str]:
    if len(cells) not in _ORDERS:
        raise ValueError(
            f"{len(cells)} columns; expected 2 (id, text), 3 (id, title, text), or a header that names them"
        )
    return list(_ORDERS[len(cells)])


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON value")
