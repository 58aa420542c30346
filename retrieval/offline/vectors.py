"""Term vectors that were computed elsewhere: Anserini's JSONL and SciPy's CSR arrays. `retrieval/offline/ciff.py` has
whole indexes."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from ...index.errors import InvalidArgument, NotFound
from ...index.terms import Terms, check
from ..sparse.analyzer import KEYS, key_of
from ..text_files import read_lines


@dataclass(frozen=True, eq=False)
class Vectors:
    """Documents or queries as somebody else's encoder left them."""

    ids: list[str]
    terms: Terms
    """One row per id."""
    names: dict[int, str]
    """The term of every key that occurs."""
    texts: list[str]
    """Where the source has them, otherwise empty strings."""


def read_jsonl(path: str | Path, vocabulary: Mapping[str, int] | None = None) -> Vectors:
    """Anserini's JsonVectorCollection: `{"id": ..., "contents": ..., "vector": {term:
    weight}}` a line, perhaps gzipped.

    Args:
        vocabulary: key of every term, such as an encoder's ids. None: the 32-bit key of `retrieval/sparse/analyzer.py`;
            terms that share one are added up.

    Raises:
        NotFound: no such file.
        InvalidArgument: a malformed line, a weight that is no finite number, an id twice, or a term that the vocabulary
            lacks, by file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no file {path}")
    ids, texts, rows, names = [], [], [], {}
    for number, line in read_lines(path):
        row = _object(path, number, line)
        pairs = {}
        for term, weight in row["vector"].items():
            key = key_of(term) if vocabulary is None else vocabulary.get(term)
            if key is None:
                raise InvalidArgument(f"{path}, line {number}: the vocabulary has no {term!r}; give its own vocabulary")
            if not isinstance(weight, int | float) or not math.isfinite(weight):
                raise InvalidArgument(f"{path}, line {number}: {term!r} weighs {weight!r}, which is no finite number")
            pairs[key] = pairs.get(key, 0.0) + weight
            names[key] = term
        ids.append(str(row["id"]))
        texts.append(str(row.get("contents") or ""))
        rows.append(pairs)
    if len(set(ids)) < len(ids):
        raise InvalidArgument(f"{path} has {len(ids) - len(set(ids))} ids twice; each document needs its own")
    keys = KEYS if vocabulary is None else max(vocabulary.values(), default=-1) + 1
    return Vectors(ids, rows_of(rows, keys), names, texts)


def write_jsonl(path: str | Path, ids: Sequence[str], terms: Terms, names: Mapping[int, str]) -> None:
    """The same format, without texts. InvalidArgument: a key without a name, or token rows."""
    if terms.offsets is not None or len(ids) != len(terms):
        raise InvalidArgument(f"{len(ids)} ids for {len(terms)} documents; JSONL holds one row per id, not token rows")
    with Path(path).open("w", encoding="utf-8") as file:
        for number, name in enumerate(ids):
            start, end = terms.rows.indptr[number : number + 2]
            keys, weights = terms.rows.indices[start:end].tolist(), terms.rows.data[start:end].tolist()
            vector = {named(names, key): weight for key, weight in zip(keys, weights, strict=True)}
            file.write(json.dumps({"id": name, "contents": "", "vector": vector}, ensure_ascii=False) + "\n")


def read_csr(path: str | Path) -> Terms:
    """A CSR matrix that `scipy.sparse.save_npz` wrote, one row per document; nothing in it is unpickled.

    Raises:
        NotFound: no such file.
        InvalidArgument: no CSR array, a key twice in a row, NaN or infinity.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFound(f"no file {path}")
    try:
        rows: Any = sparse.load_npz(path)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgument(f"{path} is no sparse matrix of scipy.sparse.save_npz: {error}") from error
    if rows.format != "csr":
        raise InvalidArgument(f"{path} holds a {rows.format} matrix; save it as csr, one row per document")
    return check(Terms(sparse.csr_array(rows)))


def rows_of(rows: Iterable[Mapping[int, float]], keys: int) -> Terms:
    """Terms from one mapping of key to weight per document; zeros are dropped."""
    lines = [sorted((key, weight) for key, weight in row.items() if weight) for row in rows]
    indptr = np.concatenate([[0], np.cumsum([len(line) for line in lines])]).astype(np.int64)
    columns = np.array([key for line in lines for key, _ in line], np.int64)
    values = np.array([weight for line in lines for _, weight in line], np.float32)
    return check(Terms(sparse.csr_array((values, columns, indptr), shape=(len(lines), keys))))


def named(names: Mapping[int, str], key: int) -> str:
    """InvalidArgument: the key has no name."""
    if key not in names:
        raise InvalidArgument(f"key {key} has no name; give the names of every key that occurs")
    return names[key]


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        if isinstance(row["vector"], dict) and isinstance(row["id"], str | int):
            return row
    except (ValueError, KeyError, TypeError):
        pass
    raise InvalidArgument(
        f'{path}, line {number}: {line!r:.80} is no vector; expected {{"id": ..., "vector": {{...}}}}'
    )
