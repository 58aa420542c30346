"""What a collection stores of a document beside its payload: token vectors, sparse terms, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from . import term_rows, tokens
from .catalog import PRECISION_FORMAT, TERMS_FORMAT
from .codecs import DEFAULT, Codec, codec
from .errors import DataLoss, InvalidArgument
from .nibbles import Keep
from .term_rows import KEYS, TermRows
from .terms import Terms
from .tokens import Tokens
from .view import View


@dataclass(frozen=True)
class TermField:
    """How a collection keeps sparse representations."""

    keys: int = KEYS
    """The size of the key space, at most 2^32: a vocabulary, or the range of a hash."""
    per_token: bool = False
    """False: one row for each document (BM25, SPLADE). True: one row for each of its tokens (SLIM)."""
    counts: bool = False
    """The weights are counts of terms, whole numbers above 0, which BM25 weighs when a query comes."""

    def __post_init__(self) -> None:
        if not 1 <= self.keys <= KEYS:
            raise InvalidArgument(f"keys is {self.keys}; it must lie between 1 and 2^32")
        if self.counts and self.per_token:
            raise InvalidArgument("counts are of whole documents; per_token goes with weights only")


@dataclass(frozen=True)
class Schema:
    """What every document of a collection comes with."""

    dim: int
    """Dimensions of every token vector; 0: none, terms alone."""
    terms: TermField | None = None
    precision: str = DEFAULT
    """How vectors are kept (codecs.py)."""
    keep: Keep = field(default_factory=Keep, compare=False)
    """Where what that learns is kept."""

    @cached_property
    def codec(self) -> Codec:
        return codec(self.precision, self.dim, self.keep)

    @classmethod
    def of(cls, view: View, keep: Keep | None = None) -> Schema:
        """What a catalog says. DataLoss: it does not say any more what it must, as its format tells."""
        terms, precision = view.meta("terms"), view.meta("precision")
        for key, value, since in (("terms", terms, TERMS_FORMAT), ("precision", precision, PRECISION_FORMAT)):
            if value is None and view.meta("format") >= since:
                raise DataLoss(f"{view.path}: {key!r} is gone; restore it from a copy")
        return cls(int(view.meta("dim")), TermField(**terms) if terms else None, precision or DEFAULT, keep or Keep())

    @property
    def meta(self) -> dict[str, Any]:
        """What a catalog is to say. A plait that knows no terms, or no other precision, must not open such a collection."""
        terms = asdict(self.terms) if self.terms else False
        if self.precision != DEFAULT:
            return {"dim": self.dim, "terms": terms, "precision": self.precision, "format": PRECISION_FORMAT}
        return {"dim": self.dim, "terms": terms, "format": TERMS_FORMAT} if terms else {"dim": self.dim}

    def check(self, given: Tokens | None, terms: Terms | None, count: int) -> Representations:
        """Refuses what does not fit this collection: InvalidArgument. `count`: the documents that there should be."""
        if given is not None:
            self.need_tokens()
        elif self.dim:
            raise InvalidArgument(
                f"this collection holds token vectors of {self.dim} dimensions; give tokens, empty ones if need be"
            )
        if terms is not None:
            self.need_terms()
        elif self.terms:
            raise InvalidArgument("this collection holds terms; give terms, empty rows if need be")
        checked = _no_tokens(count) if given is None else tokens.check(given, self.dim)
        vectors = checked.with_vectors(self.codec.encode(checked.vectors)) if self.dim else checked
        return Representations(vectors, None if terms is None else self.rows(terms, count))

    def rows(self, terms: Terms, count: int) -> TermRows:
        """A batch of documents' terms as they are stored."""
        field = self.need_terms()
        if field.per_token != (terms.offsets is not None):
            has = (
                "a row for each document, so that offsets must be None",
                "rows for each token, so that offsets say whose",
            )
            raise InvalidArgument(f"this collection keeps {has[field.per_token]}")
        if len(terms) != count:
            raise InvalidArgument(f"{count} ids and terms of {len(terms)} documents; the counts must agree")
        rows = term_rows.from_terms(terms, field.keys)
        if field.counts and len(rows.weights) and ((rows.weights < 0) | (rows.weights % 1 != 0)).any():
            raise InvalidArgument("this collection keeps counts of terms; they must be whole numbers, none below 0")
        return rows

    def need_tokens(self) -> None:
        """InvalidArgument: there are none here."""
        if not self.dim:
            raise InvalidArgument("this collection holds terms alone (dim is 0), no token vectors; use terms")

    def need_terms(self) -> TermField:
        """InvalidArgument: there are none here."""
        if self.terms is None:
            raise InvalidArgument("this collection holds no terms; create one with terms=True")
        return self.terms


@dataclass(frozen=True, eq=False)
class Representations:
    """Those of some documents. All documents of a collection have the same kinds."""

    tokens: Tokens
    """Their vectors are records (codecs.py); of dimension 0 where a collection holds terms alone."""
    terms: TermRows | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def sizes(self) -> np.ndarray:
        """(documents,) int64: token vectors of each document; its term weights where the collection has no vectors."""
        return np.diff(self.terms.bounds) if self.terms is not None and not self.tokens.dim else self.tokens.lengths

    @property
    def size(self) -> int:
        return int(self.sizes.sum())

    def take(self, documents: np.ndarray | Sequence[int]) -> Representations:
        """The given documents, in the given order (repeats allowed)."""
        return Representations(self.tokens.take(documents), None if self.terms is None else self.terms.take(documents))


def concatenate(parts: Sequence[Representations]) -> Representations:
    """Joins batches of documents of one collection."""
    rows = [p.terms for p in parts if p.terms is not None]
    return Representations(tokens.concatenate([p.tokens for p in parts]), term_rows.concatenate(rows) if rows else None)


def _no_tokens(documents: int) -> Tokens:
    return Tokens(np.zeros((0, 0), np.float16), np.zeros(documents + 1, np.int64))
