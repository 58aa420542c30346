"""What a collection stores of a document beside its payload: token vectors, a global vector, sparse terms, or several
of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from . import term_rows, tokens
from .term_rows import TermRows
from .tokens import Tokens


@dataclass(frozen=True, eq=False)
class Representations:
    """Those of some documents. All documents of a collection have the same kinds."""

    tokens: Tokens
    """Their vectors are records (index/codecs/codec.py), of dimension 0 where a collection holds none. Global vectors
    are with them."""
    terms: Mapping[str, TermRows] = field(default_factory=dict)
    """By the name of their field."""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def sizes(self) -> np.ndarray:
        """(documents,) int64: token vectors of each document; without such, its term weights; without those too, 1."""
        if self.tokens.dim:
            return self.tokens.lengths
        return sum((np.diff(rows.bounds) for rows in self.terms.values()), np.full(len(self), int(not self.terms)))

    @property
    def size(self) -> int:
        return int(self.sizes.sum())

    def take(self, documents: np.ndarray | Sequence[int]) -> Representations:
        """The given documents, in the given order (repeats allowed)."""
        terms = {name: rows.take(documents) for name, rows in self.terms.items()}
        return Representations(self.tokens.take(documents), terms)


def concatenate(parts: Sequence[Representations]) -> Representations:
    """Joins batches of documents of one collection."""
    names = parts[0].terms if parts else ()
    terms = {name: term_rows.concatenate([p.terms[name] for p in parts]) for name in names}
    return Representations(tokens.concatenate([p.tokens for p in parts]), terms)
