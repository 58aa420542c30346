"""`Route`: everything that one search does, decided before it begins."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from ...index.filters.conditions import Filter
from ...index.params import Scoring, SearchParams, TermParams
from ...index.sparse.bm25 import Bm25
from ...index.terms import TERMS
from ..sparse.beta import Embed
from .options import SearchOptions

Sides = tuple[bool, tuple[str, ...], bool]
"""What of a query a search needs: its token vectors, the term fields by name, its global vector."""


@dataclass(frozen=True, eq=False)
class Route:
    """Which way a query takes, and what it may spend. `Router.route` makes it complete; nothing is added later.

    `options` are those that were given, without the filter; term fields have the collection's own names there. The
    other fields are what was decided about them: what a default is, what the collection
    holds, what a target recall needs.
    """

    options: SearchOptions
    mode: str
    """`tokens`: late interaction. `terms`: sparse. `vector`: the global vectors. `sum`: scores by terms and by vector,
    added (DupMAE). `hybrid`: the `lanes`, fused. `rerank`: the best by terms, scored by late interaction or by the
    `scorer`."""
    scoring: Scoring
    params: SearchParams
    term_params: TermParams
    exact: bool = False
    filter: Filter | None = None
    bm25: Mapping[str, Bm25] = dataclasses.field(default_factory=dict)
    """By term field, where counts are weighed."""
    depth: int = 100
    """Documents that each lane gives to `hybrid`, and terms to `rerank`; a search takes never fewer than k."""
    fusion: str = "rrf"
    """`hybrid`: `rrf`, reciprocal ranks, or `weighted`, a weighted sum of normalised scores
    (`index/search/fusion.py`)."""
    fusion_k: float = 60
    normalise: str = "minmax"
    weights: tuple[float, ...] | None = None
    """`hybrid`: what ranks or scores by each of the `lanes` count; None: all alike."""
    lanes: tuple[str, ...] = ()
    """What `hybrid` fuses: `tokens`, term fields by name (`terms` where nobody named the only one), `vector`. COIL's
    tokens have the vector within."""
    field: str = TERMS
    """`terms`, `sum`: the term field; `rerank`: the one whose best are scored."""
    scorer: str = "tokens"
    """`rerank`: what scores, `tokens`, `vector` or a term field (TILDEv2 over BM25):
    exactly, 0 where no term is shared."""
    late: tuple[str, ...] = ()
    """`hybrid`: the lanes that a document is not in while it waits for what a model computes of it
    (`retrieval/text/freshness.py`). There it counts as it does in the others."""
    embed: Embed | None = None
    """`rerank` by a term field of `beta:`: embeds the documents that were found (SVDR's late parametric)."""
    notes: tuple[str, ...] = ()
    """Which of the options that were given change nothing on this route, and why: one sentence each."""

    finding: tuple[str, ...] = dataclasses.field(init=False)
    """What finds documents: lanes, or `sum`."""
    sides: Sides = dataclasses.field(init=False)
    """What of a query this route needs (COIL's tokens do not name their vector)."""

    def __post_init__(self) -> None:
        alone = (self.field,) if self.mode in ("terms", "rerank") else (self.mode,)
        finding = self.lanes if self.mode == "hybrid" else alone
        lanes = {"sum": (self.field, "vector"), "rerank": (self.field, self.scorer)}.get(self.mode, finding)
        fields = dict.fromkeys(lane for lane in lanes if lane not in ("tokens", "vector"))
        object.__setattr__(self, "finding", finding)
        object.__setattr__(self, "sides", ("tokens" in lanes, tuple(fields), "vector" in lanes))
