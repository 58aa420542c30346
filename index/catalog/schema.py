"""What every document of a collection comes with, as its catalog says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from .. import term_rows, tokens
from ..codecs.codec import DEFAULT, Codec
from ..codecs.precisions import codec
from ..codecs.product import LEARNED, Keep
from ..errors import DataLoss, InvalidArgument
from ..representations import Representations
from ..term_rows import KEYS, TermRows
from ..terms import TERMS, Terms
from ..tokens import Tokens
from .catalog import CHECKED_FORMAT, FIELDS_FORMAT, FULL_FORMAT, TERMS_FORMAT, Catalog
from .view import View

_LOST = "lost"


_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


MAX_TERM_FIELDS = 16
"""Term fields of a collection; each has files of its own in every segment."""


_LANES = ("tokens", "vector", "sum", "hybrid", "rerank")


_SINCE = {"terms": TERMS_FORMAT, "vector": FULL_FORMAT, "precision": FULL_FORMAT}
"""The catalog format from which on each is written down, be it that there are none."""


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


def term_fields(given: bool | TermField | Mapping[str, TermField] | None) -> dict[str, TermField]:
    """Term fields by name, in their order. InvalidArgument: a name that files or searches could not tell apart."""
    fields = {TERMS: TermField()} if given is True else {TERMS: given} if isinstance(given, TermField) else given or {}
    if len(fields) > MAX_TERM_FIELDS:
        raise InvalidArgument(f"there are {len(fields)} term fields; at most {MAX_TERM_FIELDS} are taken")
    for name in fields:
        if not _NAME.fullmatch(name) or name in _LANES:
            raise InvalidArgument(
                f"a term field is called {name!r}; take up to 32 of a-z, 0-9, _ and -, the first a letter, and none of "
                f"{', '.join(_LANES)}"
            )
    return dict(fields)


@dataclass(frozen=True)
class Schema:
    """What every document of a collection comes with."""

    dim: int
    """Dimensions of every token vector; 0: no tokens."""
    terms: Mapping[str, TermField] = field(default_factory=dict)
    """Its term fields by name; the first is the one meant where no name is given."""
    vector: int = 0
    """Dimensions of the global vector (`Tokens.globals_`); 0: none."""
    ids: bool = False
    """Every token comes with a vocabulary id, which the store needs."""
    precision: str = DEFAULT
    """How token vectors are kept (index/codecs/codec.py)."""
    keep: Keep = field(default_factory=Keep, compare=False)
    """Where what that learns is kept."""

    @cached_property
    def codec(self) -> Codec:
        return codec(self.precision, self.dim, self.keep)

    @classmethod
    def of(cls, view: View, keep: Keep | None = None) -> Schema:
        """What a catalog says. DataLoss: its format tells that it once said more."""
        said = {
            name: view.meta(name, _LOST if view.meta("format") >= since else None) for name, since in _SINCE.items()
        }
        if lost := [name for name, value in said.items() if value == _LOST]:
            raise DataLoss(f"{view.path}: {lost[0]!r} is gone; restore it from a copy")
        stored = said["terms"] or {}
        named = stored if view.meta("format") >= FIELDS_FORMAT or not stored else {TERMS: stored}
        terms = {name: TermField(**one) for name, one in named.items()}
        ids, precision = needs_ids(view.meta("store")), said["precision"] or DEFAULT
        return cls(int(view.meta("dim")), terms, said["vector"] or 0, ids, precision, keep or Keep())

    @property
    def meta(self) -> dict[str, Any]:
        """What a catalog is to say. A plait that would drop some of it in a merge must not open the collection."""
        terms = {name: asdict(one) for name, one in self.terms.items()}
        made_of = {"dim": self.dim, "vector": self.vector, "precision": self.precision, "terms": terms}
        return {**made_of, "format": CHECKED_FORMAT}

    def check(
        self, given: Tokens | None, terms: Terms | Mapping[str, Terms] | None, count: int, encoded: bool = False
    ) -> Representations:
        """Refuses what does not fit this collection: InvalidArgument.

        Args:
            count: the documents that there should be.
            encoded: the tokens' vectors are records of `codec` already.
        """
        if given is not None:
            self._need_either()
        elif self.dim:
            raise InvalidArgument(
                f"this collection holds token vectors of {self.dim} dimensions; give tokens, empty ones if need be"
            )
        elif self.vector:
            raise InvalidArgument(
                f"this collection holds a global vector of {self.vector} dimensions; give from_vectors"
            )
        by_name = {} if terms is None else self._by_name(terms)
        if lacking := [name for name in self.terms if name not in by_name]:
            of = "" if lacking == [TERMS] else f" of the field {lacking[0]}"
            raise InvalidArgument(f"this collection holds terms{of}; give terms{of}, empty rows if need be")
        vectors = _no_tokens(count) if given is None else self._tokens(given, encoded)
        return Representations(vectors, {name: self._rows(name, by_name[name], count) for name in self.terms})

    def deferred(self, terms: Terms | Mapping[str, Terms] | None, count: int) -> Representations:
        """Documents of which these terms alone are there yet: no tokens, a global vector of zeros, no terms in the
        other fields.

        Refuses as `check` does; InvalidArgument too where no field's terms are given, by which
        the documents could be found.
        """
        by_name = {} if terms is None else self._by_name(terms)
        if not by_name:
            raise InvalidArgument(
                "defer leaves out what comes later; give terms of some field, to find the documents by"
            )
        globals_ = np.zeros((count, self.vector), np.float16) if self.vector else None
        vectors = np.zeros((0, self.codec.width), self.codec.dtype)
        rows = {
            name: self._rows(name, by_name[name], count) if name in by_name else term_rows.none(count, field.per_token)
            for name, field in self.terms.items()
        }
        return Representations(Tokens(vectors, np.zeros(count + 1, np.int64), globals_=globals_), rows)

    def _by_name(self, terms: Terms | Mapping[str, Terms]) -> Mapping[str, Terms]:
        if isinstance(terms, Terms):
            first = self.need_terms()
            if len(self.terms) > 1:
                raise InvalidArgument(f"this collection holds several term fields; give {{{first!r}: terms, ...}}")
            return {first: terms}
        if not isinstance(terms, Mapping):
            raise InvalidArgument(f"terms are {type(terms).__name__}; give Terms, or a dict of Terms by field")
        for name in terms:
            self.need_terms(name)
        return terms

    def _tokens(self, given: Tokens, encoded: bool) -> Tokens:
        """As they are stored: token vectors as records, global vectors in float16 or left out."""
        if encoded:
            checked = self._with_records(given)
        else:
            checked = tokens.check(given, self.dim)
            checked = checked.with_vectors(self.codec.encode(checked.vectors))
        if self.ids and checked.ids is None:
            raise InvalidArgument("this collection lists tokens by vocabulary id; give tokens with ids")
        if not self.vector:
            return replace(checked, globals_=None)
        if checked.globals_ is None:
            raise InvalidArgument(f"this collection holds a global vector of {self.vector} dimensions; give globals_")
        return replace(checked, globals_=tokens.whole_rows(checked.globals_, self.vector).astype(np.float16))

    def _with_records(self, given: Tokens) -> Tokens:
        records, wanted = given.vectors, (self.codec.width, np.dtype(self.codec.dtype))
        if records.ndim != 2 or (records.shape[1], records.dtype) != wanted:
            raise InvalidArgument(
                f"records have shape {records.shape} {records.dtype}; {self.precision} takes {wanted[0]} {wanted[1]} a token"
            )
        return tokens.check(given.with_vectors(np.zeros((len(records), 0), np.float16))).with_vectors(records)

    def _rows(self, name: str, terms: Terms, count: int) -> TermRows:
        """A batch of documents' terms as they are stored."""
        field = self.terms[name]
        rows = term_rows.from_terms(terms, field.keys)
        if field.per_token != (terms.offsets is not None):
            has = (
                "a row for each document, so that offsets must be None",
                "rows for each token, so that offsets say whose",
            )
            whose = "this collection" if name == TERMS else f"the field {name}"
            raise InvalidArgument(f"{whose} keeps {has[field.per_token]}")
        if len(rows) != count:
            raise InvalidArgument(f"{count} ids and terms of {len(rows)} documents; the counts must agree")
        if field.counts and len(rows.weights) and ((rows.weights < 0) | (rows.weights % 1 != 0)).any():
            raise InvalidArgument("this collection keeps counts of terms; they must be whole numbers, none below 0")
        return rows

    def need_tokens(self) -> None:
        """InvalidArgument: there are none here."""
        if not self.dim:
            held = "a global vector" if self.vector else "terms alone"
            raise InvalidArgument(f"this collection holds {held} (dim is 0), no token vectors; use what it holds")

    def _need_either(self) -> None:
        if not self.vector:
            self.need_tokens()

    def need_vector(self) -> int:
        """Its dimensions. InvalidArgument: there is none here."""
        if not self.vector:
            raise InvalidArgument("this collection holds no global vectors; create one with vector=")
        return self.vector

    def need_terms(self, name: str | None = None) -> str:
        """The name of a term field, for None of the first. InvalidArgument: there is none, or none of this name."""
        if not self.terms:
            raise InvalidArgument("this collection holds no terms; create one with terms=True")
        if name is not None and name not in self.terms:
            raise InvalidArgument(f"no term field is called {name!r}; this collection holds {', '.join(self.terms)}")
        return name or next(iter(self.terms))


def needs_ids(store: str) -> bool:
    """Whether a store lists tokens by vocabulary id."""
    return store == "contextual"


def _no_tokens(documents: int) -> Tokens:
    return Tokens(np.zeros((0, 0), np.float16), np.zeros(documents + 1, np.int64))


def kept_in(catalog: Catalog) -> Keep:
    """What a precision learns, kept as a resource of the catalog."""

    def read() -> bytes | None:
        with catalog.reading() as view:
            return view.resource(LEARNED)

    return Keep(read)
