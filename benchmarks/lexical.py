"""BM25 beside bm25s and tantivy: CPU time per query, recall, build time and bytes.

    python benchmarks/lexical.py [--documents N] [--queries N] [--terms N] [-k N] [--rounds N] [--peers FOLDER]

Documents are the synthetic ones of `sparse.py`, a term's weight made a count of 1 to 8; queries are distinct terms. All
rank by Lucene's formula on one thread, interleaved. plait holds counts, weighs them when a query comes, and scores with
their rows; what the others do stands in `sparse_peers/bm25s_scores.py` and `sparse_peers/tantivy_bm25.py`. FOLDER as
for `sparse.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from figures import add_option, keep
from plait.index.params import Bm25
from plait.index.sparse import bm25
from scipy import sparse as matrices
from sparse_data import Mixture, exact, score_recall
from sparse_engine import Engine, clocked, engines_of, measure, report, sparse_rows


def weighed(counts: Any) -> Any:
    """BM25's impact of every count, without idf: (documents, keys) CSR."""
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    norms = Bm25().norms(lengths, lengths.mean()).astype(np.float64)
    values = counts.data.astype(np.float64)
    owners = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    return matrices.csr_array((values / (values + norms[owners]), counts.indices, counts.indptr), counts.shape)


def plait_engine(counts: Any, queries: Any, k: int) -> Engine:
    asked = [(keys.astype(np.uint32), weights) for keys, weights in sparse_rows(queries)]

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--terms", type=int, default=7)
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--peers", type=Path)
    add_option(parser)
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
    engines += engines_of(["bm25s_scores"], impacts, queries, idf, options.k)
    engines += engines_of(["tantivy_bm25"], counts, queries, options.k)
    recalls = [score_recall([e.search(q) for q in range(options.queries)], best, impacts, queries) for e in engines]
    rows = report(engines, measure(engines, options.queries, options.rounds), recalls)
    keep(options, {"engines": rows})


if __name__ == "__main__":
    main()
