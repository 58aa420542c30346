"""From matches of single tokens to scores of documents: which tokens the maximum sees,
and what fills a missing cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InvalidArgument

MISSING = ("kth", "zero", "none")
TOKENS = ("all", "retrieved", "coil")
"""What `index/reading/plans.py` has a plan for."""


@dataclass(frozen=True)
class Scoring:
    """How a system turns token similarities into a document's score.

    score(q, d) = sum_i max_{j in seen(i, d)} q_i . d_j, where a query token that has seen no token of d counts m_i.
    """

    tokens: str = "all"
    """`all`: every token of a candidate is scored (ColBERT). `retrieved`: only those among the k' best of the whole
    collection for their query token (XTR, arXiv 2304.01982 section 3). `coil`: those with the query token's vocabulary
    id, and no maximum below 0; the product of the global vectors is added where
    there are such (COIL, arXiv 2104.07186)."""
    missing: str | float = "kth"
    """m_i where `retrieved` saw nothing: `kth`, the score of the k'-th retrieved token of query token i (XTR's choice);
    `zero`; a number; or `none`, which leaves the cell out and takes the mean of the cells
    seen times the query's length."""

    def __post_init__(self) -> None:
        if self.tokens not in TOKENS:
            raise InvalidArgument(f"tokens is {self.tokens!r}; it must be one of {', '.join(TOKENS)}")
        if isinstance(self.missing, str) and self.missing not in MISSING:
            raise InvalidArgument(f"missing is {self.missing!r}; it must be one of {', '.join(MISSING)}, or a number")


@dataclass(frozen=True)
class SearchParams:
    """What a search may spend. The defaults are the collection's; every value rides on the call."""

    k_token: int = 1_000
    """k': tokens retrieved for each query token, over the whole collection. Larger: recall, and for XTR a tighter m_i;
    time grows with it. ColBERT on an exact or flat store retrieves no tokens and ignores it."""
    nprobe: int = 32
    """FAISS lists visited for each query token. Larger: recall; time grows with it. All lists: nothing is missed."""
    candidates: int = 256
    """ColBERT on a flat or FAISS store: documents whose tokens are all scored exactly. Larger: recall; time grows with
    it. Never less than four times k."""

    def __post_init__(self) -> None:
        for name in ("k_token", "nprobe", "candidates"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class TermParams:
    """What a search by terms leaves out. Nothing unless asked for: the defaults find the exact best.

    A document that is found has its exact score. Segments that are not yet sealed are always searched exactly.
    """

    term_candidates: int | None = None
    """Documents of a segment that are scored, those whose postings add up to the most; never less than k. Larger:
    recall; time grows with it. None: all that could be among the k best. SLIM++ has 4,000 (arXiv 2302.06587)."""
    query_terms: int | None = None
    """With `term_candidates`: only so many of the query's heaviest keys find candidates. Larger: recall; time grows
    with it."""
    min_idf: float = 0.0
    """With `term_candidates`: keys find candidates only if log(documents / documents that hold the key) exceeds this,
    unless that leaves none. Smaller: recall; time grows. SLIM++ has 3."""
    alpha: float = 1.0
    """Above 0 to 1: documents and windows are left out whose bound is below the k-th best score so far / alpha. Larger:
    recall; time grows with it. 1: none that could be among the best."""

    def __post_init__(self) -> None:
        for name in ("term_candidates", "query_terms"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InvalidArgument(f"{name} is {value}; it must be at least 1")
        if not (self.min_idf >= 0 and 0 < self.alpha <= 1):
            raise InvalidArgument(
                f"min_idf is {self.min_idf} and alpha {self.alpha}; they must be at least 0, and above 0 to 1"
            )
        if self.term_candidates is None and (self.query_terms is not None or self.min_idf):
            raise InvalidArgument(
                "query_terms and min_idf leave keys out of finding candidates; say with term_candidates how many are scored"
            )


def totals(given: np.ndarray) -> np.ndarray:
    """(documents,) float32 scores from contributions (documents, q) float32: float64 sums in the order of the query's
    tokens, rounded once, as the kernels of rows add up."""
    sums = np.zeros(len(given))
    for column in given.T:
        sums += column
    return sums.astype(np.float32)


@dataclass(frozen=True)
class Counts:
    """How stored term counts are weighed (`index/sparse/bm25.py`)."""

    bm25: Bm25
    mean: float
    """The mean length of the collection's documents."""


@dataclass(frozen=True)
class Bm25:
    """The knobs; both may change from query to query."""

    k1: float = 1.2
    """0 or more. Larger: repeated terms go on adding; 0: only presence counts."""
    b: float = 0.75
    """0 to 1. Larger: long documents lose more; 0: length does not matter."""

    def __post_init__(self) -> None:
        if not (0 <= self.k1 < np.inf and 0 <= self.b <= 1):
            raise InvalidArgument(f"k1 is {self.k1} and b is {self.b}; k1 must be 0 or more, b between 0 and 1")

    def norms(self, lengths: np.ndarray, average_length: float) -> np.ndarray:
        """(n,) float32: what the frequencies of documents of (n,) lengths are saturated with."""
        relative = lengths.astype(np.float64) / average_length
        return (self.k1 * (1 - self.b + self.b * relative)).astype(np.float32)
