"""PISA (C++) by the native module of pyterrier-pisa 0.4.9: impacts packed in SIMD blocks, dynamic pruning, exact.

pip install --no-deps pyterrier-pisa==0.4.9 tbb==2020.3.254    (not into PEERS: only in an environment it finds its TBB)

The package itself, which needs PyTerrier and pandas, is not imported, and the inverted lists are written here as PISA's
files. Inside the timing is one call for all queries, dictionaries of strings: it looks keys up, and repeats each as
often as its whole weight says, since PISA knows no other query weights. Impacts and query
weights are scaled to 1 to 255.
"""

import tempfile
from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import numpy as np
from sparse_engine import Engine, at_once, clocked, sparse_rows

GRID = ("maxscore", "block_max_maxscore", "block_max_wand")
ENCODING = "block_simdbp"


def engines(documents: Any, queries: Any, k: int) -> list[Engine]:
    module = native()
    with tempfile.TemporaryDirectory() as folder:

        def make() -> Any:
            write(documents, Path(folder), module)
            context = module.RetrievalContext()
            module.prepare_index(context, folder, ENCODING, "quantized", "")
            return context

        context, seconds, grown = clocked(make)  # what it maps outlives the folder
        size = sum(path.stat().st_size for path in Path(folder).glob("quantized*")) / documents.nnz
    asked = [
        (q, {name(key): float(w) for key, w in zip(keys.tolist(), whole(weights).tolist(), strict=True)})
        for q, (keys, weights) in enumerate(sparse_rows(queries))
    ]
    room = len(asked) * k
    out = []
    for algorithm in GRID:

        def search_all(algorithm: str = algorithm) -> Sequence[np.ndarray]:
            lines, docs = np.empty(room, np.int32), np.empty(room, object)
            ranks, scores = np.empty(room, np.int32), np.empty(room, np.float32)
            found = module.retrieve(
                context,
                algorithm,
                asked,
                k=k,
                threads=1,
                pretokenised=1,
                query_weighted=1,
                result_qidxs=lines,
                result_docnos=docs,
                result_ranks=ranks,
                result_scores=scores,
            )
            return np.split(docs[:found].astype(np.int64), np.searchsorted(lines[:found], np.arange(1, len(asked))))

        out.append(Engine("PISA", algorithm, at_once(search_all), seconds, size, 0.0, grown))
    return out


def native() -> Any:
    package = find_spec("pyterrier_pisa")
    if package is None:
        raise ImportError("No module named 'pyterrier_pisa'")
    spec = PathFinder.find_spec("_pisathon", package.submodule_search_locations)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def name(key: int) -> str:
    """Names sort as keys do, as PISA's lexicon must be."""
    return f"{key:08d}"


def whole(weights: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weights * (255 / weights.max())), 1, 255).astype(np.uint32)


def write(documents: Any, folder: Path, module: Any) -> None:
    """Lists and lexicons as PISA reads them: little-endian uint32, each list behind its length."""
    columns = documents.tocsc()
    columns.sort_indices()
    impacts = whole(columns.data)
    keys = np.flatnonzero(np.diff(columns.indptr))
    with open(folder / "inv.docs", "wb") as docs, open(folder / "inv.freqs", "wb") as frequencies:
        np.array([1, documents.shape[0]], np.uint32).tofile(docs)
        for key in keys:
            some = slice(columns.indptr[key], columns.indptr[key + 1])
            for file, values in ((docs, columns.indices[some]), (frequencies, impacts[some])):
                np.concatenate([[len(values)], values]).astype(np.uint32).tofile(file)
    lengths = np.bincount(columns.indices, impacts, documents.shape[0]).astype(np.uint32)
    np.concatenate([[len(lengths)], lengths]).astype(np.uint32).tofile(folder / "inv.sizes")
    for words, lexicon, names in (
        ("fwd.documents", "fwd.doclex", map(str, range(documents.shape[0]))),
        ("fwd.terms", "fwd.termlex", map(name, keys.tolist())),
    ):
        (folder / words).write_text("".join(line + "\n" for line in names))
        module.build_binlex(str(folder / words), str(folder / lexicon))
