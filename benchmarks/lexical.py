"""BM25 beside bm25s: CPU time per query, recall, build time and bytes.

    python benchmarks/lexical.py [--documents N] [--queries N] [--terms N] [-k N] [--rounds N] [--peers FOLDER]

Documents are the synthetic ones of `sparse.py`, a term's weight made a count of 1 to 8; queries are distinct terms. Both
engines rank by the same formula (Lucene's) on one thread. bm25s holds finished float32 scores and searches by its numba
kernel, all queries in one call; plait holds counts, weighs them when a query comes, and scores with their rows. FOLDER as
for `sparse.py` (numba, llvmlite).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from plait.index import bm25
from scipy import sparse as matrices
from sparse import Engine, clocked, measure, query_rows, report
from sparse_data import Mixture, exact, score_recall


def weighed(counts: Any) -> Any:
    """BM25's impact of every count, without idf: (documents, keys) CSR."""
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    norms = bm25.Bm25().norms(lengths, lengths.mean()).astype(np.float64)
    values = counts.data.astype(np.float64)
    owners = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    return matrices.csr_array((values / (values + norms[owners]), counts.indices, counts.indptr), counts.shape)


def plait_engine(counts: Any, queries: Any, k: int) -> Engine:
    asked = [(keys.astype(np.uint32), weights) for keys, weights in query_rows(queries)]

    def make() -> tuple[bm25.Frequencies, Any]:
        stored = bm25.build(counts)
        return stored, stored.scored(float(stored.lengths.mean()))

    (stored, scored), seconds, grown = clocked(make)
    count = len(stored.postings.offsets)
    lengths = stored.lengths.nbytes + stored.codes.nbytes + stored.edges.nbytes

    def search(q: int) -> np.ndarray:
        return scored.search(*asked[q], k).docs

    sizes = (stored.postings.nbytes + lengths) / count, stored.rows.nbytes / count
    return Engine("plait", "exact", search, seconds, *sizes, grown)


def bm25s_engine(impacts: Any, queries: Any, idf: np.ndarray, k: int) -> Engine:
    from bm25s.numba.retrieve_utils import _retrieve_numba_functional

    def make() -> dict[str, Any]:
        columns = impacts.tocsc()
        data = columns.data * np.repeat(idf.astype(np.float64), np.diff(columns.indptr))
        arrays = data.astype(np.float32), columns.indices.astype(np.int32), columns.indptr.astype(np.int32)
        return dict(zip(("data", "indices", "indptr"), arrays, strict=True), num_docs=impacts.shape[0])

    scores, seconds, grown = clocked(make)
    asked = [keys.astype(np.int32) for keys, _ in query_rows(queries)]
    answers: list[np.ndarray] = []

    def search(q: int) -> np.ndarray:
        if q == 0:
            found = _retrieve_numba_functional(asked, scores, k=k, show_progress=False)
            answers[:] = list(found[0])
        return np.asarray(answers[q], np.int64)

    return Engine("bm25s", "numba", search, seconds, 8.0, 0.0, grown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--terms", type=int, default=7)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--peers", type=Path)
    options = parser.parse_args()
    if options.peers:
        sys.path.append(str(options.peers))
    mixture = Mixture(options.seed)
    counts, topics = mixture.documents(options.documents)
    queries = mixture.queries(options.queries, counts, topics, options.terms)
    counts.data = np.minimum(8, np.ceil(counts.data / 0.4)).astype(np.float32)
    frequencies = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = bm25.idf(options.documents, frequencies)
    queries.data = idf[queries.indices]
    impacts = weighed(counts)
    best = exact(impacts, queries, options.k)
    touched = frequencies[queries.indices].sum() / options.queries
    print(
        f"{options.documents} documents of {counts.nnz / options.documents:.1f} terms, {options.queries} queries of"
        f" {queries.nnz / options.queries:.1f} terms with {touched:.0f} postings, k {options.k}"
    )
    engines = [plait_engine(counts, queries, options.k)]
    try:
        engines.append(bm25s_engine(impacts, queries, idf, options.k))
    except ImportError as error:
        print(f"without bm25s: {error}")
    recalls = [score_recall([e.search(q) for q in range(options.queries)], best, impacts, queries) for e in engines]
    report(engines, measure(engines, options.queries, options.rounds), recalls)


if __name__ == "__main__":
    main()
