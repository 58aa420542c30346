"""The BM25 baseline: bm25s' Lucene variant, Snowball English stems, English stop words.

score(q, d) = Σ_{t ∈ q} ln(1 + (N - df + 0.5) / (df + 0.5)) · tf / (tf + k1 · (1 - b + b · |d| / mean |d|))

(Robertson and Zaragoza 2009; the variant: Kamphuis et al., ECIR 2020; the implementation: Lù, arXiv 2407.03618.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..index.errors import InvalidArgument
from ..index.hits import Hits, best
from ..retrieval.sparse.analyzer import words

if TYPE_CHECKING:
    from bm25s import BM25


def build(texts: Iterable[str], *, k1: float = 1.2, b: float = 0.75) -> BM25:
    """Indexes texts in memory; document numbers are their positions.

    Args:
        k1: 0 or more. Larger: repeated terms go on adding; 0: only presence counts.
        b: 0 to 1. Larger: long documents lose more; 0: length does not matter.

    Raises:
        InvalidArgument: a knob out of its bounds, or texts without a single indexable term.
        FailedPrecondition: bm25s or PyStemmer is not installed.
    """
    if k1 < 0 or not 0 <= b <= 1:
        raise InvalidArgument(f"k1 is {k1} and b is {b}; k1 must be 0 or more, b between 0 and 1")
    documents = words(texts)
    if not any(documents):
        raise InvalidArgument("no text holds a term: stop words and single characters are not indexed")
    from bm25s import BM25

    index = BM25(k1=k1, b=b, method="lucene")
    index.index(documents, show_progress=False)
    return index


def search(index: BM25, queries: Sequence[str], k: int) -> list[Hits]:
    """The k best documents of each query, best first; a document that shares no term with the query is no result."""
    if k < 1:
        raise InvalidArgument(f"k is {k}; it must be 1 or more")
    results = []
    for query in words(queries):
        scores = index.get_scores_from_ids(index.get_tokens_ids(query))
        found = np.flatnonzero(scores > 0)
        results.append(best(found, scores[found], k))
    return results
