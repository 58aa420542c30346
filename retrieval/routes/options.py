"""The options of a search, each once: flags, the wire's fields, routes and the reference are made from this record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from ...index.errors import InvalidArgument
from .option import Option, check_all, described, option, options_of

if TYPE_CHECKING:
    from ...index.filters.conditions import Filter

# `plait --help` reads this file, which therefore imports no NumPy. A test compares these with the index's own.
MODES = ("tokens", "terms", "vector", "sum", "hybrid", "rerank")
FUSIONS = ("rrf", "weighted")
NORMALISE = ("minmax", "none", "zscore")
MISSING = ("kth", "zero", "none")


@dataclass(frozen=True)
class SearchOptions:
    """What a search may be told. None: not given, which leaves the choice to the collection.

    A record exists only if all its values can be: each is checked, and lists become tuples, when it is made.

    Raises:
        InvalidArgument: a value out of its bounds; the error's `field` names the option.
    """

    mode: str | None = option(
        "choice",
        "tokens (late interaction), terms (sparse), vector (global vectors), sum (terms and vector), hybrid (all or "
        "the lanes, fused), rerank (the best by terms, scored by tokens or the scorer)",
        default="tokens where there are such, else what the collection holds",
        choices=MODES,
    )
    lanes: tuple[str, ...] | None = option(
        "names",
        "What hybrid fuses, as tokens,bm25: tokens, vector, and term fields by name",
        default="all that the collection holds",
        modes=("hybrid",),
        implies="hybrid",
    )
    scorer: str | None = option(
        "name",
        "What reranks: tokens, vector or a term field",
        default="tokens",
        modes=("rerank",),
        implies="rerank",
    )
    field: str | None = option(
        "name",
        "The term field of a search by terms, or of what is reranked",
        default="the first",
        modes=("terms", "sum", "rerank"),
        implies="terms",
    )
    exact: bool | None = option("flag", "Compare with every stored token, whatever the store")
    k_token: int | None = option(
        "count",
        "Tokens retrieved for each query token (k'), by XTR and in FAISS stores",
        default="1000 (XTR: 10000)",
        unit="tokens",
        least=1,
        grows="recall and time",
        finds="tokens",
    )
    nprobe: int | None = option(
        "count",
        "Lists visited for each query token",
        default="32",
        unit="lists",
        least=1,
        grows="recall and time",
        finds="tokens",
    )
    candidates: int | None = option(
        "count",
        "Documents scored exactly at the end, never fewer than four times k",
        default="256",
        unit="documents",
        least=1,
        grows="recall and time",
        finds="tokens",
    )
    target_recall: float | None = option(
        "number",
        "The cheapest parameters that were measured to find this share of the exact top k",
        unit="share",
        above=0,
        most=1,
        grows="recall and time",
    )
    missing: str | float | None = option(
        "missing",
        "XTR's similarity where a query token retrieved nothing: kth (of the last token retrieved), zero, none (left "
        "out), or a number",
        default="kth",
        choices=MISSING,
        finds="tokens",
    )
    depth: int | None = option(
        "count",
        "Documents that each lane gives to hybrid, and terms to rerank, never fewer than k",
        default="100",
        unit="documents",
        least=1,
        grows="recall and time",
        modes=("hybrid", "rerank"),
    )
    fusion: str | None = option(
        "choice",
        "How hybrid fuses: rrf (reciprocal ranks) or weighted (normalised scores)",
        default="rrf",
        choices=FUSIONS,
        modes=("hybrid",),
    )
    fusion_k: float | None = option(
        "number",
        "The constant of rrf, which adds 1 / (fusion_k + rank) for each lane",
        default="60",
        unit="ranks",
        least=0,
        grows="the share of being in several lanes",
        shrinks="the difference between the first ranks",
        modes=("hybrid",),
        fusion="rrf",
    )
    normalise: str | None = option(
        "choice",
        "How weighted makes scores of lanes comparable: minmax (worst hit 0, best 1), zscore (mean 0, deviation 1) or "
        "none",
        default="minmax",
        choices=NORMALISE,
        modes=("hybrid",),
        fusion="weighted",
    )
    weights: tuple[float, ...] | None = option(
        "numbers",
        "What each lane counts in hybrid, as 1,0.5: of the lanes in their order, or tokens, term fields, vector",
        default="all alike",
        modes=("hybrid",),
    )
    term_candidates: int | None = option(
        "count",
        "By terms: score only so many documents of a segment",
        default="all that could be among the best",
        unit="documents",
        least=1,
        grows="recall and time",
        finds="terms",
    )
    query_terms: int | None = option(
        "count",
        "With term_candidates: only so many of the heaviest keys find candidates",
        default="all",
        unit="keys",
        least=1,
        grows="recall and time",
        finds="terms",
    )
    min_idf: float | None = option(
        "number",
        "With term_candidates: only keys rarer than this find candidates, by log(documents / documents with the key)",
        default="0",
        least=0,
        shrinks="recall and time",
        finds="terms",
    )
    alpha: float | None = option(
        "number",
        "By terms: leave out what is bounded below the k-th score / alpha",
        default="1, which leaves nothing out",
        above=0,
        most=1,
        grows="recall and time",
        finds="terms",
    )
    min_score: float | None = option(
        "number",
        "Leave out hits with a lower score: the score that the search ranks by, in hybrid the fused one",
        default="none, whatever the score",
        unit="score",
        shrinks="the number of hits",
    )
    filter: Filter | Mapping[str, Any] | None = option(  # noqa: RUF009
        "filter",
        'A condition on payload fields, as JSON: {"year": 2020}, {"range": {"year": {"gte": 2000}}}; applied before '
        "scoring",
    )

    def __post_init__(self) -> None:
        check_all(self, OPTIONS)

    @classmethod
    def of(cls, search: Mapping[str, Any]) -> SearchOptions:
        """The record of these keywords. InvalidArgument: an unknown one, or a value out of its bounds."""
        if unknown := search.keys() - OPTIONS.keys():
            raise InvalidArgument(f"unknown search parameter {min(unknown)!r}; known are {', '.join(OPTIONS)}")
        return cls(**search)

    def given(self) -> dict[str, Any]:
        """The options that were given, by name: keywords of `Retriever.search`."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @staticmethod
    def described() -> list[dict[str, str]]:
        """One row for each option, for a reference: what it is called, takes, means and does, each as text."""
        return described(OPTIONS)


OPTIONS: dict[str, Option] = options_of(SearchOptions)
"""Every option by name, in the order of the record."""


class SearchKeywords(TypedDict, total=False):
    """`SearchOptions` as keywords, for type checkers; a test compares the two."""

    mode: str | None
    lanes: Sequence[str] | None
    scorer: str | None
    field: str | None
    exact: bool | None
    k_token: int | None
    nprobe: int | None
    candidates: int | None
    target_recall: float | None
    missing: str | float | None
    depth: int | None
    fusion: str | None
    fusion_k: float | None
    normalise: str | None
    weights: Sequence[float] | None
    term_candidates: int | None
    query_terms: int | None
    min_idf: float | None
    alpha: float | None
    min_score: float | None
    filter: Filter | Mapping[str, Any] | None
