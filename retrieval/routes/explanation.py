"""Why a document has its score: aligned tokens of query and document, with contributions that sum to the score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from reprlib import repr as brief
from typing import Any, Protocol

import numpy as np

from ...index.errors import never_fails
from ...index.reading.snapshot import Snapshot
from ...index.search.alignment import Alignment
from ...index.sparse.search import TermMatch
from ...index.terms import TERMS
from ...index.tokens import Role, Tokens
from ..corpus import document_text
from ..sparse.beta import late_match
from .find import Queries, check_named, terms_of, vectors_of
from .route import Route
from .stages import LaneShare, Stage, verdict, way_of


@dataclass(frozen=True)
class Token:
    """A token as its text shows it."""

    text: str
    """The characters it covers (of a pooled token: its members', each form once, joined by
    " · "), or its role in brackets."""
    spans: list[tuple[int, int]]
    """[start, end) characters; empty for a token that stands for no text."""


@dataclass(frozen=True)
class Match:
    """One query token, the document token that answered it, and what this adds to the score."""

    query: Token
    document: Token | None
    """None: no token of the document was retrieved for this query token; the similarity is imputed."""
    similarity: float
    contribution: float


@dataclass(frozen=True)
class TermContribution:
    """A term that query and document share, and what it adds to the sparse score."""

    term: str
    query_weight: float
    document_weight: float
    contribution: float
    field: str = TERMS
    """The term field that both weights are of."""


@dataclass(frozen=True)
class Explanation:
    """The score of one document for one query, taken apart.

    Examples:
        >>> index = plait.create(folder / "why", encoder=None, dim=2)
        >>> index.add_tokens(["a", "b"], plait.from_matrices([[[1, 0]], [[0, 1]]]))
        2
        >>> why = index.explain(plait.from_matrices([[[1, 0]]]), "b", k=1)
        >>> why
        Explanation('b': 0.0000 by 1 token pairs; Not returned: by tokens it has rank 2 with the score 0.0000, ...)
        >>> [(match.similarity, match.contribution) for match in why.matches]
        [(0.0, 0.0)]
    """

    id: str
    score: float
    """What the search gives the document. Of a hybrid search: the sum of the contributions of its `lanes`, 0 where none
    has it."""
    matches: list[Match]
    """The token pairs. Their contributions sum to the score by tokens, which is the whole score unless lanes are fused.
    """
    text: str
    """The document's text, which the spans index into; empty when it was added as token vectors."""
    terms: list[TermContribution] = field(default_factory=list)
    """Where the search went by terms too: those in common, field by field, the greatest contribution first."""
    terms_score: float | None = None
    """The sum of the terms' contributions; where a search goes by several fields, of the
    one that scores or comes first."""
    vector_score: float | None = None
    """The product of the global vectors, where the search went by them; part of the score, but for `hybrid`."""
    stages: list[Stage] = field(default_factory=list)
    """Where a search was named (`k`): the way of the document through it."""
    field_scores: dict[str, float] = field(default_factory=dict)
    """By term field: the sum of its terms' contributions."""
    lanes: list[LaneShare] = field(default_factory=list)
    """`hybrid`: what each lane adds to the score."""

    @property
    def verdict(self) -> str:
        """One sentence: the rank at which the search returns the document, or why it does
        not. Empty where no k was named."""
        return verdict(self.stages)

    @never_fails
    def __repr__(self) -> str:
        parts = [f"{len(self.matches)} token pairs"] if self.matches else []
        parts += [f"{len(self.terms)} terms"] if self.field_scores else []
        parts += [] if self.vector_score is None else ["a global vector"]
        parts += [f"{len(self.lanes)} lanes"] if self.lanes else []
        by = f"{brief(self.id)}: {self.score:.4f} by {', '.join(parts) or 'nothing'}"
        return f"{by}; {self.verdict}" if self.stages else by

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


class Named(Protocol):
    """What makes the terms of a field, as far as an explanation needs it."""

    def names(self, keys: Iterable[int], query: str) -> list[str]:
        """What to call each key, where the query is the text `query`."""
        ...


def explained(
    snapshot: Snapshot,
    route: Route,
    queries: Queries,
    id: str,
    shown: str,
    sides: Mapping[str, Named],
    k: int | None,
) -> Explanation:
    """The explanation of one document in one state of its collection. NotFound: no such document."""
    check_named(route, queries)
    document = snapshot.view.by_id(id)
    text = document_text(document.payload) if "text" in document.payload else ""
    why = Explanation(id, 0.0, [], text)
    dense, fields, whole = route.sides
    if dense and queries.tokens is not None:
        way = route.scoring, route.params, route.filter, route.exact
        why = explanation(id, queries.tokens, shown, snapshot.explain(queries.tokens, document.number, *way), text)
    leading = route.scorer if route.mode == "rerank" and route.scorer != "tokens" else next(iter(fields), None)
    for name in fields if queries.terms is not None else ():
        if side := sides.get(name):
            terms, own = terms_of(queries, name), route.bm25.get(name)
            late = route.embed if name == route.scorer else None
            match = late_match(late, terms, text) if late else snapshot.explain_terms(terms, document.number, own, name)
            why = with_terms(why, name, match, side.names(match.keys.tolist(), shown), name == leading)
    if whole:
        (product,) = snapshot.score_vectors(vectors_of(queries)[0], [document.number]).tolist()
        why = with_vector(why, product, added=route.mode != "hybrid")
    if k is None and route.mode != "hybrid":
        return why
    # Which ranks the lanes give to the fusion depends on k only where it exceeds their depth.
    way = way_of(snapshot, route, queries, document.number, k or 1)
    if route.mode == "hybrid":
        why = replace(why, score=way.fused_score or 0.0, lanes=way.lanes)
    return why if k is None else replace(why, stages=way.stages)


def explanation(id: str, query: Tokens, query_text: str, alignment: Alignment, text: str) -> Explanation:
    """Joins an alignment with the texts that both sides came from."""
    matches = [
        Match(
            _token(query, i, query_text),
            None if at < 0 else _token(alignment.document, int(at), text),
            float(alignment.similarities[i]),
            float(alignment.contributions[i]),
        )
        for i, at in enumerate(alignment.matches)
    ]
    return Explanation(id, alignment.score, matches, text, vector_score=alignment.vector)


def with_terms(why: Explanation, field: str, match: TermMatch, names: Sequence[str], leads: bool) -> Explanation:
    """The explanation with what a field's terms contribute: if it leads, the whole score
    where there are no token matches."""
    columns = zip(names, match.query_weights, match.document_weights, match.contributions, strict=True)
    found = [TermContribution(name, float(q), float(d), float(c), field) for name, q, d, c in columns]
    found.sort(key=lambda m: (-m.contribution, m.term))
    scores = {**why.field_scores, field: match.score}
    why = replace(why, terms=[*why.terms, *found], field_scores=scores)
    return replace(why, score=why.score if why.matches else match.score, terms_score=match.score) if leads else why


def with_vector(why: Explanation, product: float, added: bool) -> Explanation:
    """The explanation with the product of the global vectors, `added` to the score or beside it."""
    return replace(why, score=float(np.float32(why.score + product)) if added else why.score, vector_score=product)


def _token(tokens: Tokens, row: int, text: str) -> Token:
    spans = [(int(a), int(b)) for a, b in tokens.spans_of(row) if b > a]
    if spans and text:
        return Token(" · ".join(dict.fromkeys(text[a:b] for a, b in spans)), spans)
    role = Role(int(tokens.roles[row])).name if tokens.roles is not None else f"token {row}"
    return Token(f"[{role}]", spans)
